//! `wedcache dlq skip`: gives up a range of an input that nobody can read.
//!
//! The order makes this safe: first the dead letter, then the refreshes of what the range may have
//! changed, and only then the skip record in the invalidation log, on which all instances go on. A
//! command that is interrupted between two of these steps can be run again.

mod survey;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::survey::{NotSkipped, Survey, survey};
use super::Confirm;
use crate::app::client;
use crate::cli::screen::Screen;
use crate::cli::topics::REACH;
use crate::clock::Clock;
use crate::codec::log::{encode_invalidation, encode_skip};
use crate::invalidation::rule::ChangeSource;
use crate::invalidation::{plan, widen};
use crate::kafka::dead_letters::{self, DeadLetterOrigin, UNDECODABLE_BATCH};
use crate::kafka::probe::{Probe, probe};
use crate::kafka::standstill::{BadBatch, Standstill};
use crate::kafka::{Admin, ClientOptions, OutRecord, Output, OutputOptions};
use crate::model::invalidation::SkippedRange;
use crate::model::{Cause, Coordinates, TagInvalidation, TopicId, TraceParent};
use crate::topology::Topology;
use crate::topology::settings::Role;

/// The longest that a probe waits for a record, or for an error that explains why none comes.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// The longest that an append may take.
const APPEND_PATIENCE: Duration = Duration::from_secs(30);
/// The time for which the group is watched after the skip, asked every [`ASK_EVERY`].
const WATCHED: Duration = Duration::from_secs(15);
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The options of a skip.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub topic: String,
    pub partition: i32,
    pub from: i64,
    /// One past the last offset; `None` searches for it.
    pub to: Option<i64>,
    pub force: bool,
    pub dry_run: bool,
}

/// The partition that the range belongs to.
struct Input<'a> {
    topology: &'a Topology,
    admin: Admin,
    client: ClientOptions,
    role: Role,
    group: &'a str,
    topic: Arc<str>,
    topic_id: Option<TopicId>,
    partition: i32,
    /// The first offset of the partition, and the one past its last.
    bounds: (i64, i64),
}

/// Skips the range once `confirm` agrees; returns the exit code.
pub async fn skip(
    topology: &Topology,
    wanted: &Wanted,
    confirm: Confirm<'_>,
    screen: &mut Screen<'_>,
) -> anyhow::Result<u8> {
    let input = Input::find(topology, wanted).await?;
    let from = input.first(wanted, screen).await?;
    let range = match (wanted.force, wanted.to) {
        (true, Some(to)) => Survey {
            to,
            bad: Vec::new(),
        },
        (true, None) => {
            anyhow::bail!("--force needs the end of the range, not `auto`: nothing is looked at")
        }
        (false, to) => input.survey(from, to).await?,
    };
    let skip = SkippedRange {
        topic: input.topic.to_string(),
        topic_id: input.topic_id,
        partition: input.partition,
        from,
        to: range.to,
        forced: wanted.force,
        at: Clock::System.now(),
    };
    let refreshes = input.refreshes(&skip);
    tell_plan(&input, &skip, &range.bad, &refreshes, screen)?;
    if wanted.dry_run {
        writeln!(screen.out, "nothing was done, as --dry-run says")?;
        return Ok(0);
    }
    let offsets = count(skip.to - skip.from, "offset");
    if !confirm(&format!("skip {offsets} of {}?", input.name()))? {
        writeln!(screen.out, "nothing was done")?;
        return Ok(1);
    }
    input.give_up(&skip, &range.bad, &refreshes).await?;
    writeln!(screen.out, "skipped")?;
    input.watch(&skip, screen).await?;
    Ok(0)
}

impl<'a> Input<'a> {
    async fn find(topology: &'a Topology, wanted: &Wanted) -> anyhow::Result<Self> {
        let role = role_of(topology, &wanted.topic)?;
        let client = client(&topology.deployment.kafka).named("dlq-skip");
        let admin = Admin::new(&client, REACH)?;
        let topic = Arc::clone(&topology.deployment.topics.get(role).name);
        let ends = admin.ends(&topic).await;
        let ends = ends.map_err(|error| crate::cli::topics::unreachable(topology, &error))?;
        let number = usize::try_from(wanted.partition).ok();
        let Some(bounds) = number.and_then(|number| ends.get(number)).copied() else {
            anyhow::bail!(
                "{topic} has no partition {}: it has {}",
                wanted.partition,
                ends.len()
            );
        };
        let ids = admin.topic_ids(std::slice::from_ref(&topic)).await?;
        Ok(Self {
            topology,
            admin,
            client,
            role,
            group: match role {
                Role::Queries => &topology.deployment.kafka.queries_group,
                _ => &topology.deployment.kafka.rules_group,
            },
            topic_id: ids.get(&topic).copied(),
            topic,
            partition: wanted.partition,
            bounds,
        })
    }

