//! The prompt of a query: made from its key, its question and, for a private type alone, the couple's
//! context.

use wedcache_model::{Sharing, key, place};

use super::Ask;
use crate::ai::Prompt;
use crate::ai::prompt::{self, Instruction};

/// Returns the prompt of a query. For a type that couples share it is made from the key and the
/// question alone.
pub(super) fn prompt_of(ask: &Ask, max_tokens: u32) -> Prompt {
    let prepared = &ask.prepared;
    let version = prepared.cache_type.prompt_version.to_string();
    let instruction = Instruction {
        text: &prepared.cache_type.instructions,
        version: &version,
        max_tokens,
        prices: &ask.policy.prices,
    };
    let dimensions: Vec<_> = key::dimensions(&prepared.key)
        .into_iter()
        .filter_map(|(name, value)| match name {
            "prompt" | "wedding" => None,
            // Models know "Tuscany" better than `IT-52`; the words follow from the key alone.
            "location" => Some((name, place::in_words(&value).into_owned())),
            name => Some((name, value)),
        })
        .collect();
    let question = &ask.query.query.content;
    match prepared.cache_type.sharing {
        Sharing::Shared => prompt::shared(&instruction, &dimensions, question),
        Sharing::Private => {
            prompt::private(&instruction, &dimensions, &couple_facts(ask), question)
        }
    }
}

/// Returns the facts of the couple's own context, which only a private answer may be made from.
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
