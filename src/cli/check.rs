//! `wedcache check`: searches for answers that were given although the invalidation log forbids
//! them.

mod report;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use self::report::{AnswerPlace, Report};
use super::dlq::Since;
use super::reading::{Reading, Span};
use super::screen::Screen;
use super::topics::{REACH, unreachable};
use super::{TopologyArgs, load};
use crate::app::{client, registry};
use crate::checker::Checker;
use crate::clock::Clock;
use crate::codec::log::invalidation_of_key;
use crate::codec::{Decoded, Decoder, LogRecord, Registry, Resolved, Schemas};
use crate::kafka::Admin;
use crate::model::{AiAnswer, Catalog, Mode, Position, Tag, Timestamp};
use crate::topology::Topology;

/// Judge the answers in the answers' topic by the invalidation log.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache check                      # every answer that is there
  wedcache check --since 1h
  wedcache check --json | jq .violations

A fresh answer is forbidden where a record of the log in [stamp, view) hits one of its tags, a stale
one where a purge does, unless it says that it was overtaken; so is one that contradicts itself. What
retention or compaction may have hidden is never passed: it counts as unknown.

Exit codes: 0 all answers are allowed · 1 one is forbidden, or could not look · 2 none is, but some
cannot be judged")]
pub struct Args {
    #[command(flatten)]
    topology: TopologyArgs,
    /// Only answers since then: a time span before now, as in `2h`, or an RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command; returns its exit code. Must not be called from within a tokio runtime.
pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let Some(topology) = load(&args.topology, screen)? else {
        return Ok(1);
    };
    let since = args.since.map(|since| since.at(Clock::System.now()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let report = runtime.block_on(check(&topology, since));
    // A request that hangs must not hold the process.
    runtime.shutdown_background();
    tell(&report?, args.json, screen)
}

fn tell(report: &Report, json: bool, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    if json {
        serde_json::to_writer_pretty(&mut *screen.out, report).map_err(io::Error::from)?;
        writeln!(screen.out)?;
    } else {
        write!(screen.out, "{report}")?;
    }
    Ok(report.exit_code())
}

/// Judges every answer from `since` to the ends that the topics have now.
async fn check(topology: &Topology, since: Option<Timestamp>) -> anyhow::Result<Report> {
    let client = client(&topology.deployment.kafka).named("check");
    let admin = Admin::new(&client, REACH)?;
    let (answers, log) = (
        &topology.deployment.topics.answers.name,
        &topology.deployment.topics.invalidations.name,
    );
    let found = admin.topics().await;
    let found = found.map_err(|error| unreachable(topology, &error))?;
    for topic in [answers, log] {
        if !found.contains_key(&**topic) {
            anyhow::bail!("there is no topic {topic}; `wedcache topics apply` creates it");
        }
    }
    let spans = Span::all(&admin.ends(answers).await?);
    // After the answers' ends, so that no answer to be judged has a view beyond the log's end.
    let log_ends = admin.ends(log).await?;
    let [(start, end)] = log_ends[..] else {
        let partitions = log_ends.len();
        anyhow::bail!("{log} has {partitions} partitions and cannot be a clock");
    };
    let mut report = Report::new(answers, log);
    let reading = Reading::new(client.clone(), &**log, Span::all(&[(start, end)]));
    let checker = read_log(reading, (start, end), &topology.policy.catalog, &mut report).await?;
    let schemas = Arc::new(Schemas::embedded());
    let reader = AnswerReader {
        registry: registry(topology.deployment.registry.as_ref(), &schemas)?,
        decoder: Decoder::new(schemas, usize::MAX),
    };
    let mut reading = Reading::new(client, &**answers, spans);
    while let Some((partition, record)) = reading.next().await? {
        if since.is_some_and(|since| record.timestamp < since) {
            continue;
        }
        let place = AnswerPlace {
            partition,
            offset: record.offset,
        };
        match reader.read(record.value.as_deref()).await {
            Ok(Some(answer)) => report.judged(place, &answer, checker.judge(&answer)),
            Ok(None) => {}
            Err(why) => report.unreadable(place, why),
        }
    }
    Ok(report)
}

/// Reads the log up to `end`; each range of missing offsets becomes a gap.
async fn read_log(
    mut reading: Reading,
    (start, end): (i64, i64),
    catalog: &Catalog,
    report: &mut Report,
) -> anyhow::Result<Checker> {
    let mut checker = Checker::read(Position(start), Position(end));
    // An older version wrote tags in another form, to the log and to its answers: such a record
    // counts for that form and for the canonical one.
    let canonical_too = |checker: &mut Checker, (offset, mode, tag): (i64, Mode, &str)| {
        if let Cow::Owned(canonical) = Tag::canonical(tag, catalog) {
            checker.hits(offset, mode, &canonical);
        }
    };
    let mut next = start;
    while let Some((_, record)) = reading.next().await? {
        if record.offset > next {
            checker.gap(next, record.offset);
        }
        next = record.offset + 1;
        let key = record.key.as_deref();
        let (offset, named) = (record.offset, invalidation_of_key(key.unwrap_or_default()));
        match (LogRecord::decode(key, record.value.as_deref()), named) {
            (LogRecord::Invalidation(invalidation), _) => {
                checker.record(offset, &invalidation);
                canonical_too(&mut checker, (offset, invalidation.mode, &invalidation.tag));
                report.invalidations += 1;
            }
            (LogRecord::Tombstone | LogRecord::Foreign(_), Some((mode, tag))) => {
                checker.hits(offset, mode, tag);
                canonical_too(&mut checker, (offset, mode, tag));
                report.invalidations += 1;
            }
            (LogRecord::Foreign(_), None) => report.foreign += 1,
            (
                LogRecord::Progress(_)
                | LogRecord::Identity(_)
                | LogRecord::Skip(_)
                | LogRecord::Tombstone,
                _,
            ) => {}
        }
    }
    if next < end {
        checker.gap(next, end);
    }
    Ok(checker)
}

struct AnswerReader {
    decoder: Decoder,
    registry: Option<Registry>,
}

impl AnswerReader {
    /// Returns the answer; `None` for a null value, the reason for a value that cannot be read.
    async fn read(&self, value: Option<&[u8]>) -> Result<Option<AiAnswer<'static>>, String> {
        // The second time with the schema that the registry gave.
        for _ in 0..2 {
            match self.decoder.decode_answer(value) {
                Decoded::Event(answer) => return Ok(Some(answer)),
                Decoded::Tombstone => return Ok(None),
                Decoded::Rejected(reject) => return Err(reject.to_string()),
                Decoded::Unresolved { schema_id } => {
                    let Some(registry) = &self.registry else {
                        return Err(format!("schema {schema_id}, and no registry is set"));
                    };
                    match registry.resolve(schema_id).await {
                        Resolved::Known => {}
                        Resolved::Unknown => return Err(format!("no schema {schema_id}")),
                        Resolved::Away(error) => return Err(format!("{error}")),
                    }
                }
            }
        }
        Err("its schema is known and cannot be found".to_owned())
    }
}
