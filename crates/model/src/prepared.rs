//! A query prepared for look-up: its place and key, the tags that its answer will depend on, and
//! whether the answer may be stored.

use std::borrow::Cow;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::catalog::{CacheType, Catalog, Sharing};
use super::event::AiQuery;
use super::id::Mentions;
use super::key::{ANY, CacheKey};
use super::key_memo::KeyMemo;
use super::tag::Tag;
use super::text::normalise;

/// The most distinct vendors that an answer, or a question's text, may name for the answer to be
/// stored.
pub const MAX_ANSWER_VENDORS: usize = 256;
/// The most vendors and vendor types that a query may name for its answer to be stored: an entry
/// with more tags costs more than it saves.
pub const MAX_QUERY_VENDORS: usize = 256;

/// The identity of a question, whoever asks it: its type, place and key. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Keyed {
    pub cache_type: Arc<CacheType>,
    /// The place, not yet percent-encoded.
    pub place: Arc<str>,
    pub key: CacheKey,
}

/// A prepared query.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    pub cache_type: Arc<CacheType>,
    /// The place, not yet percent-encoded.
    pub place: Arc<str>,
    pub key: CacheKey,
    /// False for a private question without a wedding, whose answer belongs to nobody that a later
    /// query could name, and for a query that names more than [`MAX_QUERY_VENDORS`].
    pub storable: bool,
    /// The tags that the asker's own changes invalidate: `T|wedding=…`, `T|user=…`.
    pub asker: ArrayVec<Tag, 2>,
}

/// The error for a query whose type is not in the topology.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no cache type `{name}`")]
pub struct UnknownCacheType {
    pub name: String,
}

/// The tags that an answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryTags {
    /// The tags, sorted, each once.
    pub tags: Vec<Tag>,
    /// False if the question's text or the answer names more than [`MAX_ANSWER_VENDORS`] vendors.
    /// `tags` then lack some of them, so the answer must be neither stored nor given to a waiter: a
    /// change of a missing vendor would not invalidate it.
    pub complete: bool,
}

impl Keyed {
    pub fn of<S: AsRef<str>>(
        catalog: &Catalog,
        query: &AiQuery<S>,
    ) -> Result<Self, UnknownCacheType> {
        let cache_type = Self::cache_type(catalog, query)?;
        let place = catalog.places.place(&query.wedding_context.location);
        Ok(Self {
            cache_type: Arc::clone(cache_type),
            key: CacheKey::of(catalog, cache_type, query, &place),
            place: place.into(),
        })
    }

    pub(super) fn cache_type<'a, S: AsRef<str>>(
        catalog: &'a Catalog,
        query: &AiQuery<S>,
    ) -> Result<&'a Arc<CacheType>, UnknownCacheType> {
        let name = query.query.cache_type.as_ref();
        catalog.get(name).ok_or_else(|| UnknownCacheType {
            name: name.to_owned(),
        })
    }
}

impl Prepared {
    pub fn of<S: AsRef<str>>(
        catalog: &Catalog,
        query: &AiQuery<S>,
    ) -> Result<Self, UnknownCacheType> {
        Ok(Self::by(catalog, Keyed::of(catalog, query)?, query))
    }

    /// Prepares a query with the key that the memo remembers for the question.
    pub fn remembered<S: AsRef<str>>(
        memo: &mut KeyMemo,
        catalog: &Catalog,
        query: &AiQuery<S>,
    ) -> Result<Self, UnknownCacheType> {
        Ok(Self::by(catalog, memo.keyed(catalog, query)?, query))
    }

    fn by<S: AsRef<str>>(catalog: &Catalog, keyed: Keyed, query: &AiQuery<S>) -> Self {
        let name = &*keyed.cache_type.name;
        let wedding = wedding_id(catalog, query).map(|id| Tag::wedding(name, &id));
        let user = canonical(catalog, query.query.user_id.as_ref()).map(|id| Tag::user(name, &id));
        let has_owner = keyed.cache_type.sharing == Sharing::Shared || wedding.is_some();
        let named = query.query.vendor_ids.len() + query.query.vendor_types.len();
        Self {
            storable: has_owner && named <= MAX_QUERY_VENDORS,
            asker: wedding.into_iter().chain(user).collect(),
            cache_type: keyed.cache_type,
            place: keyed.place,
            key: keyed.key,
        }
    }

