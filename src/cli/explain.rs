//! `wedcache explain`: the effect of the rules on an event, and of the topology on a query.

use std::io::{self, Read as _, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::screen::Screen;
use super::{SourceError, Text, TopologyArgs};
use crate::clock::Clock;
use crate::codec::{Decoded, Decoder, Schemas};
use crate::invalidation::explain::{self, EventReport, QueryReport};
use crate::invalidation::rule::Change;
use crate::model::Timestamp;
use crate::model::event::HEARTBEAT;
use crate::topology::{self, Problems, Topology, Variables};

/// Show what a topology makes of an event or a query, and why.
///
/// For an event: which rules fire and why the others do not. For a query: its key, dimensions, tags
/// and time to live.
#[derive(Debug, clap::Args)]
#[command(after_help = r#"Examples:
  wedcache explain --event '{"eventId": "e-1", "vendorId": "v-17", "change": "price_changed",
                             "attributes": {"priceChangePct": 12.5}}'
  wedcache explain --event @update.json --key w-9 --json
  wedcache explain --query - < query.json"#)]
#[command(group(clap::ArgGroup::new("input").required(true).multiple(true).args(["event", "query"])))]
pub struct Args {
    #[command(flatten)]
    pub topology: TopologyArgs,
    /// A vendor change or a wedding update: JSON, `@file`, or `-` for standard input.
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub event: Option<String>,
    /// A query: JSON, `@file`, or `-` for standard input.
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub query: Option<String>,
    /// The key of the event's record; by default the event's own vendor or wedding id.
    #[arg(long, value_name = "KEY", requires = "event")]
    pub key: Option<String>,
    /// Print JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// The reason why nothing can be explained.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error("{file}: cannot be read: {source}")]
    File {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{0}")]
    Topology(Box<Problems>),
    #[error("the {what}: {reject}")]
    Input {
        what: &'static str,
        reject: crate::codec::Reject,
    },
    #[error("the event has neither `vendorId` nor `weddingId`")]
    NeitherKind,
    #[error(transparent)]
    CacheType(#[from] crate::model::UnknownCacheType),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

#[derive(Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<QueryReport>,
}

/// Prints the report; returns 0, or 1 when the topology is not valid. An input that cannot be read
/// is an error.
pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    match explain(args, Clock::System.now(), screen.out) {
        Ok(()) => Ok(0),
        Err(ExplainError::Topology(problems)) => {
            let text = problems.render(screen.look, screen.width);
            screen.out.write_all(text.as_bytes())?;
            Ok(1)
        }
        Err(ExplainError::Output(error)) => Err(error.into()),
        Err(error) => Err(error.into()),
    }
}

fn explain(args: &Args, now: Timestamp, out: &mut dyn Write) -> Result<(), ExplainError> {
    let topology = read_topology(&args.topology)?;
    let report = Report {
        event: args
            .event
            .as_deref()
            .map(|text| event(&topology, args, text))
            .transpose()?,
        query: args
            .query
            .as_deref()
            .map(|text| query(&topology, text, now))
            .transpose()?,
    };
    if args.json {
        let text = serde_json::to_string_pretty(&report).expect("reports are writable as JSON");
        writeln!(out, "{text}")?;
        return Ok(());
    }
    if let Some(event) = &report.event {
        write!(out, "{event}")?;
    }
    if report.event.is_some() && report.query.is_some() {
        writeln!(out)?;
    }
    if let Some(query) = &report.query {
        write!(out, "{query}")?;
    }
    Ok(())
}

/// Reads the topology without the environment, on which neither rules nor keys depend.
fn read_topology(args: &TopologyArgs) -> Result<Topology, ExplainError> {
    let Text { file, text } = args.source().read()?;
    topology::read(&file, &text, Variables::Unresolved)
        .map(|loaded| loaded.topology)
        .map_err(ExplainError::Topology)
}

/// Returns a decoder like the stream's, so that what the stream refuses is refused here.
fn decoder() -> Decoder {
    Decoder::new(std::sync::Arc::new(Schemas::embedded()), usize::MAX)
}

fn event(topology: &Topology, args: &Args, given: &str) -> Result<EventReport, ExplainError> {
    let value = input(given)?;
    let field = |name: &str| parse::<serde_json::Value>(&value)?.get(name).cloned();
    let has = |name: &str| field(name).is_some();
    let change = if has("vendorId") || field("change").is_some_and(|of| of == HEARTBEAT) {
        Change::Vendor(decoded(
            "event",
            decoder().decode_vendor_change(Some(&value)),
        )?)
    } else if has("weddingId") || parse::<serde_json::Value>(&value).is_none() {
        Change::Wedding(decoded(
            "event",
            decoder().decode_wedding_update(Some(&value)),
        )?)
    } else {
        return Err(ExplainError::NeitherKind);
    };
    let own = match &change {
        Change::Vendor(change) => change.record_key().to_owned(),
        Change::Wedding(update) => update.wedding_id.clone(),
    };
    let key = args.key.as_deref().unwrap_or(&own);
    Ok(explain::event(
        &topology.policy.rules,
        &topology.policy.catalog,
        &change,
        Some(key),
    ))
}

fn query(topology: &Topology, given: &str, now: Timestamp) -> Result<QueryReport, ExplainError> {
    let value = input(given)?;
    let query = decoded("query", decoder().decode_query(Some(&value)))?;
    Ok(explain::query(&topology.policy.catalog, &query, now)?)
}

fn input(given: &str) -> Result<Vec<u8>, ExplainError> {
    let read = |file: &str, bytes: io::Result<Vec<u8>>| {
        bytes.map_err(|source| ExplainError::File {
            file: file.to_owned(),
            source,
        })
    };
    match given.strip_prefix('@') {
        Some(file) => read(file, std::fs::read(file)),
        None if given == "-" => {
            let mut bytes = Vec::new();
            let taken = io::stdin().lock().read_to_end(&mut bytes);
            read("standard input", taken.map(|_| bytes))
        }
        None => Ok(given.as_bytes().to_vec()),
    }
}

fn parse<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

fn decoded<T>(what: &'static str, decoded: Decoded<T>) -> Result<T, ExplainError> {
    match decoded {
        Decoded::Event(event) => Ok(event),
        Decoded::Rejected(reject) => Err(ExplainError::Input { what, reject }),
        Decoded::Tombstone => unreachable!("there is a value"),
        Decoded::Unresolved { schema_id } => {
            let reject = crate::codec::Reject::no_registry(schema_id);
            Err(ExplainError::Input { what, reject })
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn explained(args: &[&str]) -> Result<String, String> {
        let cli = Cli::try_parse_from(std::iter::once("explain").chain(args.iter().copied()))
            .map_err(|error| error.to_string())?;
        let now = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        let mut out = Vec::new();
        explain(&cli.args, now, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    const EVENT: &str = r#"{"eventId": "e-1", "vendorId": "v-17", "change": "price_changed",
        "attributes": {"priceChangePct": 12.5}}"#;
    const QUERY: &str = r#"{"queryId": "q-1", "query": {"type": "vendor_matching", "content": "x"},
        "weddingContext": {"location": {"city": "Austin", "state": "TX"}}}"#;

    #[test]
    fn an_event_tells_which_rules_fire_and_why_the_others_do_not() {
        let text = explained(&["--event", EVENT]).unwrap();
        for want in [
            "vendor.price_changed, event e-1",
            "fires                price-moved",
            "condition false      price-nudged",
            "event.attributes.priceChangePct = 12.5",
            "purge    vendor_matching|vendor=v-17",
        ] {
            assert!(text.contains(want), "{want} in {text}");
        }
    }

    #[test]
    fn a_heartbeat_invalidates_nothing_and_says_why() {
        let event = r#"{"eventId": "e-1", "change": "heartbeat", "source": "bloomdesk"}"#;
        let text = explained(&["--event", event]).unwrap();
        let want = "It invalidates nothing: a heartbeat only says that its integration lives.";
        assert!(text.contains(want) && !text.contains("fires  "), "{text}");
    }

    #[test]
    fn another_record_key_is_invalidated_too() {
        let text = explained(&["--event", EVENT, "--key", "v-99"]).unwrap();
        assert!(
            text.contains("|vendor=v-99") && text.contains("|vendor=v-17"),
            "{text}"
        );
    }

    #[test]
    fn a_query_from_a_file_tells_its_key_and_both_come_as_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("query.json");
        std::fs::write(&path, QUERY).unwrap();
        let at = format!("@{}", path.display());
        let text = explained(&["--query", &at]).unwrap();
        assert!(
            text.contains("key      vendor_matching:Austin_TX:any:any:"),
            "{text}"
        );
        let json = explained(&["--query", &at, "--event", EVENT, "--json"]).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["event"]["trigger"], "vendor.price_changed");
        assert_eq!(json["query"]["shared"], true);
    }

    #[test]
    fn what_cannot_be_explained_says_why() {
        for (args, want) in [
            (vec![], "required arguments"),
            (vec!["--event", "{}"], "neither `vendorId` nor `weddingId`"),
            (vec!["--event", r#"{"vendorId": "v-1"}"#], "missing_field"),
            (vec!["--event", "{"], "unreadable_json"),
            (vec!["--query", r#"["x"]"#], "unsupported_format"),
            (
                vec!["--query", "@no-such.json"],
                "no-such.json: cannot be read",
            ),
            (
                vec!["--topology", "no-such.yaml", "--query", QUERY],
                "there is no topology file no-such.yaml in ",
            ),
            (
                vec!["--query", &QUERY.replace("vendor_matching", "tarot")],
                "no cache type `tarot`",
            ),
            (vec!["--key", "v-1", "--query", QUERY], "--event"),
        ] {
            let error = explained(&args).unwrap_err();
            assert!(error.contains(want), "{want} in {error}");
        }
    }
}
