//! The season's way into Kafka: questions at their rate, changes in between.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::season::{Change, Season};
use super::watch::Watch;
use crate::app::client;
use crate::kafka::producer::OutputOptions;
use crate::kafka::{Delivery, KafkaError, OutRecord, Output};
use crate::topology::Topology;

/// The interval of the bursts in which questions are sent.
const TICK: Duration = Duration::from_millis(20);
/// The interval of vendor changes; wedding updates come half as often.
const CHANGE_EVERY: Duration = Duration::from_millis(1200);
/// The number of vendor changes from one closing to the next; the first closing comes with change
/// number [`FIRST_CLOSING`].
const CHANGES_PER_CLOSING: u32 = 6;
const FIRST_CLOSING: u32 = 3;

/// The season's producer and the topics it writes to.
pub(super) struct Sender {
    output: Output,
    queries: Arc<str>,
    vendors: Arc<str>,
    weddings: Arc<str>,
}

impl Sender {
    pub fn new(topology: &Topology) -> Result<Self, KafkaError> {
        let options = OutputOptions {
            linger: Duration::ZERO,
            ..OutputOptions::new(client(&topology.deployment.kafka).named("season"))
        };
        Ok(Self {
            output: Output::new(&options)?,
            queries: Arc::clone(&topology.deployment.topics.queries.name),
            vendors: Arc::clone(&topology.deployment.topics.vendor_changes.name),
            weddings: Arc::clone(&topology.deployment.topics.wedding_updates.name),
        })
    }

    fn send(&self, topic: &str, key: &str, value: &serde_json::Value) {
        let value = value.to_string();
        let record = OutRecord::to(topic, Some(key.as_bytes()), Some(value.as_bytes()));
        if let Err(refused) = self.output.send(&record, Delivery::Forget) {
            tracing::warn!(topic, reason = %refused.reason, "the season lost an event");
        }
    }

    pub fn query(&self, id: &str, query: &serde_json::Value) {
        self.send(&self.queries, id, query);
    }

    pub fn vendor(&self, change: &Change) {
        self.send(&self.vendors, &change.key, &change.event);
    }

    pub fn wedding(&self, change: &Change) {
        self.send(&self.weddings, &change.key, &change.event);
    }
}

/// The season's events, and the number of questions per second.
pub struct Script {
    pub season: Season,
    pub rate: u32,
}

/// The task that plays the season.
pub(super) struct Player {
    pub script: Script,
    pub sender: Sender,
    pub watch: Watch,
    /// The vendors to close at the request of the view.
    pub closings: mpsc::Receiver<String>,
}

impl Player {
    /// Plays until `stop`.
    pub async fn play(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        let mut changes = tokio::time::interval(CHANGE_EVERY);
        let per_tick = f64::from(self.script.rate) * TICK.as_secs_f64();
        let (mut owed, mut number) = (0.0, 0_u32);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {
                    owed += per_tick;
                    while owed >= 1.0 {
                        owed -= 1.0;
                        self.ask();
                    }
                }
                _ = changes.tick() => {
                    number += 1;
                    self.change(number);
                }
                Some(vendor) = self.closings.recv() => {
                    if let Some(change) = self.script.season.close(&vendor) {
                        self.sender.vendor(&change);
                    }
                }
            }
        }
    }

    fn ask(&mut self) {
        let (id, query) = self.script.season.query();
        self.watch.look().tally.asked(id.clone());
        self.sender.query(&id, &query);
    }

    /// Sends the changes of number `number`: one of a vendor, every second time one of a wedding,
    /// every [`CHANGES_PER_CLOSING`]-th time a closing.
    fn change(&mut self, number: u32) {
        let season = &mut self.script.season;
        if let Some(change) = season.vendor_change() {
            self.sender.vendor(&change);
        }
        if number.is_multiple_of(2) {
            self.sender.wedding(&season.wedding_update());
        }
        if number % CHANGES_PER_CLOSING == FIRST_CLOSING {
            for change in season.closing() {
                self.sender.vendor(&change);
            }
        }
    }
}
