//! Cache types and the tables from which keys, tags and TTLs are derived.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use wedcache_model::catalog::{CatalogTables, Nearness, Season};
use wedcache_model::id::{self, IdCase, Ids};
use wedcache_model::place::{self, Market};
use wedcache_model::text::normalise;
use wedcache_model::{CacheType, Catalog, Dimension, Sharing};

use super::Build;
use crate::topology::problem::{Problem, Span};
use crate::topology::settings::{Generation, Provider, Vendor};
use crate::topology::shape::{
    CacheTypeShape, DimensionShape, IdCaseShape, MarketShape, NearnessShape, SeasonShape,
    SharingShape, VendorShape,
};
use crate::topology::units::{At, Connection, Named};

/// The sections that become tables.
pub(super) struct TableShapes {
    pub(super) markets: Vec<MarketShape>,
    pub(super) seasons: Option<At<Vec<SeasonShape>>>,
    pub(super) guest_bands: Option<At<Vec<u32>>>,
    pub(super) nearness: Vec<NearnessShape>,
    pub(super) ttl_jitter: Option<At<f64>>,
    pub(super) vendor_id_pattern: Option<At<String>>,
    pub(super) id_case: IdCaseShape,
}

const DEFAULT_JITTER: f64 = 0.1;
const DEFAULT_VENDOR_IDS: &str = r"\bv-[A-Za-z0-9_]+";

