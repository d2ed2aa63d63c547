//! The life of a group member, from its first poll to the end of its thread.
//!
//! ```text
//! running ─▶ stopping ─▶ stopped ─▶ closing ─▶ closed: shut down, failed, fenced or panicked
//! ```
//!
//! The handle asks for `stopping` and `closing`; the poll thread enters `stopped` and `closed`. A
//! stage can be passed over, and none comes a second time. After a fatal error of the client, at
//! whatever stage, the poll thread closes by itself.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

use super::state::MemberState;

/// A stage of a member's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum LifeStage {
    /// Records are handed over.
    Running,
    /// No further record is to be handed over; the poll thread may be at the last one.
    Stopping,
    /// No record is handed over; the member still commits and takes part in its group.
    Stopped,
    /// The member is to commit and to leave its group.
    Closing,
    /// The poll thread has ended.
    Closed,
}

const STAGES: [LifeStage; 5] = [
    LifeStage::Running,
    LifeStage::Stopping,
    LifeStage::Stopped,
    LifeStage::Closing,
    LifeStage::Closed,
];

/// The reason why a member ends without being asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MemberFailure {
    /// Kafka has given the member's static membership to another one.
    Fenced(String),
    /// The client cannot go on, for another reason.
    Fatal(String),
    /// The poll thread panicked.
    Panicked,
}

/// The stage of a member, the reason of its end, and whether its end left anything uncommitted.
#[derive(Debug, Default)]
pub(super) struct Lifecycle {
    /// A [`LifeStage`], which only grows; an atomic because it is read for every record.
    stage: AtomicU8,
    failure: OnceLock<MemberFailure>,
    /// True if something that is finished could not be committed at the end.
    uncommitted: AtomicBool,
    changed: Notify,
}

impl Lifecycle {
    /// Returns true while records may be handed over; called for every record.
    pub(super) fn is_running(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == LifeStage::Running as u8
    }

    /// Returns true once the member was asked to close.
    pub(super) fn is_closing(&self) -> bool {
        self.stage() >= LifeStage::Closing
    }

    pub(super) fn is_closed(&self) -> bool {
        self.stage() == LifeStage::Closed
    }

    /// Returns the reason why the member cannot go on.
    pub(super) fn failure(&self) -> Option<&MemberFailure> {
        self.failure.get()
    }

    /// Returns true if everything that was finished at the end is known to be committed.
    pub(super) fn is_all_committed(&self) -> bool {
        !self.uncommitted.load(Ordering::Acquire)
    }

    /// Waits until the member has reached `stage`. Cancel safe.
    pub(super) async fn until(&self, stage: LifeStage) {
        loop {
            // Enabled before the look at the stage, so that no change is missed in between.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.stage() >= stage {
                return;
            }
            changed.await;
        }
    }

    /// Asks the poll thread to hand over no further record.
    pub(super) fn stop(&self) {
        self.advance(LifeStage::Stopping);
    }

    /// Asks the poll thread to commit, to leave the group and to end.
    pub(super) fn close(&self) {
        self.advance(LifeStage::Closing);
    }

    /// Enters [`LifeStage::Stopped`] from [`LifeStage::Stopping`]; called by the poll thread.
    pub(super) fn stopped(&self) {
        let (from, to) = (LifeStage::Stopping as u8, LifeStage::Stopped as u8);
        let entered = self
            .stage
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        if entered.is_ok() {
            self.changed.notify_waiters();
        }
    }

    /// Enters [`LifeStage::Closed`]; called at the end of the poll thread.
    pub(super) fn closed(&self) {
        self.advance(LifeStage::Closed);
    }

    /// Notes a fatal error of the client. The first one stays.
    pub(super) fn fail(&self, code: RDKafkaErrorCode) {
        let text = code.to_string();
        self.failure.get_or_init(|| match code {
            RDKafkaErrorCode::FencedInstanceId => MemberFailure::Fenced(text),
            _ => MemberFailure::Fatal(text),
        });
    }

    /// Notes that something that is finished could not be committed at the end.
    pub(super) fn leave_uncommitted(&self) {
        self.uncommitted.store(true, Ordering::Release);
    }

    fn advance(&self, to: LifeStage) {
        if self.stage.fetch_max(to as u8, Ordering::AcqRel) < to as u8 {
            self.changed.notify_waiters();
        }
    }

    fn stage(&self) -> LifeStage {
        STAGES[usize::from(self.stage.load(Ordering::Acquire))]
    }
}