    fn name(&self) -> String {
        format!("{}[{}]", self.topic, self.partition)
    }

    /// Returns the offset at which the range begins: `wanted.from`, or the group's committed offset
    /// where that is higher, or where no record lies between the two.
    async fn first(&self, wanted: &Wanted, screen: &mut Screen<'_>) -> anyhow::Result<i64> {
        let Wanted { from, to, .. } = *wanted;
        let (name, (start, end)) = (self.name(), self.bounds);
        if from < start {
            anyhow::bail!("what was below offset {start} of {name} is gone: begin there");
        }
        if from >= end || to.is_some_and(|to| to > end) {
            anyhow::bail!("{name} ends at offset {end}: nothing behind it can be skipped");
        }
        if to.is_some_and(|to| to <= from) {
            anyhow::bail!("the end of the range is one past its last offset, so above {from}");
        }
        let Some(committed) = self.committed().await? else {
            return Ok(from);
        };
        if committed > from {
            if to.is_some_and(|to| to <= committed) {
                anyhow::bail!(
                    "group {} has gone on to offset {committed} already",
                    self.group
                );
            }
            writeln!(
                screen.out,
                "what is below offset {committed} is finished: skipping from there"
            )?;
            return Ok(committed);
        }
        if committed < from && committed >= start && !wanted.force {
            let waits_at_batch = match self.probe(committed).await? {
                Probe::Bad(batch) => batch.offset >= from,
                Probe::Record(_) | Probe::Silence => false,
            };
            if waits_at_batch {
                return Ok(committed);
            }
        }
        Ok(from)
    }

    async fn committed(&self) -> anyhow::Result<Option<i64>> {
        let of = self
            .admin
            .committed(self.group, &self.topic, self.partition + 1);
        Ok(of.await?.last().copied().flatten())
    }

    async fn probe(&self, offset: i64) -> anyhow::Result<Probe> {
        let (client, topic, partition) =
            (self.client.clone(), Arc::clone(&self.topic), self.partition);
        let look = move || probe(&client, (&topic, partition), offset, PROBE_PATIENCE);
        Ok(tokio::task::spawn_blocking(look).await??)
    }

    async fn survey(&self, from: i64, to: Option<i64>) -> Result<Survey, NotSkipped> {
        let probe = async |offset| self.probe(offset).await;
        survey((from, to, self.bounds.1), probe).await
    }

    /// Returns the refreshes of everything that changes in the range may have concerned.
    fn refreshes(&self, skip: &SkippedRange) -> Vec<TagInvalidation> {
        let source = match self.role {
            Role::VendorChanges => ChangeSource::Vendor,
            Role::WeddingUpdates => ChangeSource::Wedding,
            _ => return Vec::new(),
        };
        let wide = widen::widen(
            &self.topology.policy.rules,
            &self.topology.policy.catalog,
            source,
            None,
        );
        let cause = Cause {
            topic: skip.topic.clone(),
            partition: skip.partition,
            offset: skip.from,
            event_id: None,
        };
        plan::into_records(&wide.refresh_types, &cause, skip.at)
    }

    async fn give_up(
        &self,
        skip: &SkippedRange,
        bad: &[BadBatch],
        refreshes: &[TagInvalidation],
    ) -> anyhow::Result<()> {
        let output = Output::new(&OutputOptions::new(self.client.clone()))?;
        let place = Coordinates {
            topic: Arc::clone(&self.topic),
            partition: skip.partition,
            offset: skip.from,
            timestamp: skip.at,
        };
        let detail = detail(skip, bad);
        let origin = DeadLetterOrigin {
            reason: UNDECODABLE_BATCH,
            detail: &detail,
            place: &place,
            offset_end: Some(skip.to),
        };
        let trace = TraceParent::fresh();
        let headers = dead_letters::headers([], &origin, trace);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        let letter = OutRecord {
            headers: &headers,
            ..OutRecord::to(
                &self.topology.deployment.topics.dead_letters.name,
                None,
                None,
            )
        };
        // The letter before anything takes effect: a failure here leaves the range unskipped.
        output.append(&letter, deadline()).await?;
        let log = &*self.topology.deployment.topics.invalidations.name;
        let mut values: Vec<_> = refreshes
            .iter()
            .map(|record| (record.record_key(), encode_invalidation(record)))
            .collect();
        values.push((skip.record_key(), encode_skip(skip)));
        let records: Vec<_> = values
            .iter()
            .map(|(key, value)| OutRecord {
                partition: Some(0),
                trace: Some(trace.child()),
                ..OutRecord::to(log, Some(key.as_bytes()), Some(value))
            })
            .collect();
        // One after the other, with the skip record last: no instance may go on before the
        // refreshes are in the log.
        for record in &records {
            output.append(record, deadline()).await?;
        }
        Ok(())
    }

