//! The catalogue of cacheable questions: the cache types and the tables from which their keys, tags
//! and TTLs are derived. The topology builds it; it never changes while the program runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::id::Ids;
use super::place::{Market, Places};
use super::time::{Date, Timestamp};

/// The rule by which couples share answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Couples with the same key share answers: the prompt is built from the key's dimensions and
    /// the question alone.
    Shared,
    /// The wedding id is part of the key; without one an answer is never stored.
    Private,
}

/// The dimensions that a key can have beyond type, place, season, budget and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    Vendors,
    VendorTypes,
    Style,
    Guests,
    Wedding,
    Prompt,
}

impl Dimension {
    pub const ALL: [Self; 6] = [
        Self::Vendors,
        Self::VendorTypes,
        Self::Style,
        Self::Guests,
        Self::Wedding,
        Self::Prompt,
    ];

    /// Returns the name in keys, as in `:guests=101-150`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vendors => "vendors",
            Self::VendorTypes => "vendor_types",
            Self::Style => "style",
            Self::Guests => "guests",
            Self::Wedding => "wedding",
            Self::Prompt => "prompt",
        }
    }
}

/// One kind of question and the rules for keeping its answers.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheType {
    pub name: Arc<str>,
    pub sharing: Sharing,
    /// The dimensions in the order of the key. [`Catalog::new`] adds [`Dimension::Prompt`] if it is
    /// missing.
    pub dimensions: Vec<Dimension>,
    pub ttl: Duration,
    /// Time after a refresh for which the old entry may still be served, labelled stale.
    pub stale_window: Duration,
    /// Time past its TTL for which an entry may be served, labelled so, while the provider is away.
    pub stale_if_error: Duration,
    /// Vendor types that every question of this type concerns, named or not.
    pub vendor_types: Vec<String>,
    /// The version of the prompt; changing it changes every key of this type.
    pub prompt_version: u32,
    /// The text that the model is given before the question.
    pub instructions: Arc<str>,
    /// The name of the model that answers.
    pub model: Arc<str>,
    /// The value of [`Dimension::Prompt`], computed by [`Catalog::new`]: the version and a digest
    /// of everything that determines this type's prompts and tags.
    pub prompt: Arc<str>,
}

/// A step for near weddings: within `days`, the TTL is multiplied by `factor`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearness {
    pub days: u32,
    pub factor: f64,
}

/// The season of a calendar month.
#[derive(Debug, Clone, PartialEq)]
pub struct Season {
    pub name: Arc<str>,
    /// The factor for TTLs of weddings in this season.
    pub ttl_factor: f64,
}

#[derive(Debug, Clone)]
pub struct Catalog {
    types: Vec<Arc<CacheType>>,
    by_name: HashMap<Arc<str>, usize>,
    pub places: Places,
    /// The season of each month, January first.
    pub seasons: [Arc<Season>; 12],
    /// Upper bounds of the guest bands, ascending; the band above the last is open.
    pub guest_bands: Vec<u32>,
    pub vendor_ttls: BTreeMap<String, Duration>,
    /// The steps for near weddings, the nearest first.
    pub nearness: Vec<Nearness>,
    /// The largest share of a TTL that is taken off at random, 0 to below 1, so that entries filled
    /// together do not all expire together.
    pub ttl_jitter: f64,
    /// The rules for comparing ids and finding them in texts.
    pub ids: Ids,
    /// A digest of the tables by which all types' tags are made.
    tag_tables: blake3::Hash,
}

/// The tables of a [`Catalog`]: everything in it but its types.
#[derive(Debug, Clone)]
pub struct CatalogTables {
    pub markets: Vec<Market>,
    pub seasons: [Arc<Season>; 12],
    pub guest_bands: Vec<u32>,
    pub vendor_ttls: BTreeMap<String, Duration>,
    pub nearness: Vec<Nearness>,
    pub ttl_jitter: f64,
    pub ids: Ids,
}

/// The version of the rules by which this code makes tags; part of every key, so that an entry made
/// under other rules is never found. It must be raised whenever [`super::id`], [`super::place`] or
/// [`super::prepared`] starts to tag a query or an answer differently.
const TAG_FORM: u32 = 2;

