//! `wedcache dlq`: lists dead letters, sends them back to their topics, and skips what nobody can
//! read.

mod letter;
mod list;
mod replay;
mod select;
mod skip;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal, Write as _};
use std::str::FromStr;

use self::letter::Letter;
use self::list::{Show, list};
use self::replay::{Wanted, replay};
use self::select::Filter;
pub use self::select::Since;
use self::skip::skip;
use super::reading::{ReadError, Reading, Span};
use super::screen::Screen;
use super::topics::{REACH, unreachable};
use super::{TopologyArgs, load};
use crate::app::client;
use crate::clock::Clock;
use crate::kafka::{Admin, ClientOptions};
use crate::model::Timestamp;
use crate::topology::Topology;

/// List dead letters, send them back to the topics they came from, or skip what nobody can read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache dlq list --since 1h
  wedcache dlq replay --reason unknown_schema --dry-run")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the dead letters: the reason, the origin and how the value begins.
    #[command(after_help = "Examples:
  wedcache dlq list --limit 20                       # the newest 20
  wedcache dlq list --reason unreadable_json --since 1h
  wedcache dlq list --json | jq -r .detail | sort | uniq -c
  wedcache dlq list --at 0:12 --raw > record.bin     # one record's bytes, nothing else

Letters come by partition and offset; with --limit by time, the newest last.")]
    List(ListArgs),
    /// Send dead letters back, byte for byte, once the fault is fixed.
    #[command(after_help = "Examples:
  wedcache dlq replay --reason unknown_schema --dry-run
  wedcache dlq replay --reason unknown_schema --since 1d --yes
  wedcache dlq replay --at 0:12 --to wedsync.ai.queries

Value, key and headers are those of the record as it came. The letters stay in the dead-letter
topic until its retention ends: what is replayed twice is sent twice.

Exit codes: 0 all that could be sent is acknowledged · 1 something failed, or was not confirmed")]
    Replay(ReplayArgs),
    /// Skip a range of an input that nobody can read.
    #[command(after_help = "Examples:
  wedcache dlq skip wedsync.ai.queries 3 1207 auto --dry-run  # what would be skipped
  wedcache dlq skip wedsync.ai.queries 3 1207 auto
  wedcache dlq skip wedsync.vendor.changes 0 88 93 --yes

A batch that cannot be decompressed, or whose checksum is wrong, holds its partition up:
nothing says where it ends. This looks at it, writes one dead letter for the range
(undecodable_batch), refreshes the cache types that changes in it may have concerned, and
tells all instances to go on behind it. They need no restart.

Exit codes: 0 skipped · 1 not skipped")]
    Skip(SkipArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    topology: TopologyArgs,
    #[command(flatten)]
    filter: Filter,
    /// Print one JSON object per line, with whole values.
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Print the values' bytes as they are, with a newline between two; not for a terminal.
    #[arg(long)]
    raw: bool,
}

#[derive(Debug, clap::Args)]
struct ReplayArgs {
    #[command(flatten)]
    topology: TopologyArgs,
    #[command(flatten)]
    filter: Filter,
    /// Send to this topic instead of the topics that the letters came from.
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// Only show what would be sent.
    #[arg(long)]
    dry_run: bool,
    /// Send without asking; needed where there is no terminal to ask on.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct SkipArgs {
    /// The input topic.
    topic: String,
    /// The partition that stands still.
    partition: i32,
    /// The first offset to skip, as in the log line and in the alert records_undecodable.
    from: i64,
    /// One past the last offset to skip; `auto` finds the next record that can be read.
    to: To,
    #[command(flatten)]
    topology: TopologyArgs,
    /// Skip the range without looking at it, even records that can be read.
    #[arg(long)]
    force: bool,
    /// Only show what would be skipped.
    #[arg(long)]
    dry_run: bool,
    /// Skip without asking; needed where there is no terminal to ask on.
    #[arg(long)]
    yes: bool,
}

/// A function that asks the question and returns true to go on.
type Confirm<'a> = &'a mut dyn FnMut(&str) -> anyhow::Result<bool>;