    /// Returns the tags that an entry with this answer depends on: the type, the place, the vendor
    /// types it concerns, every vendor that the query or the answer names, and for a private type
    /// the wedding.
    pub fn entry_tags<S: AsRef<str>>(
        &self,
        catalog: &Catalog,
        query: &AiQuery<S>,
        answer: &str,
    ) -> EntryTags {
        let asked = vendors_in(catalog, query.query.content.as_ref());
        let answered = vendors_in(catalog, answer);
        EntryTags {
            complete: asked.complete && answered.complete,
            tags: self.tags(catalog, query, asked.ids.iter().chain(&answered.ids)),
        }
    }

    /// Returns the tags that are known before there is an answer: the entry's tags, then the
    /// asker's, each once.
    pub fn known_tags<S: AsRef<str>>(&self, catalog: &Catalog, query: &AiQuery<S>) -> Vec<Tag> {
        let asked = vendors_in(catalog, query.query.content.as_ref());
        let mut tags = self.tags(catalog, query, &asked.ids);
        for tag in &self.asker {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        tags
    }

    /// Returns the vendor types that the question concerns, normalised and sorted: those it names
    /// and those of its cache type.
    pub fn vendor_types<S: AsRef<str>>(&self, query: &AiQuery<S>) -> Vec<String> {
        let named = query.query.vendor_types.iter().map(AsRef::as_ref);
        let own = self.cache_type.vendor_types.iter().map(String::as_str);
        let mut types: Vec<_> = named
            .chain(own)
            .map(normalise)
            .filter(|name| !name.is_empty())
            .collect();
        types.sort_unstable();
        types.dedup();
        types
    }

    fn tags<'a, S: AsRef<str>>(
        &self,
        catalog: &Catalog,
        query: &AiQuery<S>,
        found: impl IntoIterator<Item = &'a String>,
    ) -> Vec<Tag> {
        let name = &*self.cache_type.name;
        let mut tags = vec![Tag::global(name), Tag::location(name, &self.place)];
        let given = query.query.vendor_ids.iter();
        let given = given.filter_map(|id| catalog.ids.canonical(id.as_ref()));
        tags.extend(given.map(|id| Tag::vendor(name, &id)));
        tags.extend(found.into_iter().map(|id| Tag::vendor(name, id)));
        let vendor_types = self.vendor_types(query);
        if vendor_types.is_empty() {
            tags.push(Tag::vendor_type(name, ANY, &self.place));
        }
        tags.extend(
            vendor_types
                .iter()
                .map(|of| Tag::vendor_type(name, of, &self.place)),
        );
        if self.cache_type.sharing == Sharing::Private {
            tags.extend(wedding_id(catalog, query).map(|id| Tag::wedding(name, &id)));
        }
        tags.sort_unstable();
        tags.dedup();
        tags
    }
}

/// Returns the wedding that asks, if the query gives one; white space only counts as none.
fn wedding_id<'a, S: AsRef<str>>(catalog: &Catalog, query: &'a AiQuery<S>) -> Option<Cow<'a, str>> {
    canonical(catalog, query.wedding_context.wedding_id.as_ref())
}

fn canonical<'a, S: AsRef<str>>(catalog: &Catalog, id: Option<&'a S>) -> Option<Cow<'a, str>> {
    catalog.ids.canonical(id?.as_ref())
}

fn vendors_in(catalog: &Catalog, text: &str) -> Mentions {
    catalog.ids.vendors_in(text, MAX_ANSWER_VENDORS)
}

#[cfg(test)]
mod tests {
    use super::super::catalog::sample;
    use super::*;

