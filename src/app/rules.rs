//! The rules stage while it runs: its member of the group, its task, and the dead letters that it
//! still writes.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::AppError;
use crate::kafka::{Intake, IntakeHandle, IntakeOptions, KafkaError};
use crate::pipeline::rules_stage::{RulesIntake, RulesParts, Stall, Stalled, rules_stage};

/// A running rules stage.
pub(super) struct RulesStage {
    pub(super) intake: IntakeHandle,
    /// For a member that takes this one's place.
    options: IntakeOptions,
    handler: RulesIntake,
    task: JoinHandle<()>,
    stop: CancellationToken,
    letters: TaskTracker,
    stall: Arc<Stall>,
}

impl RulesStage {
    pub(super) fn start(options: IntakeOptions, parts: RulesParts) -> Result<Self, KafkaError> {
        let (stop, letters) = (CancellationToken::new(), TaskTracker::new());
        let stall = Arc::clone(&parts.stall);
        let (handler, task) = rules_stage(parts, options.limits.in_flight_records);
        Ok(Self {
            intake: Intake::spawn(&options, handler.clone())?,
            options,
            handler,
            task: tokio::spawn(task.run(stop.clone(), letters.clone())),
            stop,
            letters,
            stall,
        })
    }

    /// Puts a new member in the place of one that Kafka has fenced.
    pub(super) fn rejoin(&mut self) -> Result<(), KafkaError> {
        self.intake = Intake::spawn(&self.options, self.handler.clone())?;
        Ok(())
    }

    /// Why the stage cannot go on, if it cannot.
    pub(super) fn broken(&self) -> Option<AppError> {
        self.task.is_finished().then(|| AppError::Fatal {
            what: "rules",
            why: "its task ended".to_owned(),
        })
    }

    /// Since when, and why, the log refuses what the stage has to append. All changes in flight wait
    /// meanwhile.
    pub(super) fn stalled(&self) -> Option<Stalled> {
        self.stall.now()
    }

    /// Judges what was taken in and appends what is owed. Returns how many changes are left
    /// unfinished; those that are parked are not counted, since they are widened.
    pub(super) async fn finish(&mut self, deadline: Instant) -> usize {
        self.intake.stop_intake();
        // What the poll thread is handing over now is still taken.
        self.intake.stopped(deadline).await;
        self.stop.cancel();
        if tokio::time::timeout_at(deadline.into(), &mut self.task)
            .await
            .is_err()
        {
            tracing::warn!("the rules task has not finished in time");
        }
        self.letters.close();
        if tokio::time::timeout_at(deadline.into(), self.letters.wait())
            .await
            .is_err()
        {
            tracing::warn!("dead letters of changes have not been written in time");
        }
        self.intake.unfinished()
    }
}