impl Catalog {
    /// Creates a catalogue. Type names are unique: of two types with one name the later is found.
    pub fn new(types: Vec<CacheType>, tables: CatalogTables) -> Self {
        let types: Vec<_> = types
            .into_iter()
            .map(|of| Arc::new(with_prompt(of, &tables)))
            .collect();
        let tag_tables = digest(|list| list_tag_tables(&tables, list));
        let by_name = types
            .iter()
            .enumerate()
            .map(|(at, of)| (Arc::clone(&of.name), at))
            .collect();
        Self {
            types,
            by_name,
            places: Places::new(&tables.markets),
            seasons: tables.seasons,
            guest_bands: tables.guest_bands,
            vendor_ttls: tables.vendor_ttls,
            nearness: tables.nearness,
            ttl_jitter: tables.ttl_jitter,
            ids: tables.ids,
            tag_tables,
        }
    }

    /// Returns the types of `new` whose entries or changes may be tagged otherwise than by this
    /// catalogue, new types among them.
    pub fn tagged_otherwise<'a>(
        &'a self,
        new: &'a Self,
    ) -> impl Iterator<Item = &'a Arc<CacheType>> {
        new.types().iter().filter(|of| {
            let alike = self.get(&of.name).is_some_and(|old| {
                old.sharing == of.sharing && old.vendor_types == of.vendor_types
            });
            !alike || self.tag_tables != new.tag_tables
        })
    }

    pub fn types(&self) -> &[Arc<CacheType>] {
        &self.types
    }

    pub fn get(&self, name: &str) -> Option<&Arc<CacheType>> {
        self.by_name.get(name).map(|&at| &self.types[at])
    }

    pub fn season(&self, date: Date) -> &Season {
        let month = usize::try_from(date.month()).unwrap_or(1).clamp(1, 12);
        &self.seasons[month - 1]
    }

    /// Returns the band of a guest count: `1-50`, `51-100`, …, `301+`.
    pub fn guest_band(&self, guests: u32) -> String {
        let mut from = 0;
        for &to in &self.guest_bands {
            if guests <= to {
                return format!("{from}-{to}");
            }
            from = to + 1;
        }
        format!("{from}+")
    }

    /// Returns the time for which an answer stays fresh: the least of the type's and the concerned
    /// vendor types' TTLs × season factor × nearness factor of the wedding, less the jitter.
    /// `roll`, a random number in [0, 1), selects the jitter. At least one second.
    pub fn ttl(&self, of: &TtlInput<'_>, roll: f64) -> Duration {
        let least = of
            .vendor_types
            .iter()
            .filter_map(|name| self.vendor_ttls.get(*name))
            .fold(of.cache_type.ttl, |least, ttl| least.min(*ttl));
        let season = of
            .wedding_date
            .map_or(1.0, |date| self.season(date).ttl_factor);
        let nearness = of
            .wedding_date
            .map_or(1.0, |date| self.nearness_factor(date, of.now));
        let factor = season * nearness * (1.0 - self.ttl_jitter * roll);
        Duration::try_from_secs_f64(least.as_secs_f64() * factor)
            .unwrap_or(least)
            .max(Duration::from_secs(1))
    }

    /// Returns the factor for a wedding's nearness; 1 for weddings that are over.
    pub fn nearness_factor(&self, date: Date, now: Timestamp) -> f64 {
        let days = date.days_since(now.date());
        if days < 0 {
            return 1.0;
        }
        self.nearness
            .iter()
            .find(|step| days <= i64::from(step.days))
            .map_or(1.0, |step| step.factor)
    }

    /// Returns the longest time that any entry may be served after its fill, which is the retention
    /// that the invalidation log needs.
    pub fn longest_life(&self) -> Duration {
        let season = self
            .seasons
            .iter()
            .map(|s| s.ttl_factor)
            .fold(1.0, f64::max);
        let nearness = self.nearness.iter().map(|n| n.factor).fold(1.0, f64::max);
        self.types
            .iter()
            .map(|of| of.ttl.mul_f64(season * nearness) + of.stale_window + of.stale_if_error)
            .max()
            .unwrap_or_default()
    }
}

fn with_prompt(mut of: CacheType, tables: &CatalogTables) -> CacheType {
    if !of.dimensions.contains(&Dimension::Prompt) {
        of.dimensions.push(Dimension::Prompt);
    }
    of.prompt = format!("{}.{}", of.prompt_version, prompt_digest(&of, tables)).into();
    of
}

