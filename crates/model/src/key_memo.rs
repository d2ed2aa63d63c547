//! Remembers the keys of questions by their wording, since most are asked repeatedly: comparing
//! some two hundred bytes is cheaper than normalising, encoding and hashing them.
//!
//! A memo belongs to one poll thread. It returns exactly the results of [`Keyed::of`]; those of a
//! catalogue that was replaced are recognised by their type.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::catalog::{CacheType, Catalog, Dimension};
use super::event::{AiQuery, BudgetRange};
use super::prepared::{Keyed, UnknownCacheType};
use super::time::Date;

/// The most wordings that are remembered; one takes about half a kilobyte.
const SLOTS: usize = 8192;

/// A direct-mapped table: a wording replaces the previous one in its slot.
#[derive(Debug)]
pub struct KeyMemo {
    slots: Vec<Option<Slot>>,
    hasher: RandomState,
    /// The wording of the current query; kept to reuse its buffer.
    wording: Vec<u8>,
}

#[derive(Debug)]
struct Slot {
    wording: Box<[u8]>,
    keyed: Keyed,
}

impl Default for KeyMemo {
    fn default() -> Self {
        let mut slots = Vec::new();
        slots.resize_with(SLOTS, || None);
        Self {
            slots,
            ..Self::none()
        }
    }
}

impl KeyMemo {
    /// Creates a memo that remembers nothing, for a single query.
    pub fn none() -> Self {
        Self {
            slots: Vec::new(),
            hasher: RandomState::default(),
            wording: Vec::new(),
        }
    }

    /// Returns the result of [`Keyed::of`] for the query.
    pub fn keyed<S: AsRef<str>>(
        &mut self,
        catalog: &Catalog,
        query: &AiQuery<S>,
    ) -> Result<Keyed, UnknownCacheType> {
        let cache_type = Keyed::cache_type(catalog, query)?;
        if self.slots.is_empty() {
            return Ok(Keyed::of_type(catalog, cache_type, query));
        }
        write_wording(&mut self.wording, cache_type, query);
        let hash = self.hasher.hash_one(&*self.wording);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low bits are what is wanted"
        )]
        let slot = &mut self.slots[hash as usize % SLOTS];
        match slot {
            // A key of another catalogue, which was replaced since, has another type.
            Some(known)
                if *known.wording == *self.wording
                    && Arc::ptr_eq(&known.keyed.cache_type, cache_type) =>
            {
                Ok(known.keyed.clone())
            }
            _ => {
                let keyed = Keyed::of_type(catalog, cache_type, query);
                *slot = Some(Slot {
                    wording: self.wording.as_slice().into(),
                    keyed: keyed.clone(),
                });
                Ok(keyed)
            }
        }
    }
}

/// Writes everything that determines a key of this type, unambiguously: each text follows its
/// length.
fn write_wording<S: AsRef<str>>(out: &mut Vec<u8>, of: &CacheType, query: &AiQuery<S>) {
    out.clear();
    let context = &query.wedding_context;
    let month = context.wedding_date.map_or(0, Date::month);
    number(out, month);
    number(out, context.budget_range.map_or(0, budget_number));
    text(out, &of.name);
    for part in [
        &context.location.city,
        &context.location.state,
        &context.location.country,
        &query.query.content,
    ] {
        text(out, part.as_ref());
    }
    for dimension in &of.dimensions {
        match dimension {
            Dimension::Vendors => texts(out, &query.query.vendor_ids),
            Dimension::VendorTypes => texts(out, &query.query.vendor_types),
            Dimension::Style => optional(out, context.wedding_style.as_ref()),
            Dimension::Wedding => optional(out, context.wedding_id.as_ref()),
            Dimension::Guests => {
                number(out, u32::from(context.guest_count.is_some()));
                number(out, context.guest_count.unwrap_or(0));
            }
            // Part of the cache type, not of the query.
            Dimension::Prompt => {}
        }
    }
}

fn budget_number(budget: BudgetRange) -> u32 {
    match budget {
        BudgetRange::Budget => 1,
        BudgetRange::Moderate => 2,
        BudgetRange::Premium => 3,
        BudgetRange::Luxury => 4,
    }
}

fn number(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn length(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u64).to_le_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn optional<S: AsRef<str>>(out: &mut Vec<u8>, given: Option<&S>) {
    number(out, u32::from(given.is_some()));
    text(out, given.map_or("", AsRef::as_ref));
}

fn texts<S: AsRef<str>>(out: &mut Vec<u8>, all: &[S]) {
    length(out, all.len());
    for one in all {
        text(out, one.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::catalog::sample;
    use super::*;

    fn given<T: Clone + std::fmt::Debug + 'static>(
        values: &[T],
    ) -> impl Strategy<Value = Option<T>> + use<T> {
        prop::option::of(prop::sample::select(values.to_vec()))
    }

    proptest! {
        /// Few different values, so that wordings repeat or differ in one part alone.
        #[test]
        fn it_says_what_the_key_says(queries in prop::collection::vec(
            (
                prop::sample::select(vec!["vendor_matching", "guest_management", "tarot"]),
                prop::sample::select(vec!["Who?", " who?", "What?", "é"]),
                prop::sample::select(vec![("Austin", "TX"), ("Waco", "TX"), ("Aus", "tinTX")]),
                given(&["2027-06-12", "2027-07-12", "2027-01-12"]),
                given(&["budget", "luxury"]),
                given(&["rustic", ""]),
                prop::collection::vec(prop::sample::select(vec!["v-1", "v-2", "v-1v-2"]), 0..3),
                given(&["w-1", "w-2"]),
            ),
            1..60,
        )) {
            let mut catalog = sample::catalog();
            let mut memo = KeyMemo::default();
            for (name, content, (city, state), date, budget, style, vendors, wedding) in queries {
                // Another catalogue comes into force now and then.
                if content == "What?" && date.is_none() {
                    let mut tables = sample::tables();
                    tables.guest_bands = vec![catalog.guest_bands[0] % 2 + 1];
                    catalog = Catalog::new(sample::types(), tables);
                }
                let query: AiQuery = serde_json::from_value(json!({
                    "queryId": "q",
                    "query": {"type": name, "content": content, "vendorIds": vendors,
                              "vendorTypes": vendors},
                    "weddingContext": {
                        "location": {"city": city, "state": state}, "weddingDate": date,
                        "budgetRange": budget, "weddingStyle": style, "weddingId": wedding,
                    },
                })).unwrap();
                prop_assert_eq!(memo.keyed(&catalog, &query), Keyed::of(&catalog, &query));
            }
        }
    }
}
