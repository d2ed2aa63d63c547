//! Commits beside the poll thread, each with its answer.
//!
//! librdkafka answers an asynchronous commit through a callback that rdkafka does not register, so
//! a failed one would go unseen. A synchronous commit on a thread of its own neither blocks the
//! polling nor hides anything.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as LibraryError;

use super::lanes::Lane;
use super::offsets::Commit;
use super::rebalance::GroupContext;
use super::shared::Shared;
use super::topic_ids;
use crate::failpoint::failpoint;

pub(super) type Commits = Vec<(Arc<Lane>, Commit)>;

/// Where the poll thread leaves commits; one lies here or is on its way at a time.
#[derive(Debug, Default)]
pub(super) struct CommitDesk {
    state: Mutex<Desk>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Desk {
    waiting: Option<Commits>,
    on_its_way: bool,
    closed: bool,
}

impl CommitDesk {
    /// Whether the next commit can be left.
    pub(super) fn is_free(&self) -> bool {
        let desk = self.lock();
        desk.waiting.is_none() && !desk.on_its_way
    }

    pub(super) fn leave(&self, commits: Commits) {
        if commits.is_empty() {
            return;
        }
        self.lock().waiting = Some(commits);
        self.changed.notify_all();
    }

    /// Takes back what was not sent yet and waits for what is on its way, so that no commit of
    /// before can follow the next one. `false` when the deadline came first.
    pub(super) fn clear(&self, deadline: Instant) -> bool {
        let mut desk = self.lock();
        for (lane, _) in desk.waiting.take().into_iter().flatten() {
            lane.commit_failed();
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let (desk, _) = self
            .changed
            .wait_timeout_while(desk, left, |desk| desk.on_its_way)
            .unwrap_or_else(PoisonError::into_inner);
        !desk.on_its_way
    }

    /// Ends [`run`], once it has sent what it is sending.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn next(&self, wait: Duration) -> Next {
        let idle = |desk: &mut Desk| desk.waiting.is_none() && !desk.closed;
        let (mut desk, _) = self
            .changed
            .wait_timeout_while(self.lock(), wait, idle)
            .unwrap_or_else(PoisonError::into_inner);
        if desk.closed {
            return Next::Closed;
        }
        let commits = desk.waiting.take();
        desk.on_its_way = commits.is_some();
        commits.map_or(Next::Nothing, Next::Commits)
    }

    fn done(&self) {
        self.lock().on_its_way = false;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the committing thread finds at the desk.
enum Next {
    Commits(Commits),
    /// Nothing within its wait.
    Nothing,
    Closed,
}

/// How often the cluster is asked which topics the names stand for.
const ASK_TOPICS_EVERY: Duration = Duration::from_secs(2);
/// How long one such question may take; commits wait behind it.
const ASK_TOPICS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a rebalance waits for a commit that is on its way.
pub(super) const CLEAR_TIMEOUT: Duration = Duration::from_secs(5);

/// The committing thread: sends what is left at the desk until it closes, and asks now and then
/// which topics the names stand for.
pub(super) fn run(shared: &Shared, consumer: &BaseConsumer<GroupContext>) {
    let topics: Vec<&str> = shared.topics.iter().map(String::as_str).collect();
    let mut asked = Instant::now();
    loop {
        match shared
            .desk
            .next(ASK_TOPICS_EVERY.saturating_sub(asked.elapsed()))
        {
            Next::Closed => return,
            Next::Nothing => {}
            Next::Commits(commits) => {
                failpoint!("before-commit");
                shared.commit(consumer, &commits);
                shared.desk.done();
            }
        }
        if asked.elapsed() >= ASK_TOPICS_EVERY {
            asked = Instant::now();
            match topic_ids::ask(consumer.client(), &topics, ASK_TOPICS_TIMEOUT) {
                Ok(ids) => {
                    shared.log.answered();
                    shared.saw_topics(ids);
                }
                Err(error) => {
                    let code = LibraryError::AdminOp(error.code());
                    shared.log.explains(&code, "ask for the ids of topics");
                    tracing::debug!(%error, "asking for the topics' ids");
                }
            }
        }
    }
}