/// Returns eight hexadecimal digits of BLAKE3 over everything that determines a type's prompts and
/// tags.
fn prompt_digest(of: &CacheType, tables: &CatalogTables) -> String {
    let digest = digest(|list| {
        let form = TAG_FORM.to_string();
        let ids = [tables.ids.case().as_str(), tables.ids.vendor_pattern()];
        list(&[&form, &of.instructions, &of.model, ids[0], ids[1]]);
        let dimensions: Vec<_> = of.dimensions.iter().map(|of| of.as_str()).collect();
        list(&dimensions);
        let vendor_types: Vec<_> = of.vendor_types.iter().map(String::as_str).collect();
        list(&vendor_types);
        list_markets(tables, list);
    });
    digest.to_hex()[..8].to_owned()
}

fn list_tag_tables(tables: &CatalogTables, list: &mut dyn FnMut(&[&str])) {
    list(&[tables.ids.case().as_str(), tables.ids.vendor_pattern()]);
    list_markets(tables, list);
}

fn list_markets(tables: &CatalogTables, list: &mut dyn FnMut(&[&str])) {
    for market in &tables.markets {
        list(&[&market.city, &market.state]);
        let aliases: Vec<_> = market.aliases.iter().map(String::as_str).collect();
        list(&aliases);
    }
}

/// Returns a hash of lists of texts. Each text follows its length, each list its count, so that two
/// different contents never hash the same bytes.
fn digest(lists: impl FnOnce(&mut dyn FnMut(&[&str]))) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    lists(&mut |texts| {
        hasher.update(&(texts.len() as u64).to_le_bytes());
        for text in texts {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    });
    hasher.finalize()
}

/// The inputs of a TTL.
#[derive(Debug, Clone, Copy)]
pub struct TtlInput<'a> {
    pub cache_type: &'a CacheType,
    /// The vendor types that the question concerns.
    pub vendor_types: &'a [&'a str],
    pub wedding_date: Option<Date>,
    pub now: Timestamp,
}

/// The catalogue that tests share: three of the brief's types on the brief's tables.
#[cfg(any(test, feature = "testing"))]
pub mod sample {
    use std::sync::LazyLock;

    use super::super::id::IdCase;
    use super::{
        Arc, CacheType, Catalog, CatalogTables, Dimension, Duration, Ids, Market, Nearness, Season,
        Sharing,
    };

    pub fn cache_type(name: &str, sharing: Sharing, dimensions: &[Dimension]) -> CacheType {
        CacheType {
            name: name.into(),
            sharing,
            dimensions: dimensions.to_vec(),
            ttl: Duration::from_hours(24),
            stale_window: Duration::from_hours(1),
            stale_if_error: Duration::from_hours(6),
            vendor_types: Vec::new(),
            prompt_version: 1,
            instructions: "Answer as a wedding planner.".into(),
            model: "sim-1".into(),
            prompt: "".into(),
        }
    }

    pub fn catalog() -> Catalog {
        Catalog::new(types(), tables())
    }

    pub fn types() -> Vec<CacheType> {
        use Dimension::{Guests, Prompt, Style, VendorTypes, Vendors, Wedding};
        let mut venues = cache_type(
            "venue_recommendations",
            Sharing::Shared,
            &[Vendors, VendorTypes, Style, Guests, Prompt],
        );
        venues.vendor_types = vec!["venue".into()];
        let matching = cache_type(
            "vendor_matching",
            Sharing::Shared,
            &[Vendors, VendorTypes, Style, Prompt],
        );
        let guests = cache_type(
            "guest_management",
            Sharing::Private,
            &[Vendors, Wedding, Prompt],
        );
        vec![venues, matching, guests]
    }

    pub fn tables() -> CatalogTables {
        let season = |name: &str, ttl_factor| {
            Arc::new(Season {
                name: name.into(),
                ttl_factor,
            })
        };
        let seasons = std::array::from_fn(|month| match month + 1 {
            3..=5 => season("spring", 1.0),
            6..=8 => season("summer", 0.5),
            9..=11 => season("fall", 1.0),
            _ => season("winter", 1.0),
        });
        let markets =
            [("New York", "NY", "NYC"), ("Austin", "TX", "ATX")].map(|(city, state, alias)| {
                Market {
                    city: city.into(),
                    state: state.into(),
                    aliases: vec![alias.into()],
                }
            });
        CatalogTables {
            markets: markets.to_vec(),
            seasons,
            guest_bands: vec![50, 100, 150, 200, 300],
            vendor_ttls: [
                ("venue", 24),
                ("photographer", 12),
                ("caterer", 6),
                ("florist", 4),
            ]
            .map(|(name, hours)| (name.to_owned(), Duration::from_hours(hours)))
            .into(),
            nearness: vec![
                Nearness {
                    days: 14,
                    factor: 0.25,
                },
                Nearness {
                    days: 60,
                    factor: 0.5,
                },
            ],
            ttl_jitter: 0.1,
            ids: IDS.clone(),
        }
    }