    /// Reports whether the group has gone on.
    async fn watch(&self, skip: &SkippedRange, screen: &mut Screen<'_>) -> anyhow::Result<()> {
        let group = self.group;
        if self.admin.members(group).await? == 0 {
            writeln!(
                screen.out,
                "no instance runs in group {group}: it goes on from offset {} once one does",
                skip.to
            )?;
            return Ok(());
        }
        let until = Instant::now() + WATCHED;
        while Instant::now() < until {
            if let Some(committed) = self.committed().await?.filter(|at| *at >= skip.to) {
                writeln!(
                    screen.out,
                    "group {group} has gone on: it has committed offset {committed}"
                )?;
                return Ok(());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        writeln!(
            screen.out,
            "group {group} has not committed offset {} yet: it does once its owner runs and what stands before is finished",
            skip.to
        )?;
        Ok(())
    }
}

fn role_of(topology: &Topology, topic: &str) -> anyhow::Result<Role> {
    let mut topics = topology.deployment.topics.iter();
    let role = topics.find(|of| *of.name == *topic).map(|of| of.role);
    match role {
        Some(role) if role.is_input() => Ok(role),
        Some(Role::Invalidations) => anyhow::bail!(
            "{topic} is the invalidation log: what it forbids would be served if a part of it were skipped"
        ),
        _ => {
            let inputs = topology
                .deployment
                .topics
                .iter()
                .filter(|of| of.role.is_input());
            let inputs: Vec<_> = inputs.map(|of| &*of.name).collect();
            anyhow::bail!(
                "{topic} is no input of this topology: it reads {}",
                inputs.join(", ")
            )
        }
    }
}

fn tell_plan(
    input: &Input<'_>,
    skip: &SkippedRange,
    bad: &[BadBatch],
    refreshes: &[TagInvalidation],
    screen: &mut Screen<'_>,
) -> std::io::Result<()> {
    let SkippedRange { from, to, .. } = skip;
    let offsets = count(to - from, "offset");
    writeln!(
        screen.out,
        "{}: {offsets}, from {from} to before {to}",
        input.name()
    )?;
    for batch in bad {
        writeln!(screen.out, "    {}", Standstill::Undecodable(*batch))?;
    }
    writeln!(
        screen.out,
        "one dead letter ({UNDECODABLE_BATCH}) stands for what is in it"
    )?;
    if !refreshes.is_empty() {
        let tags: Vec<_> = refreshes.iter().map(|record| record.tag.as_str()).collect();
        writeln!(
            screen.out,
            "refreshed, since changes in it may have concerned it: {}",
            tags.join(", ")
        )?;
    }
    writeln!(screen.out, "group {} goes on from offset {to}", input.group)
}

/// Returns the reason for the skip, for people.
fn detail(skip: &SkippedRange, bad: &[BadBatch]) -> String {
    let SkippedRange { from, to, .. } = skip;
    let why = match bad {
        [] => "by force".to_owned(),
        [first, rest @ ..] => {
            let more = match rest.len() {
                0 => String::new(),
                more => format!(
                    "; {} more",
                    count(i64::try_from(more).unwrap_or(i64::MAX), "batch")
                ),
            };
            format!("{}{more}", Standstill::Undecodable(*first))
        }
    };
    format!("skipped from offset {from} to before {to}: {why}")
}

fn count(many: i64, of: &str) -> String {
    let plural = if of.ends_with('h') { "es" } else { "s" };
    match many {
        1 => format!("1 {of}"),
        _ => format!("{many} {of}{plural}"),
    }
}

fn deadline() -> Instant {
    Instant::now() + APPEND_PATIENCE
}
