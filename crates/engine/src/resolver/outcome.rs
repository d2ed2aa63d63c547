//! The outcome of a query, and the answer that states it.

use std::borrow::Cow;
use std::sync::Arc;

use wedcache_model::{
    AiAnswer, AnswerError, Body, Entry, Freshness, LayerName, Operation, Position, Source,
    StaleReason, Status, Tag, Timestamp,
};

use super::ask::Ask;
use super::usable::Use;
use crate::cache::LayerHit;

/// The outcome of a query.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// An answer from the cache.
    Hit(Hit),
    /// An answer from the provider, by this query's call or by one that it waited for, here or on
    /// another instance.
    Called(Called),
    Failed(AnswerError),
    /// No answer, since the deadline passed first.
    Expired,
}

/// An entry of the cache that answers a query.
#[derive(Debug, Clone)]
pub struct Hit {
    pub entry: Arc<Entry>,
    pub layer: LayerName,
    /// The reason why the answer is not fresh; `None` if it is.
    pub stale: Option<StaleReason>,
    /// The log position at which the entry was judged.
    pub view: Position,
}

/// An entry that a call has just brought.
#[derive(Debug, Clone)]
pub struct Called {
    pub entry: Arc<Entry>,
    /// True if the call was another query's.
    pub coalesced: bool,
    /// The reason why the answer is not fresh; `None` if it is.
    pub stale: Option<StaleReason>,
}

impl Hit {
    /// Returns the hit of an entry that the verdict at `view` lets serve at once.
    #[inline]
    pub(super) fn serving(found: LayerHit, verdict: Use, view: Position) -> Option<Self> {
        verdict.serves().then(|| Self::of(found, verdict, view))
    }

    /// Creates the hit of an entry with the label of its verdict at `view`.
    #[inline]
    pub(super) fn of(found: LayerHit, verdict: Use, view: Position) -> Self {
        let LayerHit { layer, entry } = found;
        Self {
            entry,
            layer,
            stale: verdict.stale(),
            view,
        }
    }
}

impl Outcome {
    /// Returns the operation of the query's one metric.
    pub fn operation<S>(&self, ask: &Ask<S>) -> Operation {
        match self {
            Self::Hit(hit) if hit.stale.is_some() => Operation::StaleHit,
            Self::Hit(_) => Operation::Hit,
            Self::Called(_) if ask.query.options.bypass_cache => Operation::Bypass,
            Self::Called(_) => Operation::Miss,
            Self::Failed(_) => Operation::Failure,
            Self::Expired => Operation::Expired,
        }
    }

    /// Returns the entry with the answer, if there is one.
    pub fn entry(&self) -> Option<&Arc<Entry>> {
        match self {
            Self::Hit(hit) => Some(&hit.entry),
            Self::Called(called) => Some(&called.entry),
            Self::Failed(_) | Self::Expired => None,
        }
    }

    /// Returns the cost of this query and the cost that it saved; `None` if unknown, and if there is
    /// no answer.
    fn money(&self) -> (Option<f64>, Option<f64>) {
        match self {
            Self::Called(Called {
                entry,
                coalesced: false,
                ..
            }) => (entry.header.cost_usd, Some(0.0)),
            Self::Hit(Hit { entry, .. }) | Self::Called(Called { entry, .. }) => {
                (Some(0.0), entry.header.cost_usd)
            }
            Self::Failed(_) | Self::Expired => (None, None),
        }
    }

    /// Returns the answer's text, if there is one.
    pub fn body(&self) -> Option<&Body> {
        self.entry().map(|entry| &entry.data)
    }

    /// Returns the record for the answers' topic, without its data: the encoder adds that from
    /// [`Outcome::body`].
    pub fn answer<'a, S: AsRef<str>>(&'a self, ask: &'a Ask<S>, now: Timestamp) -> AiAnswer<'a> {
        let (cost_usd, saved_usd) = self.money();
        match self {
            Self::Hit(hit) => AiAnswer {
                source: Source::Cache,
                layer: Some(hit.layer),
                view: Some(hit.view),
                cost_usd,
                saved_usd,
                ..answered(ask, &hit.entry, hit.stale, now)
            },
            Self::Called(called) => {
                let header = &called.entry.header;
                let own = |tokens| Some(if called.coalesced { 0 } else { tokens });
                AiAnswer {
                    source: Source::Ai,
                    coalesced: called.coalesced,
                    view: Some(ask.arrival.max(header.stamp)),
                    prompt_tokens: own(header.prompt_tokens),
                    completion_tokens: own(header.completion_tokens),
                    cost_usd,
                    saved_usd,
                    ..answered(ask, &called.entry, called.stale, now)
                }
            }
            Self::Failed(error) => AiAnswer {
                error: Some(error.clone()),
                ..empty(ask, now)
            },
            Self::Expired => AiAnswer {
                status: Status::Expired,
                ..empty(ask, now)
            },
        }
    }
}

fn answered<'a, S: AsRef<str>>(
    ask: &'a Ask<S>,
    entry: &'a Entry,
    stale: Option<StaleReason>,
    now: Timestamp,
) -> AiAnswer<'a> {
    let header = &entry.header;
    AiAnswer {
        status: Status::Answered,
        freshness: Some(if stale.is_some() {
            Freshness::Stale
        } else {
            Freshness::Fresh
        }),
        stale_reason: stale,
        cached_at: Some(header.cached_at),
        age_secs: Some(now.since(header.called_at).as_secs_f64()),
        stamp: Some(header.stamp),
        tags: tags_of(entry, &ask.prepared.asker),
        model: Some(Cow::Borrowed(&entry.model)),
        prompt_tokens: Some(0),
        completion_tokens: Some(0),
        simulated: header.simulated,
        ..empty(ask, now)
    }
}

/// Returns the tags that the answer was judged by, each once: a private entry carries its wedding's
/// tag, and so does the asker.
fn tags_of<'a>(entry: &'a Entry, asker: &'a [Tag]) -> Vec<Cow<'a, str>> {
    let mut tags = Vec::with_capacity(entry.tags.len() + asker.len());
    tags.extend(entry.tags.iter().map(Cow::Borrowed));
    for tag in asker {
        if !entry.tags.contains(tag) {
            tags.push(Cow::Borrowed(tag.as_str()));
        }
    }
    tags
}

fn empty<S: AsRef<str>>(ask: &Ask<S>, now: Timestamp) -> AiAnswer<'_> {
    AiAnswer {
        answer_id: Cow::Borrowed(ask.answer_id.as_str()),
        query_id: Cow::Borrowed(ask.query.query_id.as_ref()),
        status: Status::Failed,
        data: None,
        source: Source::None,
        layer: None,
        freshness: None,
        stale_reason: None,
        coalesced: false,
        cached_at: None,
        age_secs: None,
        cache_type: Cow::Borrowed(&ask.prepared.cache_type.name),
        cache_key: Cow::Borrowed(ask.prepared.key.as_str()),
        stamp: None,
        view: None,
        tags: Vec::new(),
        model: None,
        prompt_tokens: None,
        completion_tokens: None,
        cost_usd: None,
        saved_usd: None,
        simulated: false,
        error: None,
        answered_at: now,
    }
}
