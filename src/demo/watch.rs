//! The demo's view of its stream, read from topics that any other client could read.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Instant;

use super::changes::Changes;
use super::effect::{Place, Told};
use super::tally::Tally;
use super::world::LiveWorld;
use crate::app::client;
use crate::clock::Clock;
use crate::codec::{Decoded, Decoder, LogRecord, Schemas};
use crate::invalidation::log::{ReaderEvent, StoredRecord};
use crate::kafka::{KafkaError, PartitionReader, ReaderOptions};
use crate::model::Position;
use crate::topology::Topology;
use crate::topology::settings::Topic;

/// Everything seen so far; cheap to clone.
#[derive(Clone)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    began: Instant,
    decoder: Decoder,
}

/// Everything seen: answers and their costs, changes and their effects.
#[derive(Debug, Default)]
pub struct Seen {
    pub tally: Tally,
    pub changes: Changes,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            seen: Arc::default(),
            began: Instant::now(),
            decoder: Decoder::new(Arc::new(Schemas::embedded()), usize::MAX),
        }
    }

    /// Locks what was seen; the readers and the season wait until the guard is dropped.
    pub fn look(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock()
    }

    /// Starts readers of the answers, the invalidation log and the change topics; vendor changes
    /// are applied to `world`.
    pub(super) fn follow(
        &self,
        topology: &Topology,
        world: &Arc<LiveWorld>,
    ) -> Result<Vec<PartitionReader>, KafkaError> {
        let topics = &topology.deployment.topics;
        let mut readers = Vec::new();
        let mut read = |topic: &Topic, partition, follow: Follow| {
            let name = format!("watch-{}-{partition}", topic.role.as_str());
            let options = ReaderOptions {
                partition,
                ..ReaderOptions::new(
                    client(&topology.deployment.kafka).named(&name),
                    topic.name.to_string(),
                )
            };
            PartitionReader::spawn(options, follow).map(|reader| readers.push(reader))
        };
        for partition in partitions(&topics.answers) {
            let watch = self.clone();
            let follow = move |events| watch.answers(events);
            read(&topics.answers, partition, Box::new(follow))?;
        }
        let watch = self.clone();
        let follow = move |events| watch.log(events);
        read(&topics.invalidations, 0, Box::new(follow))?;
        for partition in partitions(&topics.vendor_changes) {
            let source = self.source(&topics.vendor_changes, partition);
            let world = Arc::clone(world);
            let follow = move |events| source.vendor_changes(events, &world);
            read(&topics.vendor_changes, partition, Box::new(follow))?;
        }
        for partition in partitions(&topics.wedding_updates) {
            let source = self.source(&topics.wedding_updates, partition);
            let follow = move |events| source.wedding_updates(events);
            read(&topics.wedding_updates, partition, Box::new(follow))?;
        }
        Ok(readers)
    }

    fn source(&self, topic: &Topic, partition: i32) -> WatchedPartition {
        WatchedPartition {
            watch: self.clone(),
            topic: topic.name.to_string(),
            partition,
        }
    }

    fn answers(&self, events: Vec<ReaderEvent>) {
        for record in records(events) {
            let value = record.value.as_deref();
            let Decoded::Event(answer) = self.decoder.decode_answer(value) else {
                continue;
            };
            let mut seen = self.look();
            seen.tally.answer(&answer, self.began);
            seen.changes.answer(answer);
        }
    }

    fn log(&self, events: Vec<ReaderEvent>) {
        let mut seen = self.look();
        for event in events {
            match event {
                ReaderEvent::Record(record) => {
                    let (key, value) = (record.key.as_deref(), record.value.as_deref());
                    let decoded = LogRecord::decode(key, value);
                    let now = Clock::System.now();
                    seen.changes.log_record(record.offset, &decoded, now);
                }
                ReaderEvent::Position(position) | ReaderEvent::CaughtUp { position } => {
                    seen.changes.log_position(Position(position));
                }
                _ => {}
            }
        }
    }
}

type Follow = Box<dyn FnMut(Vec<ReaderEvent>) + Send>;

/// A partition of a change topic, with the watch that its records go to.
struct WatchedPartition {
    watch: Watch,
    topic: String,
    partition: i32,
}

impl WatchedPartition {
    fn vendor_changes(&self, events: Vec<ReaderEvent>, world: &LiveWorld) {
        let partition = usize::try_from(self.partition).unwrap_or_default();
        for event in events {
            match event {
                ReaderEvent::Record(record) => {
                    let value = record.value.as_deref();
                    match self.watch.decoder.decode_vendor_change(value) {
                        Decoded::Event(change) => world.change(&change, |after| {
                            self.tell(&record, Told::vendor(&change, after));
                        }),
                        Decoded::Tombstone => {}
                        Decoded::Rejected(_) | Decoded::Unresolved { .. } => {
                            self.tell(&record, Told::unreadable(record.key.as_deref()));
                        }
                    }
                    world.read(partition, record.offset + 1);
                }
                ReaderEvent::Position(position) | ReaderEvent::CaughtUp { position } => {
                    world.read(partition, position);
                }
                _ => {}
            }
        }
    }

    fn wedding_updates(&self, events: Vec<ReaderEvent>) {
        for record in records(events) {
            let value = record.value.as_deref();
            match self.watch.decoder.decode_wedding_update(value) {
                Decoded::Event(update) => self.tell(&record, Told::wedding(&update)),
                Decoded::Tombstone => {}
                Decoded::Rejected(_) | Decoded::Unresolved { .. } => {
                    self.tell(&record, Told::unreadable(record.key.as_deref()));
                }
            }
        }
    }

    fn tell(&self, record: &StoredRecord, told: Told) {
        let place: Place = (self.topic.clone(), self.partition, record.offset);
        let mut seen = self.watch.look();
        seen.changes.change(place, record.timestamp, told);
    }
}

fn partitions(topic: &Topic) -> std::ops::Range<i32> {
    0..i32::from(topic.partitions)
}

fn records(events: Vec<ReaderEvent>) -> impl Iterator<Item = StoredRecord> {
    events.into_iter().filter_map(|event| match event {
        ReaderEvent::Record(record) => Some(record),
        _ => None,
    })
}
