//! The outcome of a query, and the answer that states it.

use std::borrow::Cow;
use std::sync::Arc;

use super::ask::Ask;
use crate::model::{
    AiAnswer, AnswerError, Body, Entry, Freshness, LayerName, Operation, Position, Source,
    StaleReason, Status, Tag, Timestamp,
};

#[derive(Debug, Clone)]
pub enum Outcome {
    /// From the cache.
    Hit(Hit),
    /// From the provider, by this query's call or by one that it waited for, here or on another
    /// instance.
    Called(Called),
    Failed(AnswerError),
    /// The deadline passed first.
    Expired,
}

#[derive(Debug, Clone)]
pub struct Hit {
    pub entry: Arc<Entry>,
    pub layer: LayerName,
    /// Why it is not fresh; none where it is.
    pub stale: Option<StaleReason>,
    /// The log position that it was judged at.
    pub view: Position,
}

#[derive(Debug, Clone)]
pub struct Called {
    pub entry: Arc<Entry>,
    pub coalesced: bool,
    pub stale: Option<StaleReason>,
}

impl Outcome {
    /// The one operation of the query's metric.
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

    /// Returns the text of the answer, if there is one.
    pub fn body(&self) -> Option<&Body> {
        self.entry().map(|entry| &entry.data)
    }

    /// The record for the answers' topic, without its data: that is [`Outcome::body`], whose form
    /// only the encoder knows.
    pub fn answer<'a, S: AsRef<str>>(&'a self, ask: &'a Ask<S>, now: Timestamp) -> AiAnswer<'a> {
        match self {
            Self::Hit(hit) => AiAnswer {
                source: Source::Cache,
                layer: Some(hit.layer),
                view: Some(hit.view),
                saved_usd: hit.entry.header.cost_usd,
                ..answered(ask, &hit.entry, hit.stale, now)
            },
            Self::Called(called) => {
                let header = &called.entry.header;
                let ours = |value: u64| (!called.coalesced).then_some(value);
                AiAnswer {
                    source: Source::Ai,
                    coalesced: called.coalesced,
                    view: Some(ask.arrival.max(header.stamp)),
                    prompt_tokens: ours(header.prompt_tokens).or(Some(0)),
                    completion_tokens: ours(header.completion_tokens).or(Some(0)),
                    cost_usd: if called.coalesced {
                        Some(0.0)
                    } else {
                        header.cost_usd
                    },
                    saved_usd: if called.coalesced {
                        header.cost_usd
                    } else {
                        Some(0.0)
                    },
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
        cost_usd: Some(0.0),
        saved_usd: Some(0.0),
        simulated: header.simulated,
        ..empty(ask, now)
    }
}

/// What the answer was judged by: a private entry carries its wedding's tag, and so does the asker.
fn tags_of<'a>(entry: &'a Entry, asker: &'a [Tag]) -> Vec<Cow<'a, str>> {
    let mut tags = Vec::with_capacity(entry.tags.len() + asker.len());
    tags.extend(entry.tags.iter().map(|tag| Cow::Borrowed(tag.as_str())));
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
