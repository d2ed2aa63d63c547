//! Remembers the keys of questions by their wording, since most are asked repeatedly: comparing
//! some two hundred bytes is cheaper than normalising, encoding and hashing them. Remembers places as
//! well: a question that comes in new words comes from a known place.
//!
//! A memo belongs to one poll thread. It returns exactly the results of [`Keyed::of`]; those of a
//! catalogue that was replaced are recognised by their type.

use std::hash::BuildHasher as _;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::catalog::{CacheType, Catalog, Dimension};
use super::event::{AiQuery, BudgetRange};
use super::key::CacheKey;
use super::prepared::{Keyed, UnknownCacheType};
use super::time::Date;

/// The most wordings that are remembered; one takes about half a kilobyte.
const SLOTS: usize = 8192;
/// The most places that are remembered, each once for every cache type.
const PLACES: usize = 1024;

/// The longest wording that is remembered, in bytes, and the longest location.
const LONGEST_WORDING: usize = 4096;
const LONGEST_LOCATION: usize = 256;

/// Two direct-mapped tables: a wording or place replaces the previous one in its slot.
#[derive(Debug)]
pub struct KeyMemo {
    slots: Vec<Option<Slot>>,
    /// The hash of the last wording of each slot that was not remembered. A wording is remembered
    /// when it comes again: one that never does costs no copy, and drives out none that does.
    seen: Vec<u64>,
    places: Vec<Option<PlaceSlot>>,
    hasher: RandomState,
    /// The wording of the current query; kept to reuse its buffer.
    wording: Vec<u8>,
    /// The text of the current query's key; kept to reuse its buffer.
    key: String,
}

#[derive(Debug)]
struct Slot {
    wording: Box<[u8]>,
    keyed: Keyed,
}

/// A location as it was written, and its place.
#[derive(Debug)]
struct PlaceSlot {
    cache_type: Arc<CacheType>,
    location: Box<[u8]>,
    place: Arc<str>,
}

impl Default for KeyMemo {
    fn default() -> Self {
        let (mut slots, mut places) = (Vec::new(), Vec::new());
        slots.resize_with(SLOTS, || None);
        places.resize_with(PLACES, || None);
        Self {
            slots,
            seen: vec![0; SLOTS],
            places,
            ..Self::none()
        }
    }
}

impl KeyMemo {
    /// Creates a memo that remembers nothing, for a single query.
    pub fn none() -> Self {
        Self {
            slots: Vec::new(),
            seen: Vec::new(),
            places: Vec::new(),
            hasher: RandomState::default(),
            wording: Vec::new(),
            key: String::new(),
        }
    }

    /// Returns the result of [`Keyed::of`] for the query.
    pub fn keyed<S: AsRef<str>>(
        &mut self,
        catalog: &Catalog,
        query: &AiQuery<S>,
    ) -> Result<Keyed, UnknownCacheType> {
        if self.slots.is_empty() {
            return Keyed::of(catalog, query);
        }
        let cache_type = Keyed::cache_type(catalog, query)?;
        let location = write_wording(&mut self.wording, cache_type, query);
        let hash = self.hasher.hash_one(&*self.wording);
        let at = slot_of(hash, SLOTS);
        if let Some(known) = &self.slots[at]
            && *known.wording == *self.wording
            // A key of another catalogue, which was replaced since, has another type.
            && Arc::ptr_eq(&known.keyed.cache_type, cache_type)
        {
            return Ok(known.keyed.clone());
        }
        let place = self.place((catalog, cache_type), query, location);
        let keyed = Keyed {
            cache_type: Arc::clone(cache_type),
            key: CacheKey::of_in(&mut self.key, (catalog, cache_type), query, &place),
            place,
        };
        if self.seen[at] != hash {
            self.seen[at] = hash;
        } else if self.wording.len() <= LONGEST_WORDING {
            self.slots[at] = Some(Slot {
                wording: self.wording.as_slice().into(),
                keyed: keyed.clone(),
            });
        }
        Ok(keyed)
    }

    /// Returns the place of the query, whose location is written in this part of the wording.
    fn place<S: AsRef<str>>(
        &mut self,
        (catalog, cache_type): (&Catalog, &Arc<CacheType>),
        query: &AiQuery<S>,
        location: Range<usize>,
    ) -> Arc<str> {
        let location = &self.wording[location];
        let hash = self.hasher.hash_one((&cache_type.name, location));
        let slot = &mut self.places[slot_of(hash, PLACES)];
        match slot {
            Some(known)
                if *known.location == *location && Arc::ptr_eq(&known.cache_type, cache_type) =>
            {
                Arc::clone(&known.place)
            }
            _ => {
                let place: Arc<str> = catalog.places.place(&query.wedding_context.location).into();
                if location.len() <= LONGEST_LOCATION {
                    *slot = Some(PlaceSlot {
                        cache_type: Arc::clone(cache_type),
                        location: location.into(),
                        place: Arc::clone(&place),
                    });
                }
                place
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits are what is wanted"
)]
fn slot_of(hash: u64, slots: usize) -> usize {
    hash as usize % slots
}

/// Writes everything that determines a key of this type, unambiguously: each text follows its
/// length. Returns the part in which the location is written.
fn write_wording<S: AsRef<str>>(
    out: &mut Vec<u8>,
    of: &CacheType,
    query: &AiQuery<S>,
) -> Range<usize> {
    out.clear();
    let context = &query.wedding_context;
    let month = context.wedding_date.map_or(0, Date::month);
    number(out, month);
    number(out, context.budget_range.map_or(0, budget_number));
    text(out, &of.name);
    let (place, start) = (&context.location, out.len());
    for part in [&place.city, &place.state, &place.country] {
        text(out, part.as_ref());
    }
    let location = start..out.len();
    text(out, query.query.content.as_ref());
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
    location
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

    fn asking(content: &str) -> AiQuery {
        serde_json::from_value(json!({
            "queryId": "q", "query": {"type": "vendor_matching", "content": content},
            "weddingContext": {"location": {"city": "Austin", "state": "TX"}},
        }))
        .unwrap()
    }

    #[test]
    fn a_wording_is_remembered_when_it_comes_again_and_stays_among_many_that_do_not() {
        let (catalog, mut memo) = (sample::catalog(), KeyMemo::default());
        let held = |memo: &KeyMemo| memo.slots.iter().flatten().count();
        for (times, want) in [(1, 0), (2, 1), (3, 1)] {
            memo.keyed(&catalog, &asking("Who?")).unwrap();
            assert_eq!(held(&memo), want, "asked {times} times");
        }
        for number in 0..4 * SLOTS {
            memo.keyed(&catalog, &asking(&format!("Who {number}?")))
                .unwrap();
        }
        assert_eq!(held(&memo), 1);
        let long = asking(&"a".repeat(LONGEST_WORDING));
        for _ in 0..3 {
            assert_eq!(memo.keyed(&catalog, &long), Keyed::of(&catalog, &long));
        }
        assert_eq!(held(&memo), 1);
        assert_eq!(memo.places.iter().flatten().count(), 1);
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
                    if catalog.guest_bands[0] == 1 {
                        tables.markets.clear();
                    }
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
