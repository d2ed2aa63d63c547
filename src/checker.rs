//! Judges answers afterwards, by what they say of themselves and by the invalidation log: counts
//! the answers that the log had forbidden.
//!
//! It shares no code with the look-up: tags are compared as text, and every record of the log is
//! kept. What it needs is the log as it was written, before compaction took records away.

use std::collections::HashMap;
use std::fmt;

use crate::model::{AiAnswer, Freshness, Mode, Position, StaleReason, Status, TagInvalidation};

/// The invalidation log, ready to judge answers.
#[derive(Debug, Default)]
pub struct Checker {
    /// By tag, in the order of the log.
    records: HashMap<String, Vec<(i64, Mode)>>,
}

/// Why an answer should not have been given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Fresh, although a record in `[stamp, view)` hits one of its tags.
    #[error("fresh as of {view} with stamp {stamp}, but {hit}")]
    NotFresh {
        stamp: Position,
        view: Position,
        hit: Hit,
    },
    /// Served, if labelled, although a purge in `[stamp, view)` forbids it.
    #[error("served at {view} with stamp {stamp}, but {hit}")]
    Purged {
        stamp: Position,
        view: Position,
        hit: Hit,
    },
    /// It says of itself what cannot be: the field, and what is wrong with it.
    #[error("{field} {problem}")]
    Inconsistent {
        field: &'static str,
        problem: &'static str,
    },
}

/// The record of the log that forbids an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    pub offset: i64,
    pub mode: Mode,
    pub tag: String,
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, mode, tag } = self;
        write!(f, "record {offset} is a {} of {tag}", mode.as_str())
    }
}

impl Checker {
    /// Takes a record of the log; in the log's order.
    pub fn record(&mut self, offset: i64, invalidation: &TagInvalidation) {
        let records = self.records.entry(invalidation.tag.clone()).or_default();
        records.push((offset, invalidation.mode));
    }

    /// The first record in `[from, to)` that hits one of the tags and that `counts`.
    pub fn hit<'a>(
        &self,
        tags: impl IntoIterator<Item = &'a str>,
        (from, to): (Position, Position),
        counts: impl Fn(Mode) -> bool,
    ) -> Option<Hit> {
        tags.into_iter()
            .filter_map(|tag| {
                let records = self.records.get(tag)?;
                let begin = records.partition_point(|(offset, _)| *offset < from.0);
                let (offset, mode) = records[begin..]
                    .iter()
                    .take_while(|(offset, _)| *offset < to.0)
                    .find(|(_, mode)| counts(*mode))?;
                Some(Hit {
                    offset: *offset,
                    mode: *mode,
                    tag: tag.to_owned(),
                })
            })
            .min_by_key(|hit| hit.offset)
    }

    /// Whether the answer may have been given.
    pub fn check(&self, answer: &AiAnswer<'_>) -> Result<(), Violation> {
        let inconsistent = |field, problem| Err(Violation::Inconsistent { field, problem });
        if answer.status != Status::Answered {
            return match (answer.stamp, answer.view, answer.freshness, &answer.data) {
                (None, None, None, None) if answer.tags.is_empty() => Ok(()),
                _ => inconsistent("status", "says that there is no answer, and there is one"),
            };
        }
        let (Some(stamp), Some(view)) = (answer.stamp, answer.view) else {
            return inconsistent("stamp", "or view is missing");
        };
        let tags = || answer.tags.iter().map(AsRef::as_ref);
        if tags().next().is_none() {
            return inconsistent("tags", "are missing: it depends on its type at least");
        }
        match (answer.freshness, answer.stale_reason) {
            (Some(Freshness::Fresh), None) => match self.hit(tags(), (stamp, view), |_| true) {
                Some(hit) => Err(Violation::NotFresh { stamp, view, hit }),
                None => Ok(()),
            },
            (Some(Freshness::Stale), Some(StaleReason::Overtaken)) => Ok(()),
            (Some(Freshness::Stale), Some(_)) => {
                match self.hit(tags(), (stamp, view), |mode| mode == Mode::Purge) {
                    Some(hit) => Err(Violation::Purged { stamp, view, hit }),
                    None => Ok(()),
                }
            }
            _ => inconsistent("freshness", "and its reason do not fit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Cause, Timestamp};

    fn record(tag: u8, mode: Mode) -> TagInvalidation {
        TagInvalidation {
            tag: tag.to_string(),
            mode,
            rule: String::new(),
            cause: Cause {
                topic: String::new(),
                partition: 0,
                offset: 0,
                event_id: None,
            },
            part: 1,
            parts: 1,
            at: Timestamp(0),
        }
    }

    proptest! {
        #[test]
        fn a_hit_is_the_first_record_between_that_counts(
            log in prop::collection::vec((0_u8..3, any::<bool>()), 0..30),
            (from, to) in (0_i64..40, 0_i64..40),
            tag in 0_u8..3,
            purges_only in any::<bool>(),
        ) {
            let mut checker = Checker::default();
            let mut first = None;
            for (at, (of, purges)) in log.into_iter().enumerate() {
                // With the gaps that other kinds of record leave.
                let offset = i64::try_from(at).unwrap() * 2;
                let mode = if purges { Mode::Purge } else { Mode::Refresh };
                checker.record(offset, &record(of, mode));
                let counts = of == tag && (purges || !purges_only);
                if counts && (from..to).contains(&offset) {
                    first = first.or(Some(offset));
                }
            }
            let counts = |mode| mode == Mode::Purge || !purges_only;
            let hit = checker.hit([&*tag.to_string()], (Position(from), Position(to)), counts);
            prop_assert_eq!(hit.map(|hit| hit.offset), first);
        }
    }
}
