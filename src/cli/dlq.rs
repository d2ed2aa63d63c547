//! `wedcache dlq`: what was dead-lettered and why, and back to where it came from.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::screen::Screen;
use super::{TopologyArgs, load};
use crate::app::client;
use crate::kafka::producer::OutputOptions;
use crate::kafka::reader::LogRecord;
use crate::kafka::{Admin, OutRecord, Output, PartitionReader, ReaderEvent, ReaderOptions};
use crate::topics;
use crate::topology::Topology;

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the reading of one partition may take without news.
const SILENCE: Duration = Duration::from_secs(15);
const PREVIEW_CHARS: usize = 60;

/// List dead letters, or send them back to the topics they came from.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what is in the dead-letter topic.
    #[command(after_help = "Examples:
  wedcache dlq list
  wedcache dlq list --reason unreadable_json --limit 20
  wedcache dlq list --json | jq .detail")]
    List(ListArgs),
    /// Send dead letters back, byte for byte, after what was wrong has been mended.
    #[command(after_help = "Examples:
  wedcache dlq replay --reason unknown_schema --dry-run
  wedcache dlq replay --reason unknown_schema --yes")]
    Replay(ReplayArgs),
}

#[derive(Debug, clap::Args)]
struct Filter {
    #[command(flatten)]
    topology: TopologyArgs,
    /// Only letters with this reason.
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only letters from this topic.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ReplayArgs {
    #[command(flatten)]
    filter: Filter,
    /// Only say what would be sent.
    #[arg(long)]
    dry_run: bool,
    /// Send; without it nothing is sent.
    #[arg(long)]
    yes: bool,
}

pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let filter = match &args.command {
        Command::List(list) => &list.filter,
        Command::Replay(replay) => &replay.filter,
    };
    let Some(topology) = load(&filter.topology.topology, screen)? else {
        return Ok(1);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let letters = runtime.block_on(read(&topology, filter))?;
    match &args.command {
        Command::List(list) => {
            for letter in &letters {
                let line = if list.json {
                    letter.json().to_string()
                } else {
                    letter.line()
                };
                writeln!(screen.out, "{line}")?;
            }
            if !list.json {
                writeln!(screen.out, "{}", summary(&letters))?;
            }
            Ok(0)
        }
        Command::Replay(replay) => {
            writeln!(screen.out, "{}", summary(&letters))?;
            if replay.dry_run || !replay.yes {
                writeln!(screen.out, "nothing was sent; --yes sends them")?;
                return Ok(u8::from(!replay.dry_run));
            }
            let sent = runtime.block_on(send(&topology, &letters))?;
            writeln!(screen.out, "{sent} sent and acknowledged")?;
            Ok(0)
        }
    }
}

/// A dead letter with what its headers say.
struct Letter {
    record: LogRecord,
    facts: BTreeMap<String, String>,
}

impl Letter {
    fn of(record: LogRecord) -> Self {
        let facts = record
            .headers
            .iter()
            .filter_map(|(name, value)| {
                let name = name.strip_prefix("wedcache.")?;
                let value = String::from_utf8_lossy(value.as_deref()?).into_owned();
                Some((name.to_owned(), value))
            })
            .collect();
        Self { record, facts }
    }

    fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("?", String::as_str)
    }

    fn line(&self) -> String {
        let value = self.record.value.as_deref().unwrap_or_default();
        format!(
            "{} {}[{}]@{} {} bytes: {}\n    {}",
            self.fact("reason"),
            self.fact("topic"),
            self.fact("partition"),
            self.fact("offset"),
            value.len(),
            self.fact("detail"),
            preview(value)
        )
    }

    fn json(&self) -> serde_json::Value {
        let value = self.record.value.as_deref().unwrap_or_default();
        let key = self
            .record
            .key
            .as_deref()
            .map(|key| String::from_utf8_lossy(key).into_owned());
        serde_json::json!({
            "offset": self.record.offset,
            "reason": self.fact("reason"),
            "detail": self.fact("detail"),
            "topic": self.fact("topic"),
            "partition": self.fact("partition"),
            "originalOffset": self.fact("offset"),
            "key": key,
            "bytes": value.len(),
            "preview": preview(value),
        })
    }
}

/// The beginning of a value, safe for a terminal.
fn preview(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let shown: String = text
        .chars()
        .take(PREVIEW_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    let more = if text.chars().nth(PREVIEW_CHARS).is_some() {
        "…"
    } else {
        ""
    };
    format!("{shown}{more}")
}

fn summary(letters: &[Letter]) -> String {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for letter in letters {
        *reasons.entry(letter.fact("reason")).or_default() += 1;
    }
    let counts: Vec<_> = reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    let of = if counts.is_empty() {
        String::new()
    } else {
        format!(": {}", counts.join(", "))
    };
    format!("{} dead letters{of}", letters.len())
}

async fn read(topology: &Topology, filter: &Filter) -> anyhow::Result<Vec<Letter>> {
    let client = client(&topology.kafka).named("dlq");
    let servers = &topology.kafka.bootstrap_servers;
    let topic = topology.topics.dead_letters.name.to_string();
    let admin = Admin::new(&client, TIMEOUT)?;
    let ends = admin.ends(&topic).await.map_err(|error| {
        anyhow::anyhow!("{error} (Kafka at {servers}; WEDCACHE_KAFKA sets the address)")
    })?;
    let mut letters = Vec::new();
    for (partition, (start, end)) in (0..).zip(ends) {
        if start < end {
            let options = ReaderOptions {
                partition,
                ..ReaderOptions::new(client.clone(), &topic)
            };
            letters.extend(read_partition(options)?);
        }
    }
    letters.retain(|letter: &Letter| {
        let fits = |wanted: &Option<String>, name| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted == letter.fact(name))
        };
        fits(&filter.reason, "reason") && fits(&filter.topic, "topic")
    });
    letters.truncate(filter.limit.unwrap_or(usize::MAX));
    Ok(letters)
}

fn read_partition(options: ReaderOptions) -> anyhow::Result<Vec<Letter>> {
    let (sender, events) = mpsc::sync_channel(64);
    let reader = PartitionReader::spawn(options, move |batch: Vec<ReaderEvent>| {
        // The other end has read enough.
        if sender.send(batch).is_err() {
            tracing::trace!("the letters are read");
        }
    })?;
    let mut letters = Vec::new();
    loop {
        for event in events.recv_timeout(SILENCE)? {
            match event {
                ReaderEvent::Record(record) => letters.push(Letter::of(record)),
                ReaderEvent::CaughtUp { .. } => {
                    drop(reader);
                    return Ok(letters);
                }
                _ => {}
            }
        }
    }
}

async fn send(topology: &Topology, letters: &[Letter]) -> anyhow::Result<usize> {
    let largest = u32::try_from(topics::largest_record(topology)).unwrap_or(u32::MAX);
    let output = Output::new(&OutputOptions {
        max_record_bytes: largest,
        ..OutputOptions::new(client(&topology.kafka).named("dlq-replay"))
    })?;
    for letter in letters {
        // The headers that say why it was dead-lettered stay: a second time they are replaced.
        let headers: Vec<(&str, Option<&[u8]>)> = letter
            .record
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        let record = OutRecord {
            headers: &headers,
            ..OutRecord::to(
                letter.fact("topic"),
                letter.record.key.as_deref(),
                letter.record.value.as_deref(),
            )
        };
        output.append(&record, Instant::now() + TIMEOUT).await?;
    }
    Ok(letters.len())
}
