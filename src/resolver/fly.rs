//! A flight: the clearance, the prompt, the call, the fill, the landing.

use std::borrow::Cow;
use std::sync::Arc;

use super::clearance::Clearance;
use super::flight::Pilot;
use super::{Ask, FlightError, Landed, Landing, Model, Resolver};
use crate::ai::prompt::{self, Instruction};
use crate::ai::{Completion, Prompt};
use crate::failpoint::failpoint;
use crate::invalidation::Verdict;
use crate::model::catalog::TtlInput;
use crate::model::entry::Header;
use crate::model::key;
use crate::model::place;
use crate::model::{AnswerError, Entry, Sharing, Tag};

impl Resolver {
    /// Asks the provider, unless another instance does, and lands with what came of it. Runs to its
    /// end whoever still waits.
    pub(super) async fn fly(&self, pilot: Pilot<Landing>, ask: &Ask) {
        let flight = Arc::clone(&pilot.flight);
        match self.clear(&flight, ask).await {
            // Without its pilot the flight is lost, and those aboard look up what was stored.
            Clearance::NotNeeded => drop(pilot),
            Clearance::Elsewhere(entry) => pilot.land(Ok(Landed {
                entry,
                tags_complete: true,
                elsewhere: true,
            })),
            Clearance::Unseen => {
                let _unseen = self.traffic.begin_unseen();
                self.call_and_land(pilot, ask).await;
            }
            Clearance::Leased(lease) => {
                let settled = lease.kept_while(self.call_and_land(pilot, ask)).await;
                // Else whoever claims next might not find the answer that is on its way.
                if settled {
                    lease.end().await;
                }
            }
        }
    }

    /// Whether no write of the answer is still on its way.
    async fn call_and_land(&self, pilot: Pilot<Landing>, ask: &Ask) -> bool {
        failpoint!("before-call");
        let mut settled = true;
        let landing = match self.call(&pilot, ask).await {
            Ok(completion) => {
                failpoint!("replied");
                let landed = self.landed(&pilot, ask, &completion);
                if ask.stores() && landed.tags_complete {
                    let _in_line = pilot.flight.until.stand_in_line();
                    settled = self.fill(ask, &landed.entry).await;
                    failpoint!("fill-stored");
                }
                Ok(landed)
            }
            Err(failure) => Err(Arc::new(failure)),
        };
        pilot.land(landing);
        settled
    }

    async fn call(&self, pilot: &Pilot<Landing>, ask: &Ask) -> Result<Completion, FlightError> {
        let cache_type = &ask.prepared.cache_type.name;
        let Some(Model { ai, max_tokens }) = self.parts.models.get(cache_type) else {
            return Err(FlightError {
                error: AnswerError {
                    code: "no_provider".to_owned(),
                    message: format!("no provider answers {cache_type} on this instance"),
                    retryable: false,
                },
                provider_away: true,
            });
        };
        let outcome = ai
            .complete(&prompt_of(ask, *max_tokens), &pilot.flight.until)
            .await;
        self.called(ask, pilot.flight.called_at, (ai.provider_name(), &outcome));
        outcome.result.map_err(|error| FlightError {
            error: error.to_answer_error(),
            provider_away: error.provider_away(),
        })
    }

