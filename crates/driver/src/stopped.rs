//! A runtime whose time stands still, and the moment at which nothing more can happen in it.

use std::io;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::Notify;

/// Tells when all tasks of its runtime wait for time to pass, or for ever.
#[derive(Debug, Clone, Default)]
pub struct Idle(Arc<Notify>);

impl Idle {
    /// Waits until everything that can happen at this moment has. Only for the future that
    /// [`run`] runs: of several waiters each would count the other as waiting.
    pub async fn reached(&self) {
        self.0.notified().await;
    }
}

/// Runs `work` to its end on a runtime of its own, on this thread. Time moves only where `work`
/// itself sleeps, and then from timer to timer.
pub fn run<T>(work: impl AsyncFnOnce(Idle) -> T) -> io::Result<T> {
    let idle = Idle::default();
    let at_rest = idle.clone();
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        // Called when no task can go on. Who waits for it is woken, so the paused clock does not
        // run ahead to the next timer.
        .on_thread_park(move || at_rest.0.notify_waiters())
        .build()?;
    Ok(runtime.block_on(work(idle)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn idle_comes_after_all_that_can_happen_and_before_time_moves() {
        let (woken, late) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        run(async |idle: Idle| {
            let start = Instant::now();
            let (deep, slow) = (Arc::clone(&woken), Arc::clone(&late));
            tokio::spawn(async move {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                tokio::spawn(async move { deep.fetch_add(1, Ordering::Relaxed) });
                tokio::time::sleep(Duration::from_millis(1)).await;
                slow.fetch_add(1, Ordering::Relaxed);
            });
            idle.reached().await;
            assert_eq!(woken.load(Ordering::Relaxed), 1);
            idle.reached().await;
            assert_eq!(
                (late.load(Ordering::Relaxed), start.elapsed()),
                (0, Duration::ZERO)
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
            idle.reached().await;
            assert_eq!(late.load(Ordering::Relaxed), 1);
        })
        .unwrap();
    }
}
