//! Replaces members of the groups that Kafka has fenced, without a restart of the process.
//!
//! A static member whose coordinator dies can be fenced by its own return: it joins again, and an
//! earlier request, which still carries its old member id, reaches the new coordinator. The client
//! cannot go on after that; the process can.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{App, AppError, clients};
use crate::kafka::{Intake, Skips};
use crate::pipeline::query_stage::{QueryParts, QueryStage};

/// The most revivals within [`WINDOW`], times the number of members. Two processes with one
/// instance id would fence each other forever; beyond this limit the process ends.
const REVIVALS_PER_MEMBER: usize = 2;
const WINDOW: Duration = Duration::from_mins(5);

/// The parts of new members, and the times of the latest revivals.
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
    /// Replaces fenced members by new ones. Members that were fenced too often are left to the
    /// watchdog.
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

    /// Replaces producers that cannot go on; what they had not delivered is sent again. Fails if
    /// there were too many revivals.
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
