//! Back-pressure: pauses and resumes partitions, with hysteresis.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::Consumer;

use super::Handler;
use super::partition::PartitionState;
use super::poll::PollThread;
use super::rebalance::{list_of, resume};

/// The time for which a full intake waits before it pauses its partitions. Hits in flight are
/// answered within it. A pause makes librdkafka drop what it has fetched and fetch it again, so it
/// is for work that takes longer. Rebalances wait that long as well.
const BEFORE_PAUSE: Duration = Duration::from_millis(50);

impl<H: Handler> PollThread<H> {
    /// Pauses and resumes what must be. Resuming a partition that is not paused would make
    /// librdkafka fetch from a stale position, so the flag of each partition is exact.
    pub(super) fn regulate(&mut self) {
        let stopped = !self.state.lifecycle.is_running();
        let hold = self.regulate_intake();
        self.full.retain(|partition| !partition.intake_easy());
        for partition in &self.partitions {
            let is_known = || self.full.iter().any(|full| Arc::ptr_eq(full, partition));
            if !partition.intake_ok() && !is_known() {
                self.full.push(Arc::clone(partition));
            }
        }
        let is_to_pause = |partition: &Arc<PartitionState>| {
            stopped
                || hold
                || self.full.iter().any(|full| Arc::ptr_eq(full, partition))
                || self.watch.holds_back(partition)
        };
        let (mut to_pause, mut to_resume) = (Vec::new(), Vec::new());
        for partition in &self.partitions {
            let paused = partition.paused.load(Ordering::Relaxed);
            match (is_to_pause(partition), paused) {
                (true, false) => to_pause.push(partition),
                (false, true) => to_resume.push(partition),
                _ => {}
            }
        }
        self.pause(&to_pause);
        resume(&self.consumer, to_resume.iter().copied());
        for partition in to_resume {
            partition.paused.store(false, Ordering::Relaxed);
        }
        if stopped {
            self.state.lifecycle.stopped();
        }
    }

    /// Decides whether back-pressure holds the whole intake.
    fn regulate_intake(&self) -> bool {
        let totals = &self.state.totals;
        let was_held = self.state.paused.load(Ordering::Relaxed);
        let hold = if was_held {
            !self.limits.relaxed(totals)
        } else {
            self.limits.reached(totals) && self.stays_full()
        };
        if hold != was_held {
            self.state.paused.store(hold, Ordering::Relaxed);
            self.state.count(|c| c.pauses += u64::from(hold));
        }
        hold
    }

    /// Waits a moment for some room; returns true if there is still none.
    fn stays_full(&self) -> bool {
        let totals = &self.state.totals;
        totals.wait_while(|| self.limits.crowded(totals), BEFORE_PAUSE);
        self.limits.reached(totals)
    }

    pub(super) fn pause(&self, partitions: &[&Arc<PartitionState>]) {
        if partitions.is_empty() {
            return;
        }
        match self.consumer.pause(&list_of(partitions.iter().copied())) {
            Ok(()) => partitions
                .iter()
                .for_each(|partition| partition.paused.store(true, Ordering::Relaxed)),
            Err(error) => tracing::error!(%error, "cannot pause partitions"),
        }
    }
}
