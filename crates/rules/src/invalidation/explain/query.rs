//! A query's key, tags and TTL, with their reasons.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use wedcache_model::catalog::TtlInput;
use wedcache_model::event::AiQuery;
use wedcache_model::prepared::{MAX_QUERY_VENDORS, Prepared, UnknownCacheType};
use wedcache_model::{Catalog, Sharing, Tag, Timestamp, key};

/// The handling of a query.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryReport {
    pub query_id: String,
    pub cache_type: String,
    /// True if other couples may be given the answer.
    pub shared: bool,
    pub key: String,
    /// The parts of the key besides the type and the question, in its order.
    pub dimensions: Vec<DimensionReport>,
    /// The tags that an entry depends on; the vendors that the answer names are added.
    pub entry_tags: Vec<String>,
    /// The tags that the asker's own changes invalidate.
    pub asker_tags: Vec<String>,
    pub ttl: TtlReport,
    /// The reason why the answer is not stored; null if it is.
    pub not_stored: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DimensionReport {
    pub name: String,
    pub value: String,
}

/// The time for which the answer stays fresh: the least of the TTLs × season × nearness, less the
/// jitter.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TtlReport {
    pub type_secs: u64,
    /// The TTLs of the concerned vendor types that have one.
    pub vendor_types: Vec<VendorTtl>,
    pub season: Option<String>,
    pub season_factor: f64,
    /// Days from now to the wedding; negative if it is over.
    pub days_to_wedding: Option<i64>,
    pub nearness_factor: f64,
    /// The largest share that is taken off at random.
    pub jitter: f64,
    pub least_secs: u64,
    pub most_secs: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VendorTtl {
    pub vendor_type: String,
    pub secs: u64,
}

/// Reports the handling of `query`, asked at `now`.
pub fn query(
    catalog: &Catalog,
    query: &AiQuery,
    now: Timestamp,
) -> Result<QueryReport, UnknownCacheType> {
    let prepared = Prepared::of(catalog, query)?;
    let texts = |tags: &[Tag]| tags.iter().map(Tag::to_string).collect();
    let dimensions = key::dimensions(&prepared.key).into_iter();
    Ok(QueryReport {
        query_id: query.query_id.clone(),
        cache_type: prepared.cache_type.name.to_string(),
        shared: prepared.cache_type.sharing == Sharing::Shared,
        key: prepared.key.to_string(),
        dimensions: dimensions
            .map(|(name, value)| DimensionReport {
                name: name.to_owned(),
                value,
            })
            .collect(),
        entry_tags: texts(&prepared.entry_tags(catalog, query, "").tags),
        asker_tags: texts(&prepared.asker),
        ttl: ttl(catalog, query, &prepared, now),
        not_stored: not_stored(query, &prepared),
    })
}

fn ttl(catalog: &Catalog, query: &AiQuery, prepared: &Prepared, now: Timestamp) -> TtlReport {
    let vendor_types = prepared.vendor_types(query);
    let names: Vec<&str> = vendor_types.iter().map(String::as_str).collect();
    let date = query.wedding_context.wedding_date;
    let input = TtlInput {
        cache_type: &prepared.cache_type,
        vendor_types: &names,
        wedding_date: date,
        now,
    };
    let season = date.map(|date| catalog.season(date));
    TtlReport {
        type_secs: prepared.cache_type.ttl.as_secs(),
        vendor_types: vendor_types
            .iter()
            .filter_map(|name| {
                catalog.vendor_ttls.get(name).map(|ttl| VendorTtl {
                    vendor_type: name.clone(),
                    secs: ttl.as_secs(),
                })
            })
            .collect(),
        season: season.map(|season| season.name.to_string()),
        season_factor: season.map_or(1.0, |season| season.ttl_factor),
        days_to_wedding: date.map(|date| date.days_since(now.date())),
        nearness_factor: date.map_or(1.0, |date| catalog.nearness_factor(date, now)),
        jitter: catalog.ttl_jitter,
        least_secs: catalog.ttl(&input, 1.0).as_secs(),
        most_secs: catalog.ttl(&input, 0.0).as_secs(),
    }
}

fn not_stored(query: &AiQuery, prepared: &Prepared) -> Option<String> {
    if query.options.no_store {
        return Some("the query asks for it (`noStore`)".into());
    }
    if prepared.storable {
        return None;
    }
    let named = query.query.vendor_ids.len() + query.query.vendor_types.len();
    Some(if named > MAX_QUERY_VENDORS {
        format!(
            "it names {named} vendors and vendor types; stored are those with up to {MAX_QUERY_VENDORS}"
        )
    } else {
        "the type is private and the query names no wedding".into()
    })
}

impl fmt::Display for QueryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sharing = if self.shared {
            "shared between couples with the same key"
        } else {
            "private to the wedding"
        };
        writeln!(f, "{}, query {}", self.cache_type, self.query_id)?;
        writeln!(f, "  sharing  {sharing}")?;
        match &self.not_stored {
            None => writeln!(f, "  stored   yes")?,
            Some(why) => writeln!(f, "  stored   no: {why}")?,
        }
        writeln!(f, "  key      {}", self.key)?;
        let width = self.dimensions.iter().map(|of| of.name.len()).max();
        let width = width.unwrap_or(0);
        for DimensionReport { name, value } in &self.dimensions {
            writeln!(f, "    {name:<width$}  {value}")?;
        }
        writeln!(
            f,
            "  tags of the entry, and `vendor=` for each vendor in the answer"
        )?;
        for tag in &self.entry_tags {
            writeln!(f, "    {tag}")?;
        }
        if !self.asker_tags.is_empty() {
            writeln!(f, "  tags of the asker")?;
            for tag in &self.asker_tags {
                writeln!(f, "    {tag}")?;
            }
        }
        self.ttl.fmt(f)
    }
}

impl fmt::Display for TtlReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |secs| humantime::format_duration(Duration::from_secs(secs));
        match (self.least_secs, self.most_secs) {
            (least, most) if least == most => writeln!(f, "  TTL      {}", text(most))?,
            (least, most) => writeln!(f, "  TTL      {} to {}", text(least), text(most))?,
        }
        writeln!(f, "    {} for the type", text(self.type_secs))?;
        for VendorTtl { vendor_type, secs } in &self.vendor_types {
            writeln!(f, "    {} for {vendor_type}; the least counts", text(*secs))?;
        }
        if let Some(season) = &self.season {
            writeln!(f, "    × {} for a wedding in {season}", self.season_factor)?;
        }
        match self.days_to_wedding {
            Some(days) if days < 0 => writeln!(f, "    × {} after it", self.nearness_factor)?,
            Some(days) => writeln!(f, "    × {} with {days} days to go", self.nearness_factor)?,
            None => writeln!(f, "    no date: neither season nor nearness count")?,
        }
        writeln!(f, "    less up to {} % at random", self.jitter * 100.0)
    }
}