    fn landed(&self, pilot: &Pilot<Landing>, ask: &Ask, completion: &Completion) -> Landed {
        let prepared = &ask.prepared;
        let of = prepared.entry_tags(&self.parts.catalog, &ask.query, &completion.text);
        let tags = of.tags;
        let now = self.parts.clock.now();
        let vendor_types = prepared.vendor_types(&ask.query);
        let vendor_types: Vec<&str> = vendor_types.iter().map(String::as_str).collect();
        let ttl = self.parts.catalog.ttl(
            &TtlInput {
                cache_type: &prepared.cache_type,
                vendor_types: &vendor_types,
                wedding_date: ask.query.wedding_context.wedding_date,
                now,
            },
            fastrand::f64(),
        );
        let expires_at = now.plus(ttl);
        let keep = prepared
            .cache_type
            .stale_window
            .max(prepared.cache_type.stale_if_error);
        let entry = Entry {
            key: prepared.key.clone(),
            header: Header {
                log_id: pilot.flight.stamp.log_id(),
                stamp: pilot.flight.stamp.position(),
                called_at: pilot.flight.called_at,
                cached_at: now,
                expires_at,
                keep_until: expires_at.plus(keep),
                prompt_tokens: completion.prompt_tokens,
                completion_tokens: completion.completion_tokens,
                cost_usd: completion.cost_usd,
                simulated: completion.simulated,
                tag_hashes: tags.iter().map(Tag::hash).collect(),
            },
            tags: tags.into(),
            model: completion.model.as_str().into(),
            data: completion.text.as_str().into(),
        };
        Landed {
            entry: Arc::new(entry),
            tags_complete: of.complete,
            elsewhere: false,
        }
    }

    /// Stores the answer; returns once it is durable, or once no layer will make it so. One that
    /// a purge has overtaken would never be served: it is not stored. Whether all layers have said
    /// what became of it.
    async fn fill(&self, ask: &Ask, entry: &Arc<Entry>) -> bool {
        let parts = &self.parts;
        if matches!(
            parts.table.judge(&entry.header, &[]),
            Verdict::Purged | Verdict::Void
        ) {
            self.fill_overtaken(ask, entry);
            return true;
        }
        let filled = parts.layers.fill(Arc::clone(entry)).await;
        if !filled.durable
            && parts.layers.has_durable()
            && let Some(more) = self.memory_only.pass()
        {
            tracing::warn!(
                cache_type = %ask.prepared.cache_type.name,
                more,
                "an answer is in memory only: no layer that survives a restart has taken it"
            );
        }
        self.filled(ask, entry, &filled);
        filled.pending.is_empty()
    }
}

/// What the model is asked. For a type that couples share that is what the key says and the
/// question, nothing else.
pub(super) fn prompt_of(ask: &Ask, max_tokens: u32) -> Prompt {
    let prepared = &ask.prepared;
    let version = prepared.cache_type.prompt_version.to_string();
    let instruction = Instruction {
        text: &prepared.cache_type.instructions,
        version: &version,
        max_tokens,
    };
    let dimensions: Vec<_> = key::dimensions(&prepared.key)
        .into_iter()
        .filter(|(name, _)| !matches!(*name, "prompt" | "wedding"))
        .collect();
    // A model knows Tuscany better than `IT-52`; the words follow from the key alone.
    let dimensions: Vec<_> = dimensions
        .iter()
        .map(|(name, value)| match *name {
            "location" => (*name, place::in_words(value)),
            name => (name, Cow::Borrowed(value.as_str())),
        })
        .collect();
    let dimensions: Vec<_> = dimensions
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let question = &ask.query.query.content;
    match prepared.cache_type.sharing {
        Sharing::Shared => prompt::shared(&instruction, &dimensions, question),
        Sharing::Private => {
            let couple = couple_facts(ask);
            let couple: Vec<_> = couple
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            prompt::private(&instruction, &dimensions, &couple, question)
        }
    }
}

/// What a private answer may be made from besides: the couple's own context.
fn couple_facts(ask: &Ask) -> Vec<(&'static str, String)> {
    let context = &ask.query.wedding_context;
    let mut facts = Vec::new();
    if let Some(date) = context.wedding_date {
        facts.push(("wedding date", date.to_string()));
    }
    if let Some(guests) = context.guest_count {
        facts.push(("guests", guests.to_string()));
    }
    if let Some(style) = &context.wedding_style {
        facts.push(("style", style.clone()));
    }
    if !context.vendor_preferences.is_empty() {
        facts.push(("preferred vendors", context.vendor_preferences.join(", ")));
    }
    facts
}
