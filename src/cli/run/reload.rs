//! Reads the topology file again while the program runs, and brings its policy into force.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::source::{Source, Text};
use crate::policy::Policies;
use crate::topology::reload::{Settings, policy_for};
use crate::topology::{self, Deployment, Loaded, Problems, Variables};

/// The interval at which a watched file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The file of a running program and what the program runs by.
pub(super) struct Reloader {
    source: Source,
    /// The text that was read last, applied or not.
    text: String,
    settings: Settings,
    deployment: Deployment,
}

/// The result of one reading.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    Applied {
        policy: Vec<String>,
        deployment: Vec<String>,
    },
    /// The policy in force stays.
    Refused(String),
}

impl Reloader {
    pub(super) fn new(source: Source, text: String, loaded: &Loaded) -> Self {
        Self {
            source,
            text,
            settings: loaded.settings(),
            deployment: loaded.topology.deployment.clone(),
        }
    }

    /// Reads the file at every signal, and with `watch` when it has changed, until `stop`.
    pub(super) async fn run(
        mut self,
        mut signals: mpsc::Receiver<()>,
        watch: bool,
        policies: Policies,
        stop: CancellationToken,
    ) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut seen = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = signals.recv() => {
                    let reading = self.read(&policies);
                    self.report(&reading, &policies);
                }
                _ = looks.tick(), if watch => {
                    let now = self.source.read().ok().map(|read| read.text);
                    // Twice the same: whoever writes the file has finished.
                    let changed = now.as_ref().is_some_and(|now| *now != self.text);
                    if changed && now == seen {
                        let reading = self.read(&policies);
                        self.report(&reading, &policies);
                    }
                    seen = now;
                }
            }
        }
    }

    fn read(&mut self, policies: &Policies) -> Reading {
        let Text { file, text } = match self.source.read() {
            Ok(read) => read,
            Err(error) => return Reading::Refused(error.to_string()),
        };
        let loaded = topology::read(&file, &text, Variables::From(&crate::cli::environment));
        self.text = text;
        match loaded.and_then(|loaded| self.apply(loaded, policies)) {
            Ok(reading) => reading,
            Err(problems) => Reading::Refused(problems.to_string()),
        }
    }

    fn apply(&mut self, loaded: Loaded, policies: &Policies) -> Result<Reading, Box<Problems>> {
        if !loaded.warnings.is_empty() {
            tracing::warn!("{}", loaded.warnings);
        }
        let new = loaded.settings();
        let changes = self.settings.changes(&new);
        let policy = policy_for(&self.deployment, loaded)?;
        self.settings = self.settings.with_policy_of(&new);
        if !changes.policy.is_empty() {
            policies.replace(policy);
        }
        Ok(Reading::Applied {
            policy: changes.policy,
            deployment: changes.deployment,
        })
    }

    fn report(&self, reading: &Reading, policies: &Policies) {
        let file = self.source.path().display();
        policies.metrics.policy_reading(match reading {
            Reading::Refused(_) => "refused",
            Reading::Applied { policy, .. } if policy.is_empty() => "unchanged",
            Reading::Applied { .. } => "applied",
        });
        match reading {
            Reading::Refused(why) => {
                tracing::error!(%file, "the topology file is refused, the policy in force stays:\n{why}");
            }
            Reading::Applied { policy, deployment } => {
                if policy.is_empty() {
                    tracing::info!(%file, "the topology file was read again, its policy has not changed");
                } else {
                    let changed = policy.join(", ");
                    tracing::info!(%file, changed, "the topology file was read again, its policy is in force");
                }
                if !deployment.is_empty() {
                    let settings = deployment.join(", ");
                    tracing::warn!(%file, settings, "these settings need a restart, the old ones stay");
                }
            }
        }
    }
}
