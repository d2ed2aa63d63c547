//! The connection to Redis: made in the background, replaced when it breaks or when the server
//! behind it is no longer the right one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use wedcache_model::trouble::report::{Purpose, Reporter};

use super::breakers::Breakers;
use super::connect::{Connection, Target};
use super::failure::{Failure, Secrets};
use super::reason::Reason;

/// The interval at which the reporter checks for due log lines, unless troubles end sooner.
const TICK: Duration = Duration::from_secs(1);
const SHORTEST_TICK: Duration = Duration::from_millis(10);

/// A handle whose background task keeps one connection up until the handle is dropped.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// Settings of the background task.
#[derive(Debug)]
pub(super) struct Manner {
    pub(super) connect_timeout: Duration,
    /// The first and the longest pause between attempts to connect.
    pub(super) pauses: (Duration, Duration),
    /// Time without failures after which a trouble is over.
    pub(super) quiet: Duration,
    pub(super) secrets: Arc<Secrets>,
}

#[derive(Debug)]
struct Shared {
    connection: ArcSwapOption<Connection>,
    /// True if a new connection is wanted while the current one stays in use.
    renew: AtomicBool,
    wanted: Notify,
    connects: AtomicU64,
    breakers: Arc<Breakers>,
    reporter: Arc<Reporter<Reason>>,
}

impl Link {
    pub(super) fn start(
        target: Target,
        manner: Manner,
        breakers: Arc<Breakers>,
        reporter: Arc<Reporter<Reason>>,
    ) -> Self {
        let shared = Arc::new(Shared {
            connection: ArcSwapOption::empty(),
            renew: AtomicBool::new(false),
            wanted: Notify::new(),
            connects: AtomicU64::new(0),
            breakers,
            reporter,
        });
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            tokio::select! {
                () = of_task.keep_up(&target, &manner) => {}
                () = of_task.settle(manner.quiet) => {}
            }
        });
        Self { shared, task }
    }

    pub(super) fn connection(&self) -> Option<Arc<Connection>> {
        self.shared.connection.load_full()
    }

    /// Has the connection replaced, unless that has been done; until then there is no connection.
    pub(super) fn broken(&self, connection: &Arc<Connection>) {
        let held = self
            .shared
            .connection
            .compare_and_swap(connection, None::<Arc<Connection>>);
        if is(held.as_ref(), connection) {
            self.shared.wanted.notify_one();
        }
    }

    /// Has the connection replaced, unless that has been done; until then it stays in use.
    pub(super) fn renew(&self, connection: &Arc<Connection>) {
        if is(self.shared.connection.load().as_ref(), connection) {
            self.shared.renew.store(true, Ordering::Release);
            self.shared.wanted.notify_one();
        }
    }

    pub(super) fn connects(&self) -> u64 {
        self.shared.connects.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn keep_up(&self, target: &Target, manner: &Manner) {
        let (first, longest) = manner.pauses;
        let mut pause = first;
        loop {
            // The cluster client can hang in its first connect, so that is bounded from outside as
            // well.
            let connecting = target.connect(&manner.secrets);
            match timeout(manner.connect_timeout * 2, connecting).await {
                Ok(Ok(connection)) => {
                    self.take(connection);
                    let taken = Instant::now();
                    self.until_wanted().await;
                    // The pause is reset only after a connection that lasted: one that has to be
                    // replaced at once may have led to the same server as before.
                    if taken.elapsed() > longest {
                        pause = first;
                    }
                }
                Ok(Err(failure)) => self.reporter.failed(&failure, Purpose::Open),
                Err(_) => {
                    let failure = Failure::new(Reason::Connection, "no reply in time");
                    self.reporter.failed(&failure, Purpose::Open);
                }
            }
            // Jitter over the upper half of the pause, so that instances do not reconnect in step.
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(longest);
        }
    }

    fn take(&self, connection: Connection) {
        self.reporter.worked(Purpose::Open);
        // Cleared before the new connection is visible, so that a request to replace it is not
        // lost.
        self.renew.store(false, Ordering::Release);
        let before = self.connection.swap(Some(Arc::new(connection)));
        if self.connects.fetch_add(1, Ordering::Relaxed) == 0 || before.is_none() {
            tracing::info!("connected to Redis");
        }
        self.breakers.probe_now();
    }

    async fn until_wanted(&self) {
        while self.connection.load().is_some() && !self.renew.load(Ordering::Acquire) {
            self.wanted.notified().await;
        }
    }

    async fn settle(&self, quiet: Duration) {
        loop {
            tokio::time::sleep(quiet.clamp(SHORTEST_TICK, TICK)).await;
            self.reporter.settle();
        }
    }
}

fn is(held: Option<&Arc<Connection>>, connection: &Arc<Connection>) -> bool {
    held.is_some_and(|held| Arc::ptr_eq(held, connection))
}
