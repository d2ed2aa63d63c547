//! Reads the topology file again while the program runs, and brings its policy into force.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::source::{Text, TopologyFile};
use crate::policy::Policies;
use crate::topology::reload::{Settings, policy_for};
use crate::topology::{self, Deployment, Loaded, Problems, Variables};

/// The interval at which a watched file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The file of a running program and what the program runs by.
pub(super) struct Reloader {
    source: TopologyFile,
    /// What was read last, applied or not.
    read: FileState,
    settings: Settings,
    deployment: Deployment,
}

/// The text of the file, or the reason why it cannot be read.
type FileState = Result<String, String>;

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
    pub(super) fn new(source: TopologyFile, text: String, loaded: &Loaded) -> Self {
        Self {
            source,
            read: Ok(text),
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
        let mut seen = self.read.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = signals.recv() => {
                    let reading = self.read(&policies);
                    self.report(&reading, &policies);
                }
                _ = looks.tick(), if watch => {
                    let now = self.look().map(|read| read.text);
                    // Twice the same: whoever writes the file has finished.
                    if now != self.read && now == seen {
                        let reading = self.read(&policies);
                        self.report(&reading, &policies);
                    }
                    seen = now;
                }
            }
        }
    }

    fn look(&self) -> Result<Text, String> {
        self.source.read().map_err(|error| error.to_string())
    }

    fn read(&mut self, policies: &Policies) -> Reading {
        let found = self.look();
        self.read = match &found {
            Ok(read) => Ok(read.text.clone()),
            Err(why) => Err(why.clone()),
        };
        let Text { file, text } = match found {
            Ok(read) => read,
            Err(why) => return Reading::Refused(why),
        };
        let loaded = topology::read(&file, &text, Variables::From(&crate::cli::environment));
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
        if !changes.policy.is_empty() {
            policies.replace(policy_for(&self.deployment, loaded)?);
            self.settings = self.settings.with_policy_of(&new);
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

#[cfg(test)]
mod tests;
