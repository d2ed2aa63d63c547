//! `wedcache dlq replay`: sends the original records back to the topics they came from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::letter::{Letter, LetterOrder};
use super::select::Newest;
use super::{Confirm, Letters, Tally};
use crate::app::client;
use crate::cli::screen::Screen;
use crate::kafka::producer::{Appended, DeliveryFailed, OutputOptions};
use crate::kafka::{Delivery, OutRecord, Output};
use crate::topics;

/// The longest time for a delivery; a record that is not delivered by then has failed.
const DELIVERY: Duration = Duration::from_secs(30);
/// The most records that wait for their acknowledgement at once.
const IN_FLIGHT: usize = 256;
const FAILURES_SHOWN: usize = 10;

/// The options of a replay.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The topic to send to, instead of the topics that the letters came from.
    pub to: Option<String>,
    pub dry_run: bool,
}

/// Looks at all letters and shows the plan, then reads the same letters again and sends them.
/// Letters that are written meanwhile, those of records that fail again included, are not sent.
/// `partitions` has the number of partitions of each topic that exists.
pub async fn replay(
    letters: &Letters<'_>,
    partitions: &BTreeMap<String, i32>,
    wanted: &Wanted,
    confirm: Confirm<'_>,
    screen: &mut Screen<'_>,
) -> anyhow::Result<u8> {
    let targets = Targets {
        inputs: letters
            .topology
            .deployment
            .topics
            .iter()
            .filter(|t| t.role.is_input())
            .map(|t| &*t.name)
            .collect(),
        partitions,
        to: wanted.to.as_deref(),
    };
    targets.check(letters.topic)?;
    let (plan, chosen) = look(letters, &targets).await?;
    plan.tell(screen)?;
    if plan.count() == 0 {
        writeln!(screen.out, "nothing to send")?;
        return Ok(0);
    }
    if wanted.dry_run {
        writeln!(screen.out, "nothing was sent, as --dry-run says")?;
        return Ok(0);
    }
    if !confirm(&format!("send {}?", plan.count()))? {
        writeln!(screen.out, "nothing was sent")?;
        return Ok(1);
    }
    let sent = send(letters, &targets, chosen.as_ref()).await?;
    writeln!(
        screen.out,
        "{} sent and acknowledged",
        records(sent.acknowledged)
    )?;
    if sent.failed == 0 {
        return Ok(0);
    }
    writeln!(screen.out, "{} failed:", records(sent.failed))?;
    for failure in &sent.failures {
        writeln!(screen.out, "    {failure}")?;
    }
    if sent.failed > sent.failures.len() {
        writeln!(screen.out, "    …")?;
    }
    Ok(1)
}

/// The topics that records may be sent to.
struct Targets<'a> {
    /// The topology's input topics: no other topic is accepted as an origin, whatever a header
    /// holds.
    inputs: BTreeSet<&'a str>,
    partitions: &'a BTreeMap<String, i32>,
    to: Option<&'a str>,
}

/// The reason why a letter cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
enum Skipped {
    #[error("a range that was skipped, of which nothing is here to be sent")]
    Range,
    #[error("without the name of the topic that it came from; --to sends it anywhere")]
    UnknownOrigin,
    #[error("from {0}, which is no input of this topology; --to sends it anywhere")]
    NotAnInput(String),
    #[error("from {0}, which does not exist any more")]
    TopicGone(String),
}

impl Targets<'_> {
    fn check(&self, dead_letters: &str) -> anyhow::Result<()> {
        match self.to {
            Some(to) if to == dead_letters => anyhow::bail!("--to {to}: that is where they are"),
            Some(to) if !self.partitions.contains_key(to) => {
                anyhow::bail!("--to {to}: there is no such topic")
            }
            _ => Ok(()),
        }
    }

    /// Returns the topic to send a letter to and, where known, the partition: the one that the
    /// record came from, so that it stays in order with the records sent beside it.
    fn of(&self, letter: &Letter) -> Result<(String, Option<i32>), Skipped> {
        if letter.is_range() {
            return Err(Skipped::Range);
        }
        if let Some(to) = self.to {
            return Ok((to.to_owned(), None));
        }
        let topic = letter.source().ok_or(Skipped::UnknownOrigin)?.into_owned();
        if !self.inputs.contains(&*topic) {
            return Err(Skipped::NotAnInput(topic));
        }
        let Some(&count) = self.partitions.get(&topic) else {
            return Err(Skipped::TopicGone(topic));
        };
        let partition = letter.source_partition();
        Ok((topic, partition.filter(|p| (0..count).contains(p))))
    }
}

/// The letters to send by topic, and those not to send by reason.
#[derive(Debug, Default)]
struct Plan {
    sends: BTreeMap<String, Tally>,
    skipped: BTreeMap<Skipped, Tally>,
}

