//! Judges answers after the fact, by their own fields and by the invalidation log: counts the
//! answers that the log had forbidden.
//!
//! The checker shares no code with the look-up: it compares tags as text and reads the log's
//! records itself. If compaction or retention has removed records that could have forbidden an
//! answer, the judgement is [`Judgement::Unknown`] and not allowed.

use std::collections::HashMap;
use std::fmt;

use wedcache_model::{AiAnswer, Freshness, Mode, Position, StaleReason, Status, TagInvalidation};

/// The records of the invalidation log, by which answers are judged.
#[derive(Debug, Default)]
pub struct Checker {
    /// The records by tag, in the order of the log.
    records: HashMap<String, Vec<(i64, Mode)>>,
    /// Ranges of offsets without a record when the log was read, as `[from, to)`, ascending.
    gaps: Vec<(i64, i64)>,
    /// The start and end of the log that was read; `None` if the records were taken as they were
    /// written, so that none is missing.
    span: Option<(Position, Position)>,
}

/// The verdict on an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    Allowed,
    Forbidden(Violation),
    /// No remaining record forbids the answer, but a removed record may have.
    Unknown(Blind),
}

/// The reason why an answer cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blind {
    #[error("its stamp {stamp} lies below the log's start {start}: retention has passed it")]
    BelowStart { stamp: Position, start: Position },
    #[error("its view {view} lies beyond the log's end {end}: it was judged by another log")]
    BeyondEnd { view: Position, end: Position },
    #[error(
        "offset {missing} of [{stamp}, {view}) was compacted away, and record {later} may have \
         replaced it"
    )]
    Compacted {
        stamp: Position,
        view: Position,
        missing: i64,
        later: ForbiddingRecord,
    },
}

/// The reason why an answer should not have been given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Labelled fresh, although a record in `[stamp, view)` hits one of its tags.
    #[error("fresh as of {view} with stamp {stamp}, but {hit}")]
    NotFresh {
        stamp: Position,
        view: Position,
        hit: ForbiddingRecord,
    },
    /// Served, even if labelled stale, although a purge in `[stamp, view)` forbids it.
    #[error("served at {view} with stamp {stamp}, but {hit}")]
    Purged {
        stamp: Position,
        view: Position,
        hit: ForbiddingRecord,
    },
    /// A field of the answer that contradicts the others, with the problem.
    #[error("{field} {problem}")]
    Inconsistent {
        field: &'static str,
        problem: &'static str,
    },
}

/// The record of the log that forbids an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForbiddingRecord {
    pub offset: i64,
    pub mode: Mode,
    pub tag: String,
}

impl fmt::Display for ForbiddingRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, mode, tag } = self;
        write!(f, "record {offset} is a {} of {tag}", mode.as_str())
    }
}

impl Checker {
    /// Creates a checker for a log read from `start` to `end`. Offsets without a record in between
    /// must be reported by [`Checker::gap`].
    pub fn read(start: Position, end: Position) -> Self {
        Self {
            span: Some((start, end)),
            ..Self::default()
        }
    }

    /// Adds a record; the calls must come in the order of the log.
    pub fn record(&mut self, offset: i64, invalidation: &TagInvalidation) {
        self.hits(offset, invalidation.mode, &invalidation.tag);
    }

    /// Adds a record by its mode and tag; the calls must come in the order of the log.
    pub fn hits(&mut self, offset: i64, mode: Mode, tag: &str) {
        if let Some(records) = self.records.get_mut(tag) {
            records.push((offset, mode));
        } else {
            self.records.insert(tag.to_owned(), vec![(offset, mode)]);
        }
    }

    /// Reports that the offsets `[from, to)` have no record; the calls must come in the order of
    /// the log.
    pub fn gap(&mut self, from: i64, to: i64) {
        self.gaps.push((from, to));
    }

    /// Returns the first record in `[from, to)` that hits one of the tags and whose mode `counts`.
    pub fn hit<'a>(
        &self,
        tags: impl IntoIterator<Item = &'a str>,
        (from, to): (Position, Position),
        counts: impl Fn(Mode) -> bool,
    ) -> Option<ForbiddingRecord> {
        tags.into_iter()
            .filter_map(|tag| {
                let records = self.records.get(tag)?;
                let begin = records.partition_point(|(offset, _)| *offset < from.0);
                let (offset, mode) = records[begin..]
                    .iter()
                    .take_while(|(offset, _)| *offset < to.0)
                    .find(|(_, mode)| counts(*mode))?;
                Some(ForbiddingRecord {
                    offset: *offset,
                    mode: *mode,
                    tag: tag.to_owned(),
                })
            })
            .min_by_key(|hit| hit.offset)
    }

    /// Judges an answer by the log.
    pub fn judge(&self, answer: &AiAnswer<'_>) -> Judgement {
        match self.check(answer) {
            Err(violation) => Judgement::Forbidden(violation),
            Ok(()) => self
                .blind(answer)
                .map_or(Judgement::Allowed, Judgement::Unknown),
        }
    }

    /// Returns the reason why a record that forbids the answer may be missing, if there is one.
    fn blind(&self, answer: &AiAnswer<'_>) -> Option<Blind> {
        let ((start, end), stamp, view) = (self.span?, answer.stamp?, answer.view?);
        if answer.stale_reason == Some(StaleReason::Overtaken) {
            return None;
        }
        if stamp < start {
            return Some(Blind::BelowStart { stamp, start });
        }
        if view.max(stamp) > end {
            let view = view.max(stamp);
            return Some(Blind::BeyondEnd { view, end });
        }
        let (from, to) = *self
            .gaps
            .get(self.gaps.partition_point(|(_, to)| *to <= stamp.0))?;
        if from >= view.0 || to <= stamp.0 {
            return None;
        }
        // Compaction removes a record only if a later one has its key.
        let tags = answer.tags.iter().map(AsRef::as_ref);
        let fresh = answer.freshness == Some(Freshness::Fresh);
        let later = self.hit(tags, (view, Position(i64::MAX)), |mode| {
            fresh || mode == Mode::Purge
        })?;
        Some(Blind::Compacted {
            stamp,
            view,
            missing: from.max(stamp.0),
            later,
        })
    }

    /// Checks the answer against the known records.
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
mod tests;