impl MemberFailure {
    /// Returns the error text of the client; `None` after a panic, which has its own log line.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Fenced(text) | Self::Fatal(text) => Some(text),
            Self::Panicked => None,
        }
    }
}

/// The poll thread's share in the lifecycle: closes it if the thread panics.
pub(super) struct ThreadLife(Arc<MemberState>);

impl ThreadLife {
    pub(super) fn new(state: Arc<MemberState>) -> Self {
        Self(state)
    }
}

impl Drop for ThreadLife {
    fn drop(&mut self) {
        let lifecycle = &self.0.lifecycle;
        if !lifecycle.is_closed() {
            lifecycle.failure.get_or_init(|| MemberFailure::Panicked);
            lifecycle.leave_uncommitted();
            lifecycle.closed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::access::Wants;
    use super::super::super::client::{ClientLog, ClientOptions};
    use super::super::IntakeOptions;
    use super::*;

    #[test]
    fn stages_are_passed_over_and_never_come_again() {
        let life = Lifecycle::default();
        life.stopped();
        assert!(life.is_running(), "only who was asked to stop has stopped");
        life.stop();
        assert_eq!(life.stage(), LifeStage::Stopping);
        life.stopped();
        assert_eq!(life.stage(), LifeStage::Stopped);
        life.close();
        life.stop();
        life.stopped();
        assert_eq!(life.stage(), LifeStage::Closing);
        life.closed();
        life.close();
        assert!(life.is_closed() && life.is_closing() && !life.is_running());
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_stage_or_at_a_later_one() {
        let life = Lifecycle::default();
        let mut stopped = pin!(life.until(LifeStage::Stopped));
        assert!(futures_util::poll!(stopped.as_mut()).is_pending());
        life.stop();
        assert!(futures_util::poll!(stopped.as_mut()).is_pending());
        life.stopped();
        stopped.await;
        let mut closing = pin!(life.until(LifeStage::Closing));
        assert!(futures_util::poll!(closing.as_mut()).is_pending());
        life.closed();
        closing.await;
    }

    #[test]
    fn the_first_failure_is_the_reason_of_the_end() {
        let life = Lifecycle::default();
        assert_eq!(life.failure(), None);
        life.fail(RDKafkaErrorCode::FencedInstanceId);
        life.fail(RDKafkaErrorCode::Fatal);
        let failure = life.failure().unwrap();
        assert!(matches!(failure, MemberFailure::Fenced(text) if failure.text() == Some(text)));
        assert!(life.is_running(), "the poll thread closes by itself");
    }

    #[test]
    fn a_poll_thread_that_panics_closes_its_member_and_leaves_it_uncommitted() {
        let client = ClientOptions::new("localhost:1", "a");
        let log = ClientLog::new(&client, Wants::read(&[]));
        let options = IntakeOptions::new(client, "g", Vec::new());
        let state = Arc::new(MemberState::new(log, &options));
        let life = ThreadLife::new(Arc::clone(&state));
        let thread = std::thread::spawn(move || {
            let _life = life;
            panic!("a handler panics");
        });
        assert!(thread.join().is_err());
        let lifecycle = &state.lifecycle;
        assert!(lifecycle.is_closed() && !lifecycle.is_all_committed());
        assert_eq!(lifecycle.failure(), Some(&MemberFailure::Panicked));
    }
}