impl Plan {
    fn add(&mut self, verdict: Decision) {
        let tally = match verdict.to {
            Ok(topic) => self.sends.entry(topic).or_default(),
            Err(why) => self.skipped.entry(why).or_default(),
        };
        tally.add(&verdict.reason);
    }

    fn count(&self) -> usize {
        self.sends.values().map(Tally::total).sum()
    }

    fn tell(&self, screen: &mut Screen<'_>) -> std::io::Result<()> {
        for (topic, tally) in &self.sends {
            writeln!(screen.out, "to {topic}: {tally}")?;
        }
        for (why, tally) in &self.skipped {
            writeln!(screen.out, "not sent: {tally}, {why}")?;
        }
        Ok(())
    }
}

/// The decision on a letter.
struct Decision {
    to: Result<String, Skipped>,
    reason: String,
}

/// Looks at all letters; with a limit, also returns the places of the chosen ones.
async fn look(
    letters: &Letters<'_>,
    targets: &Targets<'_>,
) -> anyhow::Result<(Plan, Option<BTreeSet<LetterOrder>>)> {
    let mut plan = Plan::default();
    let mut newest = letters.filter.limit.map(Newest::new);
    let mut reading = letters.reading();
    while let Some(letter) = letters.next(&mut reading).await? {
        let verdict = Decision {
            to: targets.of(&letter).map(|(topic, _)| topic),
            reason: letter.reason().into_owned(),
        };
        match &mut newest {
            Some(newest) => newest.put(letter.place(), verdict),
            None => plan.add(verdict),
        }
    }
    let chosen = newest.map(|newest| {
        let kept = newest.into_kept();
        let places = kept.keys().copied().collect();
        for verdict in kept.into_values() {
            plan.add(verdict);
        }
        places
    });
    Ok((plan, chosen))
}

#[derive(Debug, Default)]
struct Sent {
    acknowledged: usize,
    failed: usize,
    /// The first [`FAILURES_SHOWN`] failures.
    failures: Vec<String>,
}

impl Sent {
    fn fail(&mut self, place: &str, why: &dyn std::fmt::Display) {
        self.failed += 1;
        if self.failures.len() < FAILURES_SHOWN {
            self.failures.push(format!("{place}: {why}"));
        }
    }
}

type Report = oneshot::Receiver<Result<Appended, DeliveryFailed>>;

async fn send(
    letters: &Letters<'_>,
    targets: &Targets<'_>,
    chosen: Option<&BTreeSet<LetterOrder>>,
) -> anyhow::Result<Sent> {
    let output = output(letters)?;
    let mut sent = Sent::default();
    let mut waiting: VecDeque<(String, Report)> = VecDeque::new();
    let mut reading = letters.reading();
    while let Some(letter) = letters.next(&mut reading).await? {
        let Ok((topic, partition)) = targets.of(&letter) else {
            continue;
        };
        if chosen.is_some_and(|chosen| !chosen.contains(&letter.place())) {
            continue;
        }
        if waiting.len() >= IN_FLIGHT {
            settle(&mut waiting, &mut sent).await;
        }
        let place = format!("{}:{}", letter.partition, letter.record.offset);
        let headers = letter.original_headers();
        let record = OutRecord {
            partition,
            headers: &headers,
            ..OutRecord::to(
                &topic,
                letter.record.key.as_deref(),
                letter.record.value.as_deref(),
            )
        };
        let (sender, report) = oneshot::channel();
        let deadline = Instant::now() + DELIVERY;
        match output
            .send_by(&record, Delivery::Report(sender), deadline)
            .await
        {
            Ok(()) => waiting.push_back((place, report)),
            Err(refused) => sent.fail(&place, &refused.reason),
        }
    }
    while !waiting.is_empty() {
        settle(&mut waiting, &mut sent).await;
    }
    Ok(sent)
}

/// Waits for the oldest report; the producer gives one within [`DELIVERY`].
async fn settle(waiting: &mut VecDeque<(String, Report)>, sent: &mut Sent) {
    let Some((place, report)) = waiting.pop_front() else {
        return;
    };
    match report.await {
        Ok(Ok(_)) => sent.acknowledged += 1,
        Ok(Err(failed)) => sent.fail(&place, &failed),
        Err(_) => sent.fail(&place, &"the producer ended without a word about it"),
    }
}

fn output(letters: &Letters<'_>) -> anyhow::Result<Output> {
    let largest = u32::try_from(topics::largest_record(letters.topology)).unwrap_or(u32::MAX);
    let options =
        OutputOptions::new(client(&letters.topology.deployment.kafka).named("dlq-replay"));
    Ok(Output::new(&OutputOptions {
        max_record_bytes: largest,
        // Room for at least one of the largest records.
        queue_kbytes: options.queue_kbytes.max(largest / 512),
        delivery_timeout: Some(DELIVERY),
        ..options
    })?)
}

fn records(count: usize) -> String {
    match count {
        1 => "1 record".to_owned(),
        count => format!("{count} records"),
    }
}
