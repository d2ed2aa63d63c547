//! The effects of the changes of the running stream, found from topics that any client can read:
//! the change topics, the invalidation log and the answers.
//!
//! Several readers bring the records, so the order of records is not that of the stream. Two rules
//! correct this: a change and its invalidations are matched by the change's place, whichever comes
//! first; and an answer is judged only once the log has been read up to the answer's view.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::effect::{Effect, Place, Told};
use crate::checker::Checker;
use crate::codec::LogRecord;
use crate::model::{
    AiAnswer, Freshness, Mode, Position, Progress, Status, TagInvalidation, Timestamp,
};

/// The most changes whose effects are kept; the oldest are dropped first.
const MOST_EFFECTS: usize = 64;
/// The most keys whose last answer is kept; answers of further keys are not counted as forbidden.
const MOST_GIVEN: usize = 20_000;
/// The most answers that wait for the log; further ones are not judged.
const MOST_EARLY: usize = 10_000;
/// The most closed vendors that answers are searched for; further ones are not.
const MOST_CLOSED: usize = 1000;

/// The effects of changes, and the number of answers that were given although a change forbade
/// them.
#[derive(Debug, Default)]
pub struct Changes {
    log: Checker,
    /// The position up to which the log was read.
    position: Position,
    /// The last answer of each key.
    given: HashMap<String, Given>,
    /// Answers whose view is beyond the part of the log that was read.
    early: VecDeque<AiAnswer<'static>>,
    /// The effects, oldest first.
    effects: VecDeque<Effect>,
    /// The vendors that are closed.
    closed: BTreeMap<String, Closing>,
    /// The next offset that is not judged, and the time at which that was read, by change topic and
    /// partition.
    progress: BTreeMap<(String, i32), (i64, Timestamp)>,
    /// The number of change records that were read.
    pub changes: u64,
    /// The number of records of the log that forbid answers or make them stale.
    pub invalidations: u64,
    /// The number of answers that were judged by the log.
    pub judged: u64,
    /// The number of answers that were given although a change forbade it; those that name a vendor
    /// closed before are included.
    pub wrong: u64,
}

/// The last answer of a key.
#[derive(Debug)]
struct Given {
    stamp: Position,
    tags: Vec<String>,
    state: State,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Good,
    /// A stale answer, with the change that made it stale, where that is known.
    Stale(Option<Place>),
    Forbidden(Option<Place>),
}

/// A vendor's closing.
#[derive(Debug)]
struct Closing {
    place: Place,
    /// The log's offset of the last invalidation; `None` until that is read.
    offset: Option<i64>,
}

impl Changes {
    /// Takes a change record, before any call of the model can answer from the change.
    pub fn change(&mut self, place: Place, published: Timestamp, told: Told) {
        self.changes += 1;
        let progress = self.progress.get(&(place.0.clone(), place.1)).copied();
        let (closed, opened) = (told.closed.clone(), told.opened.clone());
        let effect = self.effect(place.clone());
        effect.told = Some(told);
        effect.published = Some(published);
        if let Some((next, at)) = progress
            && place.2 < next
        {
            effect.judged.get_or_insert(at);
        }
        let offset = effect.judged.and(effect.last_offset);
        if let Some(vendor) = opened {
            self.closed.remove(&vendor);
        }
        if let Some(vendor) = closed
            && (self.closed.len() < MOST_CLOSED || self.closed.contains_key(&vendor))
        {
            self.closed.insert(vendor, Closing { place, offset });
        }
    }

    /// Takes a record of the invalidation log, read at `now`.
    pub fn log_record(&mut self, offset: i64, record: &LogRecord, now: Timestamp) {
        match record {
            LogRecord::Invalidation(invalidation) => self.invalidate(offset, invalidation, now),
            LogRecord::Progress(progress) => self.progressed(progress, now),
            LogRecord::Identity(_)
            | LogRecord::Skip(_)
            | LogRecord::Tombstone
            | LogRecord::Foreign(_) => {}
        }
    }

    /// Notes progress: a change that forbids nothing leaves no other trace in the log than the
    /// progress record after it.
    fn progressed(&mut self, progress: &Progress, now: Timestamp) {
        let Progress {
            topic,
            partition,
            next,
            ..
        } = progress;
        let known = self.progress.entry((topic.clone(), *partition));
        let known = known.or_insert((*next, now));
        if known.0 < *next {
            *known = (*next, now);
        }
        for effect in &mut self.effects {
            let (of_topic, of_partition, offset) = &effect.place;
            if of_topic == topic && of_partition == partition && offset < next {
                effect.judged.get_or_insert(now);
            }
        }
    }

    /// Notes that the log was read up to `position`, and judges the answers that waited for that.
    pub fn log_position(&mut self, position: Position) {
        self.position = self.position.max(position);
        let early = std::mem::take(&mut self.early);
        for answer in early {
            self.answer(answer);
        }
    }

    /// Takes an answer; judges it at once, or when the log has been read far enough.
    pub fn answer(&mut self, answer: AiAnswer<'static>) {
        let (Status::Answered, Some(view)) = (answer.status, answer.view) else {
            return;
        };
        if view <= self.position {
            self.settle(&answer);
        } else if self.early.len() < MOST_EARLY {
            self.early.push_back(answer);
        }
    }

