//! Members of the groups that Kafka has fenced begin anew, without a new start of the process.
//!
//! A static member whose coordinator dies can be fenced by its own return: it joins again, and a
//! request of before, which still carries its old member id, reaches the new coordinator. The
//! client cannot go on after that; the process can.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{App, AppError, clients};
use crate::kafka::{Intake, Skips};
use crate::pipeline::query_stage::{QueryParts, QueryStage};

/// Two processes with one instance id would fence each other for ever: past so many revivals of
/// each member in so long the process ends, as it should.
const REVIVALS_PER_MEMBER: usize = 2;
const WINDOW: Duration = Duration::from_mins(5);

/// What a new member needs, and when there were some.
pub(super) struct Revival {
    query_parts: QueryParts,
    skips: Arc<Skips>,
    times: Vec<Instant>,
}

impl Revival {
    pub(super) fn new(query_parts: QueryParts, skips: Arc<Skips>) -> Self {
        Self {
            query_parts,
            skips,
            times: Vec::new(),
        }
    }

    fn may_go_on(&mut self, members: usize) -> bool {
        self.times.retain(|at| at.elapsed() < WINDOW);
        let may = self.times.len() < REVIVALS_PER_MEMBER * members;
        if may {
            self.times.push(Instant::now());
        }
        may
    }
}

impl App {
    /// Puts new members in the place of fenced ones. Those that were fenced too often stay as
    /// they are, for the watchdog.
    pub(super) fn revive_fenced(&mut self) -> Result<(), AppError> {
        let members = self.queries.len() + 1;
        for (number, intake) in self.queries.iter_mut().enumerate() {
            if intake.is_fenced() && self.revival.may_go_on(members) {
                tracing::warn!(
                    number,
                    "a member of the query group was fenced; it joins anew"
                );
                let stage = QueryStage::new(self.revival.query_parts.clone());
                let options = clients::queries(&self.topology, number, &self.resolver);
                *intake = Intake::spawn(&options.skipping(&self.revival.skips), stage)?;
            }
        }
        if self.rules.intake.is_fenced() && self.revival.may_go_on(members) {
            tracing::warn!("the member of the rules group was fenced; it joins anew");
            self.rules.rejoin()?;
        }
        Ok(())
    }

    /// Puts new producers in the place of those that cannot go on; what these had not delivered is
    /// sent again. Too often, and the process ends.
    pub(super) async fn renew_outputs(&mut self) -> Result<(), AppError> {
        for (name, output, why) in self.outputs.fatal() {
            if !self.revival.may_go_on(self.queries.len() + 1) {
                return Err(AppError::Fatal {
                    what: "output",
                    why: format!("producer of {name}: {why}"),
                });
            }
            tracing::error!(
                name,
                why,
                "a producer cannot go on; another one takes its place"
            );
            let renewed = tokio::task::spawn_blocking(move || output.renew()).await;
            renewed.map_err(|error| AppError::Fatal {
                what: "output",
                why: error.to_string(),
            })??;
        }
        Ok(())
    }
}
