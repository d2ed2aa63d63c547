//! Messages to people about a provider that does not answer: the reason, at once and then once a
//! minute with counts, and the end; never a line per call.
//!
//! Pure: attempts and the time come in, [`Notice`]s go out. There are three kinds of trouble, each
//! with its own beginning and end: the provider **refuses** every call until people act, it is
//! **away**, or it **rejects** requests as they are written.

mod episode;
mod reason;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use self::episode::{Episode, Told};
use self::reason::{Reason, reason};
use super::error::ProviderError;

/// The severity of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The trouble is over.
    Info,
    /// Degraded; the trouble may end by itself.
    Warn,
    /// An operator must act.
    Error,
}

/// One line for the log, and the alert that it goes with, if any.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    pub level: Level,
    pub text: String,
    pub alert: Option<AlertChange>,
}

/// An alert that begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertChange {
    /// `provider_refuses` or `provider_away`.
    pub alert: &'static str,
    pub firing: bool,
    /// Time since the trouble began.
    pub since: Duration,
    /// Attempts that failed since then.
    pub failures: u64,
}

/// The provider that the notices are about, in the operator's terms.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// The provider's name in the topology.
    pub name: String,
    /// Its address, without secrets.
    pub address: String,
    /// Its section in the topology: `providers.main.openai`.
    pub section: String,
    /// The variables that its key comes from.
    pub key_variables: Vec<String>,
    /// The variables that its address comes from.
    pub url_variables: Vec<String>,
    /// True if the provider has a key.
    pub has_key: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Refuses,
    Away,
    Rejects,
}

impl Class {
    const ALL: [Self; 3] = [Self::Refuses, Self::Away, Self::Rejects];

    fn level(self) -> Level {
        match self {
            Self::Refuses => Level::Error,
            Self::Away | Self::Rejects => Level::Warn,
        }
    }

    /// Returns the alert of this kind. A rejected request may be the fault of one question, so it
    /// has no alert.
    fn alert(self) -> Option<&'static str> {
        match self {
            Self::Refuses => Some("provider_refuses"),
            Self::Away => Some("provider_away"),
            Self::Rejects => None,
        }
    }
}

/// The troubles of one provider.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    site: Site,
    /// One episode per kind, in the order of [`Class::ALL`].
    episodes: [Episode; 3],
}

impl Troubles {
    pub fn new(site: Site) -> Self {
        Self {
            site,
            episodes: Default::default(),
        }
    }

    /// Records the result of an attempt; `None` is an answer.
    pub fn attempt(&mut self, error: Option<&ProviderError>, now: Instant) {
        let trouble = error.and_then(|error| Some((error, reason(error)?)));
        let Some((error, (class, reason))) = trouble else {
            if error.is_none_or(is_of_the_question) {
                self.episodes.iter_mut().for_each(Episode::good);
            }
            return;
        };
        for (of, episode) in Class::ALL.into_iter().zip(&mut self.episodes) {
            let said_no = matches!(class, Class::Refuses | Class::Rejects);
            if of == class {
                episode.failed(&reason, text(&self.site, error, &reason), now);
            } else if (of == Class::Away && said_no) || class == Class::Rejects {
                // A provider that refuses is not away, and a provider that rejects a request has
                // accepted the key.
                episode.good();
            }
        }
    }

    /// Records that a call was not made because too many failed before.
    pub fn suspended(&mut self, now: Instant) {
        let [_, away, _] = &mut self.episodes;
        away.also(Reason::from("not sent while calls are suspended"), now);
    }

    /// Returns the notices that are due; each is returned once.
    pub fn notices(&mut self, now: Instant) -> Vec<Notice> {
        let episodes = Class::ALL.into_iter().zip(&mut self.episodes);
        let told = episodes.flat_map(|(class, episode)| {
            let told = episode.told(now).into_iter();
            told.map(move |told| (class, told))
        });
        told.map(|(class, told)| notice(&self.site, class, told))
            .collect()
    }
}

/// Returns true for failures that show only that the provider works.
fn is_of_the_question(error: &ProviderError) -> bool {
    matches!(
        error,
        ProviderError::Refused { .. }
            | ProviderError::Filtered { .. }
            | ProviderError::Truncated { .. }
            | ProviderError::Empty
    )
}

fn notice(site: &Site, class: Class, told: Told) -> Notice {
    let Site { name, address, .. } = site;
    let change = |firing, since, failures| {
        class.alert().map(|alert| AlertChange {
            alert,
            firing,
            since,
            failures,
        })
    };
    match told {
        Told::Began {
            text,
            since,
            failures,
        } => Notice {
            level: class.level(),
            text,
            alert: change(true, since, failures),
        },
        Told::Changed { text } => Notice {
            level: class.level(),
            text,
            alert: None,
        },
        Told::Lasts { counts, last } => Notice {
            level: class.level(),
            text: format!("in the last minute {counts}; the last: {last}"),
            alert: None,
        },
        Told::Over {
            since,
            counts,
            failures,
        } => {
            let lasted = humantime::format_duration(Duration::from_secs(since.as_secs()));
            Notice {
                level: Level::Info,
                text: format!(
                    "{address} (provider {name}) answers again after {lasted}; failed: {counts}"
                ),
                alert: change(false, since, failures),
            }
        }
    }
}

/// Returns the first line of a trouble: the failure, the provider's own words, and the advice.
fn text(site: &Site, error: &ProviderError, reason: &Reason) -> String {
    let Site { name, address, .. } = site;
    let from = match error {
        ProviderError::Unreachable { .. } => {
            format!("cannot reach {address} (provider {name}): {reason}")
        }
        ProviderError::Timeout { after, .. } => {
            let after = humantime::format_duration(*after);
            return format!(
                "{reason} from {address} (provider {name}) within {after}; {}",
                reason::advice(site, error)
            );
        }
        _ => format!("{reason} from {address} (provider {name})"),
    };
    let words = reason::words(error);
    let advice = reason::advice(site, error);
    format!("{from}: {words}; {advice}")
}