    /// Returns the effects of changes, newest first.
    pub fn effects(&self) -> impl Iterator<Item = &Effect> {
        self.effects.iter().rev()
    }

    /// Returns the open vendor that most answers name, of the answers that may still be given.
    pub fn most_named(&self) -> Option<&str> {
        let mut counts = BTreeMap::<&str, usize>::new();
        let good = self.given.values().filter(|of| of.state == State::Good);
        for tag in good.flat_map(|of| &of.tags) {
            if let Some((_, vendor)) = tag.split_once("|vendor=")
                && !self.closed.contains_key(vendor)
            {
                *counts.entry(vendor).or_default() += 1;
            }
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count)?;
        Some(most.0)
    }

    fn invalidate(&mut self, offset: i64, invalidation: &TagInvalidation, now: Timestamp) {
        self.invalidations += 1;
        self.log.record(offset, invalidation);
        let cause = &invalidation.cause;
        let place: Place = (cause.topic.clone(), cause.partition, cause.offset);
        let (mut forbidden, mut labelled) = (0, 0);
        for given in self.given.values_mut() {
            if given.stamp.0 > offset || !given.tags.contains(&invalidation.tag) {
                continue;
            }
            match (invalidation.mode, &given.state) {
                (_, State::Forbidden(_)) | (Mode::Refresh, State::Stale(_)) => {}
                (Mode::Refresh, State::Good) => {
                    labelled += 1;
                    given.state = State::Stale(Some(place.clone()));
                }
                (Mode::Purge, before) => {
                    // An answer counts once per change.
                    if *before == State::Stale(Some(place.clone())) {
                        labelled -= 1;
                    }
                    forbidden += 1;
                    given.state = State::Forbidden(Some(place.clone()));
                }
            }
        }
        let effect = self.effect(place.clone());
        effect.parts += 1;
        effect.forbidden += forbidden;
        effect.stale = effect.stale.saturating_add_signed(labelled);
        effect.last_offset = Some(offset);
        if effect.parts >= invalidation.parts {
            effect.judged = Some(now);
            for closing in self.closed.values_mut().filter(|of| of.place == place) {
                closing.offset = Some(offset);
            }
        }
    }

    fn settle(&mut self, answer: &AiAnswer<'_>) {
        self.judged += 1;
        let mut is_wrong = self.log.check(answer).is_err();
        is_wrong |= self.names_a_closed_vendor(answer);
        self.wrong += u64::from(is_wrong);
        let Some(stamp) = answer.stamp else { return };
        let tags = || answer.tags.iter().map(AsRef::as_ref);
        let later = (stamp, Position(i64::MAX));
        let state = if self
            .log
            .hit(tags(), later, |of| of == Mode::Purge)
            .is_some()
        {
            State::Forbidden(None)
        } else if self.log.hit(tags(), later, |_| true).is_some() {
            State::Stale(None)
        } else {
            State::Good
        };
        let before = self.given.get(&*answer.cache_key);
        if before.is_some_and(|before| before.stamp >= stamp) {
            return;
        }
        if let Some(State::Forbidden(Some(place))) = before.map(|before| before.state.clone())
            && let Some(effect) = self.effects.iter_mut().find(|of| of.place == place)
        {
            effect.asked_again += 1;
        }
        if before.is_some() || self.given.len() < MOST_GIVEN {
            let tags = tags().map(str::to_owned).collect();
            let given = Given { stamp, tags, state };
            self.given.insert(answer.cache_key.to_string(), given);
        }
    }

    /// Returns true if the answer is fresh, was judged after a closing, and names the closed vendor
    /// all the same. Answers that were judged before the closing count as under way.
    fn names_a_closed_vendor(&mut self, answer: &AiAnswer<'_>) -> bool {
        let (Some(data), Some(view)) = (&answer.data, answer.view) else {
            return false;
        };
        let mut is_wrong = false;
        for (vendor, closing) in &self.closed {
            let Some(offset) = closing.offset else {
                continue;
            };
            if !names(data, vendor) {
                continue;
            }
            let after = view.0 > offset && answer.freshness == Some(Freshness::Fresh);
            is_wrong |= after;
            let effect = self.effects.iter_mut().find(|of| of.place == closing.place);
            if let Some(effect) = effect {
                effect.named_after += u64::from(after);
                effect.under_way += u64::from(!after);
            }
        }
        is_wrong
    }

    /// Returns the effect of the change at `place`; adds a new one where there is none.
    fn effect(&mut self, place: Place) -> &mut Effect {
        let found = self.effects.iter().rposition(|of| of.place == place);
        let at = found.unwrap_or_else(|| {
            if self.effects.len() >= MOST_EFFECTS {
                self.effects.pop_front();
            }
            self.effects.push_back(Effect::new(place));
            self.effects.len() - 1
        });
        &mut self.effects[at]
    }
}

/// Returns true if the text names the vendor, and not another whose id contains this one.
fn names(text: &str, vendor: &str) -> bool {
    let is_id = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    text.match_indices(vendor).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + vendor.len()..]);
        !before.ends_with(is_id) && !after.starts_with(is_id)
    })
}

#[cfg(test)]
mod tests;
