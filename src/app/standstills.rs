//! Reports partitions that stand still: in the log, and as alerts that end when they move again.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::alerts::Alert;
use crate::clock::Clock;
use crate::kafka::standstill::{BadBatch, Standstill};
use crate::kafka::stats::IntakeStats;
use crate::model::Timestamp;
use crate::model::invalidation::Severity;
use crate::stages::alerting::Alerting;

const TELL_EVERY: Duration = Duration::from_mins(1);

/// The partition that has been standing still for the longest, for `/readyz`.
#[derive(Debug, Default)]
pub struct Standing(Mutex<Option<(Timestamp, String)>>);

impl Standing {
    /// Returns the time since which that partition has been standing still, and the summary.
    pub fn now(&self) -> Option<(Timestamp, String)> {
        self.0.lock().clone()
    }

    fn set(&self, worst: Option<(Timestamp, String)>) {
        *self.0.lock() = worst;
    }
}

/// A partition that stands still.
#[derive(Debug, Clone)]
pub struct Stands {
    pub topic: Arc<str>,
    pub partition: i32,
    /// The first offset of an input that was not taken in; `None` for the invalidation log.
    pub next: Option<i64>,
    pub lasts: Duration,
    pub why: Standstill,
}

impl Stands {
    pub fn of(stats: &IntakeStats) -> impl Iterator<Item = Self> + '_ {
        stats.partitions.iter().filter_map(|of| {
            let (lasts, why) = of.standstill?;
            Some(Self {
                topic: Arc::clone(&of.topic),
                partition: of.partition,
                next: Some(of.next_intake),
                lasts,
                why,
            })
        })
    }
}

/// The reports on the partitions that stand still.
pub struct Standstills {
    alerting: Arc<Alerting>,
    clock: Clock,
    standing: Arc<Standing>,
    /// The time of the last log line, by `topic[partition]`.
    told: BTreeMap<String, Instant>,
}

impl Standstills {
    pub fn new(alerting: Arc<Alerting>, clock: Clock, standing: Arc<Standing>) -> Self {
        Self {
            alerting,
            clock,
            standing,
            told: BTreeMap::new(),
        }
    }

    /// Takes the partitions that stand still now. To be called about every second.
    pub fn see(&mut self, standing: impl IntoIterator<Item = Stands>) {
        let (mut undecodable, mut stuck) = (Vec::new(), Vec::new());
        let (mut names, mut worst) = (Vec::new(), None);
        let now = self.clock.now();
        for partition in standing {
            let name = format!("{}[{}]", partition.topic, partition.partition);
            self.tell(&name, &partition);
            let (why, cure) = (partition.why, cure(&partition));
            let summary = format!("{name} stands still: {why}; {cure}");
            let since = (now.minus(partition.lasts), summary.clone());
            worst = worst.into_iter().chain([since]).min();
            let of = |alert| Alert::new(alert, Severity::Page, summary).of("partition", &name);
            match why {
                Standstill::Undecodable(_) => undecodable.push(of("records_undecodable")),
                Standstill::Transaction { .. } | Standstill::Unknown { .. } => {
                    stuck.push(of("partition_stuck"));
                }
            }
            names.push(name);
        }
        self.standing.set(worst);
        self.alerting.set("records_undecodable", undecodable);
        self.alerting.set("partition_stuck", stuck);
        let over = |name: &String| !names.contains(name);
        for (name, _) in self.told.extract_if(.., |name, _| over(name)) {
            tracing::info!(partition = name, "the partition moves again");
        }
    }

    /// Logs a line when a standstill begins, and one per minute while it lasts.
    fn tell(&mut self, name: &str, partition: &Stands) {
        let told = self.told.get(name);
        if told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        self.told.insert(name.to_owned(), Instant::now());
        let Stands {
            topic,
            partition: number,
            lasts,
            why,
            ..
        } = partition;
        let (secs, cure) = (lasts.as_secs(), cure(partition));
        tracing::error!(%topic, partition = number, secs, "the partition stands still: {why}; {cure}");
    }
}

/// Returns the remedy for a standstill.
fn cure(partition: &Stands) -> String {
    let Stands {
        topic,
        partition: number,
        ..
    } = partition;
    match (partition.why, partition.next) {
        (Standstill::Undecodable(BadBatch { offset, .. }), Some(next)) => format!(
            "mend it, or go on behind it: wedcache dlq skip {topic} {number} {} auto",
            next.min(offset)
        ),
        // No skip here: answers that a skipped invalidation forbids would be served.
        (Standstill::Undecodable(_), None) => {
            "mend it, or make the log again, which voids all entries".to_owned()
        }
        (Standstill::Transaction { .. }, _) => "end it, or abort it: \
             kafka-transactions.sh find-hanging names it"
            .to_owned(),
        (Standstill::Unknown { .. }, _) => "look at the partition's leader".to_owned(),
    }
}