/// Runs the command; returns its exit code. Must not be called from within a tokio runtime.
pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let named = match &args.command {
        Command::List(list) => list.topology.clone(),
        Command::Replay(replay) => replay.topology.clone(),
        Command::Skip(skip) => skip.topology.clone(),
    };
    if let Command::List(list) = &args.command
        && list.raw
        && io::stdout().is_terminal()
    {
        anyhow::bail!("--raw writes bytes that are not for a terminal: send them to a file");
    }
    let Some(topology) = load(&named, screen)? else {
        return Ok(1);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        match &args.command {
            Command::List(args) => {
                let (_, letters) = open(&topology, &args.filter).await?;
                let show = match (args.json, args.raw) {
                    (true, _) => Show::Json,
                    (_, true) => Show::Raw,
                    _ => Show::Text,
                };
                list(&letters, show, screen).await
            }
            Command::Replay(args) => {
                let (admin, letters) = open(&topology, &args.filter).await?;
                let wanted = Wanted {
                    to: args.to.clone(),
                    dry_run: args.dry_run,
                };
                let mut confirm = |question: &str| Ok(args.yes || ask(question)?);
                let partitions = admin.topics().await?;
                replay(&letters, &partitions, &wanted, &mut confirm, screen).await
            }
            Command::Skip(args) => {
                let mut confirm = |question: &str| Ok(args.yes || ask(question)?);
                skip(&topology, &args.wanted(), &mut confirm, screen).await
            }
        }
    });
    // A request that hangs must not hold the process.
    runtime.shutdown_background();
    code
}

/// The end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Offset(i64),
    Auto,
}

impl FromStr for To {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(offset)) => Ok(Self::Offset(offset)),
            (_, Err(_)) => Err("expected an offset, or `auto`"),
        }
    }
}

impl SkipArgs {
    fn wanted(&self) -> skip::Wanted {
        skip::Wanted {
            topic: self.topic.clone(),
            partition: self.partition,
            from: self.from,
            to: match self.to {
                To::Offset(offset) => Some(offset),
                To::Auto => None,
            },
            force: self.force,
            dry_run: self.dry_run,
        }
    }
}

fn ask(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        anyhow::bail!("there is no terminal to ask on: --yes does it, --dry-run does not");
    }
    let mut stderr = io::stderr();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The dead letters of a command: those in the topic at its start that pass the filter.
struct Letters<'a> {
    topology: &'a Topology,
    client: ClientOptions,
    topic: &'a str,
    spans: Vec<Span>,
    filter: &'a Filter,
    now: Timestamp,
}

async fn open<'a>(
    topology: &'a Topology,
    filter: &'a Filter,
) -> anyhow::Result<(Admin, Letters<'a>)> {
    let client = client(&topology.deployment.kafka).named("dlq");
    let topic = &*topology.deployment.topics.dead_letters.name;
    let admin = Admin::new(&client, REACH)?;
    let found = admin.topics().await;
    let found = found.map_err(|error| unreachable(topology, &error))?;
    if !found.contains_key(topic) {
        anyhow::bail!("there is no topic {topic}; `wedcache topics apply` creates it");
    }
    let letters = Letters {
        topology,
        spans: Span::all(&admin.ends(topic).await?),
        client,
        topic,
        filter,
        now: Clock::System.now(),
    };
    Ok((admin, letters))
}

impl Letters<'_> {
    fn reading(&self) -> Reading {
        Reading::new(self.client.clone(), self.topic, self.spans.clone())
    }

    /// Returns the next letter that passes the filter, without regard to its limit.
    async fn next(&self, reading: &mut Reading) -> Result<Option<Letter>, ReadError> {
        while let Some((partition, record)) = reading.next().await? {
            let letter = Letter { partition, record };
            if self.filter.fits(&letter, self.now) {
                return Ok(Some(letter));
            }
        }
        Ok(None)
    }
}

/// The number of letters by reason.
#[derive(Debug, Default)]
struct Tally(BTreeMap<String, usize>);

/// The most reasons that are counted apart, more than wedcache gives: the headers of a letter that
/// another program wrote may hold anything. Further reasons count as `other`.
const REASONS: usize = 32;

impl Tally {
    fn add(&mut self, reason: &str) {
        if let Some(count) = self.0.get_mut(reason) {
            *count += 1;
            return;
        }
        let reason = if self.0.len() < REASONS {
            reason
        } else {
            "other"
        };
        *self.0.entry(reason.to_owned()).or_default() += 1;
    }

    fn total(&self) -> usize {
        self.0.values().sum()
    }
}

/// Writes `12 dead letters (7 unreadable_json, 5 too_large)`, the most frequent reason first.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        let many = if total == 1 { "" } else { "s" };
        write!(f, "{total} dead letter{many}")?;
        let mut counts: Vec<_> = self.0.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (index, (reason, count)) in counts.iter().enumerate() {
            let before = if index == 0 { " (" } else { ", " };
            let reason = letter::safe(reason.as_bytes(), 40);
            write!(f, "{before}{count} {reason}")?;
        }
        f.write_str(if counts.is_empty() { "" } else { ")" })
    }
}