impl Build<'_> {
    pub(super) fn cache_types(
        &mut self,
        shape: Named<CacheTypeShape>,
        providers: &BTreeMap<Arc<str>, Provider>,
    ) -> (Vec<CacheType>, BTreeMap<Arc<str>, Generation>) {
        let mut types = Vec::new();
        let mut generation = BTreeMap::new();
        for (name, shape) in shape.0 {
            self.check_type_name(&name);
            let provider = self.provider_of(&shape.provider);
            for vendor in &shape.vendor_types {
                self.refer(vendor, "vendors", "vendor type");
            }
            if shape.prompt.instructions.trim().is_empty() {
                self.report(
                    Problem::new(shape.prompt.instructions.span, "no instructions")
                        .expected("expected what the model is told before the question"),
                );
            }
            self.count(&shape.max_tokens, "the most tokens");
            let settings = Generation {
                provider: provider.into(),
                max_tokens: shape.max_tokens.value,
            };
            let model = providers.get(&settings.provider);
            let model = model.map_or("", Provider::model).into();
            let name: Arc<str> = name.value.into();
            generation.insert(Arc::clone(&name), settings);
            types.push(CacheType {
                model,
                ..self.cache_type(name, shape)
            });
        }
        // Unreadable types are still types: references to them are not wrong.
        for name in self.names("cache_types").unwrap_or_default() {
            if types.iter().all(|of| *of.name != *name) {
                types.push(stand_in(&name));
            }
        }
        (types, generation)
    }

    /// Returns the name of the provider that a field selects.
    fn provider_of(&mut self, field: &Connection) -> String {
        let resolved = self.resolve(field);
        let name = At {
            value: resolved.text,
            span: field.0.span,
        };
        if resolved.complete {
            self.refer(&name, "providers", "provider");
        }
        name.value
    }

    fn check_type_name(&mut self, name: &At<String>) {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || !name.chars().all(legal) {
            let message = format!("`{}` cannot be the name of a cache type", name.value);
            self.report(
                Problem::new(name.span, message).expected("expected small letters, digits and `_`"),
            );
        }
    }

    fn cache_type(&mut self, name: Arc<str>, shape: CacheTypeShape) -> CacheType {
        let ttl = self.positive(&shape.ttl, "a TTL");
        let sharing = match shape.sharing.value {
            SharingShape::Shared => Sharing::Shared,
            SharingShape::Private => Sharing::Private,
        };
        self.check_dimensions(&shape.dimensions, &shape.sharing);
        CacheType {
            name,
            sharing,
            dimensions: shape
                .dimensions
                .iter()
                .map(|of| dimension(of.value))
                .collect(),
            ttl,
            stale_window: shape.stale_window.0,
            stale_if_error: shape.stale_if_error.0,
            vendor_types: shape.vendor_types.into_iter().map(|of| of.value).collect(),
            prompt_version: shape.prompt.version,
            instructions: shape.prompt.instructions.value.trim().into(),
            model: "".into(),
            prompt: "".into(),
        }
    }

    fn check_dimensions(
        &mut self,
        given: &At<Vec<At<DimensionShape>>>,
        sharing: &At<SharingShape>,
    ) {
        for (at, dimension) in given.iter().enumerate() {
            if let Some(first) = given[..at]
                .iter()
                .find(|other| other.value == dimension.value)
            {
                self.report(
                    Problem::new(dimension.span, "this dimension stands twice")
                        .also(first.span, "first here"),
                );
            }
        }
        let of = |wanted| given.iter().find(|dimension| dimension.value == wanted);
        match (sharing.value, of(DimensionShape::Wedding)) {
            (SharingShape::Private, None) => self.report(
                Problem::new(given.span, "a private type needs the dimension `wedding`")
                    .expected("expected `wedding` among these")
                    .also(sharing.span, "private here")
                    .help("without it, couples would be given each other's answers"),
            ),
            (SharingShape::Shared, Some(wedding)) => self.report(
                Problem::new(
                    wedding.span,
                    "a shared type cannot have the dimension `wedding`",
                )
                .also(sharing.span, "shared here")
                .help("leave `wedding` out, or make the type `private`"),
            ),
            _ => {}
        }
        if of(DimensionShape::Vendors).is_none() {
            self.report(
                Problem::new(given.span, "the dimension `vendors` is missing")
                    .expected("expected `vendors` among these")
                    .help("\"is this one free?\" about two vendors must not share an answer"),
            );
        }
    }

    pub(super) fn vendors(&mut self, shape: Named<VendorShape>) -> BTreeMap<String, Vendor> {
        let mut vendors = BTreeMap::new();
        for (name, shape) in shape.0 {
            if *name != normalise(&name) {
                let message = format!("`{}` cannot be the name of a vendor type", name.value);
                self.report(
                    Problem::new(name.span, message)
                        .expected(format!("expected `{}`", normalise(&name))),
                );
            }
            let vendor = Vendor {
                ttl: self.positive(&shape.ttl, "a TTL"),
                preload_triggers: shape.preload_triggers,
            };
            vendors.insert(name.value, vendor);
        }
        vendors
    }

    /// Returns the catalogue, and the capacity factor of each month, January first.
    pub(super) fn catalog(
        &mut self,
        types: Vec<CacheType>,
        tables: TableShapes,
        vendors: &BTreeMap<String, Vendor>,
    ) -> (Catalog, [f64; 12]) {
        let (seasons, capacity) = self.seasons(tables.seasons);
        let tables = CatalogTables {
            markets: self.markets(tables.markets),
            seasons,
            guest_bands: self.guest_bands(tables.guest_bands),
            vendor_ttls: vendors
                .iter()
                .map(|(name, vendor)| (name.clone(), vendor.ttl))
                .collect(),
            nearness: self.nearness(&tables.nearness),
            ttl_jitter: self.jitter(tables.ttl_jitter),
            ids: self.ids(tables.vendor_id_pattern, tables.id_case),
        };
        (Catalog::new(types, tables), capacity)
    }

    fn markets(&mut self, shapes: Vec<MarketShape>) -> Vec<Market> {
        let mut seen: HashMap<(String, String), (Span, usize)> = HashMap::new();
        let mut markets = Vec::new();
        for (at, shape) in shapes.into_iter().enumerate() {
            let state = self.state(&shape.state).to_owned();
            for name in std::iter::once(&shape.city).chain(&shape.aliases) {
                let key = place::city_key(name, &state);
                if key.is_empty() {
                    let message = format!("`{}` is not the name of a city", name.value);
                    self.report(Problem::new(name.span, message));
                    continue;
                }
                let (first, of) = *seen.entry((key, state.clone())).or_insert((name.span, at));
                if first == name.span {
                    continue;
                }
                let message = format!("`{}` in {state} stands twice", name.value);
                let problem = Problem::new(name.span, message).also(first, "first here");
                self.report(if of == at {
                    problem
                        .help("spellings of one name need not be listed")
                        .warning()
                } else {
                    problem.help("two markets cannot be one place")
                });
            }
            markets.push(Market {
                city: shape.city.value,
                state: shape.state.value,
                aliases: shape.aliases.into_iter().map(|alias| alias.value).collect(),
            });
        }
        markets
    }

    /// Checks a market's state, and returns its code if it has one.
    fn state<'a>(&mut self, state: &'a At<String>) -> &'a str {
        let code = place::state_code(state);
        if code != Some(&**state) {
            let message = format!("`{}` is not the code of a state", state.value);
            let expected = code.map_or_else(
                || "expected a state of the US by its code, such as `TX`".to_owned(),
                |code| format!("expected `{code}`"),
            );
            self.report(Problem::new(state.span, message).expected(expected));
        }
        code.unwrap_or(state)
    }

    fn seasons(&mut self, shape: Option<At<Vec<SeasonShape>>>) -> ([Arc<Season>; 12], [f64; 12]) {
        let nameless = Arc::new(Season {
            name: "any".into(),
            ttl_factor: 1.0,
        });
        let mut seasons = std::array::from_fn(|_| Arc::clone(&nameless));
        let mut capacity = [1.0; 12];
        let Some(shape) = shape else {
            return (seasons, capacity);
        };
        let mut taken: [Option<Span>; 12] = [None; 12];
        for entry in &shape.value {
            let season = Arc::new(Season {
                name: entry.name.as_str().into(),
                ttl_factor: self.factor(&entry.ttl_factor, "a TTL factor"),
            });
            let factor = self.factor(&entry.capacity_factor, "a capacity factor");
            for month in &entry.months {
                let Some(at) = usize::from(month.value)
                    .checked_sub(1)
                    .filter(|at| *at < 12)
                else {
                    let message = format!("{} is not a month", month.value);
                    self.report(
                        Problem::new(month.span, message).expected("expected 1 (January) to 12"),
                    );
                    continue;
                };
                if let Some(first) = taken[at] {
                    self.report(
                        Problem::new(month.span, format!("month {} has two seasons", month.value))
                            .also(first, "the other one"),
                    );
                }
                taken[at] = Some(month.span);
                seasons[at] = Arc::clone(&season);
                capacity[at] = factor;
            }
        }
        let without: Vec<_> = (1..=12)
            .filter(|month| taken[month - 1].is_none())
            .map(|month| month.to_string())
            .collect();
        if !without.is_empty() {
            let what = if without.len() == 1 {
                "month"
            } else {
                "months"
            };
            let message = format!("{what} {} without a season", without.join(", "));
            self.report(
                Problem::new(shape.span, message)
                    .expected("expected every month from 1 to 12 once"),
            );
        }
        (seasons, capacity)
    }

    fn guest_bands(&mut self, shape: Option<At<Vec<u32>>>) -> Vec<u32> {
        let Some(bands) = shape else {
            return Vec::new();
        };
        if !bands.is_sorted_by(|a, b| a < b) || bands.first() == Some(&0) {
            self.report(
                Problem::new(bands.span, "guest bands must rise")
                    .expected("expected upper bounds from small to large, above 0"),
            );
        }
        bands.value
    }

    fn nearness(&mut self, shapes: &[NearnessShape]) -> Vec<Nearness> {
        for pair in shapes.windows(2) {
            if pair[0].within_days.value >= pair[1].within_days.value {
                self.report(
                    Problem::new(pair[1].within_days.span, "the nearest must come first")
                        .expected(format!("expected more than {}", pair[0].within_days.value))
                        .also(pair[0].within_days.span, "the step before it"),
                );
            }
        }
        shapes
            .iter()
            .map(|step| Nearness {
                days: step.within_days.value,
                factor: self.factor(&step.ttl_factor, "a TTL factor"),
            })
            .collect()
    }

    fn jitter(&mut self, shape: Option<At<f64>>) -> f64 {
        match shape {
            None => DEFAULT_JITTER,
            Some(jitter) if (0.0..1.0).contains(&jitter.value) => jitter.value,
            Some(jitter) => {
                let message = format!("the jitter cannot be {}", jitter.value);
                self.report(
                    Problem::new(jitter.span, message)
                        .expected("expected a share from 0 to below 1, such as 0.1 for 10 %"),
                );
                DEFAULT_JITTER
            }
        }
    }

    fn ids(&mut self, pattern: Option<At<String>>, case: IdCaseShape) -> Ids {
        let case = match case {
            IdCaseShape::Insensitive => IdCase::Insensitive,
            IdCaseShape::Sensitive => IdCase::Sensitive,
        };
        let fallback = || Ids::new(case, DEFAULT_VENDOR_IDS).expect("the default pattern is one");
        let Some(pattern) = pattern else {
            return fallback();
        };
        let plain = id::undressed_pattern(&pattern);
        if *pattern != plain {
            self.report(
                Problem::new(pattern.span, "this pattern can match no id")
                    .expected(format!("expected `{plain}`"))
                    .help("ids are compared with `-` for every hyphen, plain letters, and nothing invisible"),
            );
        }
        Ids::new(case, &pattern).unwrap_or_else(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default();
            let reason = reason.trim_start_matches("error: ");
            self.report(
                Problem::new(pattern.span, format!("not a regular expression: {reason}"))
                    .expected(format!("expected something like `{DEFAULT_VENDOR_IDS}`")),
            );
            fallback()
        })
    }
}

/// Returns a stand-in for a type that could not be read. Its times are zero, so that it does not
/// raise the log's required retention.
fn stand_in(name: &str) -> CacheType {
    CacheType {
        name: name.into(),
        sharing: Sharing::Shared,
        dimensions: Vec::new(),
        ttl: Duration::ZERO,
        stale_window: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        vendor_types: Vec::new(),
        prompt_version: 0,
        instructions: "".into(),
        model: "".into(),
        prompt: "".into(),
    }
}

fn dimension(shape: DimensionShape) -> Dimension {
    match shape {
        DimensionShape::Vendors => Dimension::Vendors,
        DimensionShape::VendorTypes => Dimension::VendorTypes,
        DimensionShape::Style => Dimension::Style,
        DimensionShape::Guests => Dimension::Guests,
        DimensionShape::Wedding => Dimension::Wedding,
        DimensionShape::Prompt => Dimension::Prompt,
    }
}
