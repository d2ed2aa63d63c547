//! The rules stage while it runs: its member of the group, its task, and the dead letters that it
//! has yet to write.

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
    /// The options for a member that replaces this one.
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

    /// Replaces a member that Kafka has fenced.
    pub(super) fn rejoin(&mut self) -> Result<(), KafkaError> {
        self.intake = Intake::spawn(&self.options, self.handler.clone())?;
        Ok(())
    }

    /// Returns the error of a stage that cannot go on.
    pub(super) fn broken(&self) -> Option<AppError> {
        self.task.is_finished().then(|| AppError::Fatal {
            what: "rules",
            why: "its task ended".to_owned(),
        })
    }

    /// Returns the time since which, and the reason why, the log refuses what the stage has to
    /// append; `None` while it accepts. All changes in flight wait meanwhile.
    pub(super) fn stalled(&self) -> Option<Stalled> {
        self.stall.now()
    }

    /// Judges the changes that were taken in and appends their invalidations. Returns the number of
    /// unfinished changes, without parked ones, since those are widened.
    pub(super) async fn finish(&mut self, deadline: Instant) -> usize {
        self.intake.stop_intake();
        // So that the task still takes the records that the poll thread is handing over now.
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