    fn query(cache_type: &str, question: &str, wedding: &str) -> AiQuery {
        serde_json::from_str(&format!(
            r#"{{"queryId": "q", "query": {{"type": "{cache_type}", "content": "x" {question}}},
                "weddingContext": {{"location": {{"city": "Austin", "state": "TX"}} {wedding}}}}}"#
        ))
        .unwrap()
    }

    const WEDDING: &str = r#", "weddingId": "w-9""#;

    #[track_caller]
    fn check(query: &AiQuery, answer: &str, want: &[&str]) {
        let catalog = sample::catalog();
        let prepared = Prepared::of(&catalog, query).unwrap();
        let tags = prepared.entry_tags(&catalog, query, answer);
        let name = &query.query.cache_type;
        let found: Vec<_> = tags
            .tags
            .iter()
            .map(|tag| tag.as_str().strip_prefix(&format!("{name}|")).unwrap())
            .collect();
        assert_eq!(found, want);
        assert!(tags.complete);
    }

    #[test]
    fn an_entry_depends_on_what_is_asked_and_on_what_is_answered() {
        check(
            &query("vendor_matching", "", WEDDING),
            "",
            &[
                "global",
                "location=Austin_TX",
                "vendor_type=any|location=Austin_TX",
            ],
        );
        check(
            &query(
                "vendor_matching",
                r#", "vendorTypes": [" Florist", "caterer", "florist"],
                   "vendorIds": ["v-9", "", "x|1"], "userId": "u-5""#,
                WEDDING,
            ),
            "Ask v-17, then v-9; v-17 is dearer.",
            &[
                "global",
                "location=Austin_TX",
                "vendor=v-17",
                "vendor=v-9",
                "vendor=x%7C1",
                "vendor_type=caterer|location=Austin_TX",
                "vendor_type=florist|location=Austin_TX",
            ],
        );
        check(
            &query("venue_recommendations", "", ""),
            "",
            &[
                "global",
                "location=Austin_TX",
                "vendor_type=venue|location=Austin_TX",
            ],
        );
        check(
            &query("guest_management", "", WEDDING),
            "",
            &[
                "global",
                "location=Austin_TX",
                "vendor_type=any|location=Austin_TX",
                "wedding=w-9",
            ],
        );
    }

    #[track_caller]
    fn check_asker(query: &AiQuery, storable: bool, want: &[&str]) {
        let catalog = sample::catalog();
        let prepared = Prepared::of(&catalog, query).unwrap();
        let asker: Vec<_> = prepared.asker.iter().map(Tag::as_str).collect();
        assert_eq!((asker.as_slice(), prepared.storable), (want, storable));
        let known = prepared.known_tags(&catalog, query);
        assert!(prepared.asker.iter().all(|tag| known.contains(tag)));
        let unique: std::collections::BTreeSet<_> = known.iter().collect();
        assert_eq!(unique.len(), known.len(), "each once");
    }

    #[test]
    fn a_private_question_without_a_wedding_is_not_storable() {
        let user = r#", "userId": "u-5""#;
        check_asker(&query("vendor_matching", "", ""), true, &[]);
        check_asker(
            &query("vendor_matching", user, WEDDING),
            true,
            &["vendor_matching|wedding=w-9", "vendor_matching|user=u-5"],
        );
        check_asker(
            &query("guest_management", "", WEDDING),
            true,
            &["guest_management|wedding=w-9"],
        );
        for none in ["", r#", "weddingId": null"#, r#", "weddingId": " ""#] {
            check_asker(
                &query("guest_management", user, none),
                false,
                &["guest_management|user=u-5"],
            );
        }
    }

    #[test]
    fn a_query_that_names_too_many_vendors_is_not_storable() {
        let ids = |count: usize| vec![r#""v""#; count].join(",");
        for (count, storable) in [(MAX_QUERY_VENDORS, true), (MAX_QUERY_VENDORS + 1, false)] {
            let question = format!(r#", "vendorIds": [{}]"#, ids(count));
            check_asker(&query("vendor_matching", &question, ""), storable, &[]);
        }
    }

    #[test]
    fn a_shared_entry_keeps_no_trace_of_its_asker() {
        let catalog = sample::catalog();
        let query = query("vendor_matching", r#", "userId": "u-5""#, WEDDING);
        let prepared = Prepared::of(&catalog, &query).unwrap();
        let entry = prepared.entry_tags(&catalog, &query, "v-1").tags;
        assert!(!entry.iter().any(|tag| prepared.asker.contains(tag)));
        let known = prepared.known_tags(&catalog, &query);
        assert_eq!(
            known[known.len() - 2..],
            prepared.asker[..],
            "entry's first"
        );
    }

    #[test]
    fn an_answer_with_too_many_vendors_is_known_to_be_incomplete() {
        let catalog = sample::catalog();
        let query = query("vendor_matching", "", "");
        let prepared = Prepared::of(&catalog, &query).unwrap();
        let answer = |vendors: usize| {
            let ids: Vec<_> = (0..vendors).map(|id| format!("v-{id}")).collect();
            let answer = format!("{0} {0}", ids.join(" "));
            prepared.entry_tags(&catalog, &query, &answer)
        };
        assert!(answer(MAX_ANSWER_VENDORS).complete);
        assert_eq!(
            answer(MAX_ANSWER_VENDORS).tags.len(),
            MAX_ANSWER_VENDORS + 3
        );
        assert!(!answer(MAX_ANSWER_VENDORS + 1).complete);
    }

    #[test]
    fn an_unknown_type_is_named() {
        let error = Prepared::of(&sample::catalog(), &query("tarot", "", "")).unwrap_err();
        assert_eq!(error.name, "tarot");
    }
}