    /// Shared, because building a regular expression takes longer than everything else.
    static IDS: LazyLock<Ids> =
        LazyLock::new(|| Ids::new(IdCase::Insensitive, r"\bv-[A-Za-z0-9_]+").expect("a pattern"));
}

#[cfg(test)]
mod tests {
    use super::super::id::IdCase;
    use super::*;

    #[test]
    fn the_least_ttl_counts_times_season_and_nearness() {
        let catalog = sample::catalog();
        let cache_type = catalog.get("vendor_matching").unwrap();
        let now = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        let ttl = |vendor_types: &[&str], date: Option<&str>, roll| {
            let wedding_date = date.map(|date| Date::parse(date).unwrap());
            catalog.ttl(
                &TtlInput {
                    cache_type,
                    vendor_types,
                    wedding_date,
                    now,
                },
                roll,
            )
        };
        assert_eq!(ttl(&[], None, 0.0), Duration::from_hours(24));
        assert_eq!(
            ttl(&["florist", "venue"], None, 0.0),
            Duration::from_hours(4)
        );
        assert_eq!(ttl(&[], Some("2027-06-12"), 0.0), Duration::from_hours(12));
        assert_eq!(ttl(&[], Some("2026-12-01"), 0.0), Duration::from_hours(6));
        assert_eq!(ttl(&[], Some("2020-10-01"), 0.0), Duration::from_hours(24));
        assert_eq!(ttl(&[], None, 0.5), Duration::from_mins(24 * 57));
    }

    /// A deliberate change of the digest changes this value: entries made before the change are no
    /// longer found.
    #[test]
    fn the_prompt_dimension_is_the_version_and_a_digest() {
        let catalog = sample::catalog();
        let prompt = &catalog.get("vendor_matching").unwrap().prompt;
        assert_eq!(&**prompt, "1.4e8cd980");
    }

    #[test]
    fn whatever_makes_prompts_or_tags_makes_the_digest() {
        type Change = fn(&mut Vec<CacheType>, &mut CatalogTables);
        let changes: [Change; 9] = [
            |_, _| {},
            |types, _| types[0].instructions = "Answer briefly.".into(),
            |types, _| types[0].model = "sim-2".into(),
            |types, _| types[0].dimensions = vec![Dimension::Vendors],
            |types, _| types[0].vendor_types = vec!["barn".into()],
            |_, tables| tables.ids = Ids::new(IdCase::Sensitive, r"\bv-[A-Za-z0-9_]+").unwrap(),
            |_, tables| tables.ids = Ids::new(IdCase::Insensitive, r"\bv-\d+").unwrap(),
            |_, tables| tables.markets[0].aliases.clear(),
            |_, tables| tables.markets.truncate(1),
        ];
        let digests: Vec<_> = changes
            .iter()
            .map(|change| {
                let (mut types, mut tables) = (sample::types(), sample::tables());
                change(&mut types, &mut tables);
                let catalog = Catalog::new(types, tables);
                Arc::clone(&catalog.types()[0].prompt)
            })
            .collect();
        let unique: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(unique.len(), digests.len(), "{digests:?}");
        assert_eq!(digests[0], sample::catalog().types()[0].prompt);
    }

    #[test]
    fn a_type_without_the_prompt_dimension_gets_it() {
        let mut types = sample::types();
        types[0].dimensions = vec![Dimension::Vendors];
        let catalog = Catalog::new(types, sample::tables());
        assert_eq!(
            catalog.types()[0].dimensions,
            [Dimension::Vendors, Dimension::Prompt]
        );
    }

    #[test]
    fn guest_bands_close_at_their_upper_bound() {
        let catalog = sample::catalog();
        for (guests, want) in [(0, "0-50"), (50, "0-50"), (51, "51-100"), (301, "301+")] {
            assert_eq!(catalog.guest_band(guests), want);
        }
    }
}
