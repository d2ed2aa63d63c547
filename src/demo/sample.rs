//! Samples for a stream that runs elsewhere: sends the season's questions and changes to its topics
//! and counts the answers in its answers' topic.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::play::Sender;
use super::season::Season;
use super::tally::Tally;
use crate::app::client;
use crate::codec::{Decoded, Decoder, Schemas};
use crate::kafka::bare::Reader;
use crate::kafka::{Admin, IntakeOptions, KafkaError};
use crate::topology::Topology;

/// The time that the reader of the answers waits for a record before it checks whether to end.
const READ_WAIT: Duration = Duration::from_millis(100);
/// The longest wait for the ends of the answers' topic.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that sends questions and changes, and counts the answers to its own questions.
pub struct Sampler {
    season: Season,
    sender: Sender,
    /// The prefix of the sampler's query ids.
    ids: String,
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    reader: JoinHandle<()>,
}

impl Sampler {
    /// Starts to read the answers' topic from its current end. `ids` is the prefix of the sampler's
    /// query ids, and must differ from every other run's.
    pub async fn start(topology: &Topology, ids: &str, seed: u64) -> Result<Self, KafkaError> {
        let kafka = client(&topology.deployment.kafka).named("sample");
        let answers = topology.deployment.topics.answers.name.to_string();
        // Before the first question, so that no answer to one is missed.
        let ends = Admin::new(&kafka, PATIENCE)?.ends(&answers).await?;
        let ends: Vec<i64> = ends.into_iter().map(|(_, next)| next).collect();
        let input = IntakeOptions::new(kafka, "wedcache-sample", vec![answers]);
        let reader = Reader::new(&input, &ends)?;
        let (tally, stop) = (Arc::<Mutex<Tally>>::default(), Arc::<AtomicBool>::default());
        let (counts, ended) = (Arc::clone(&tally), Arc::clone(&stop));
        let own = format!("{ids}-");
        let name = "sample-answers".to_owned();
        let reader = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || follow(&reader, &counts, &ended, &own))
            .map_err(|source| KafkaError::Thread { name, source })?;
        Ok(Self {
            season: Season::named(seed, ids),
            sender: Sender::new(topology)?,
            ids: ids.to_owned(),
            tally,
            stop,
            reader,
        })
    }

    /// Sends the next question.
    pub fn ask(&mut self) {
        let (id, query) = self.season.query();
        look(&self.tally).asked(id.clone());
        self.sender.query(&id, &query);
    }

    /// Sends the next changes: one of a vendor, and every second time one of a wedding. Returns the
    /// number sent.
    pub fn change(&mut self, number: u64) -> u64 {
        let mut sent = 0;
        if let Some(change) = self.season.vendor_change() {
            self.sender.vendor(&change);
            sent += 1;
        }
        if number.is_multiple_of(2) {
            self.sender.wedding(&self.season.wedding_update());
            sent += 1;
        }
        sent
    }

    /// Returns the prefix of the sampler's query ids.
    pub fn ids(&self) -> &str {
        &self.ids
    }

    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        look(&self.tally)
    }

    /// Stops reading. Blocks for up to 100 ms.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.reader.join().is_err() {
            tracing::warn!("the reader of the answers panicked");
        }
    }
}

/// Counts the answers to the questions whose ids begin with `ids`.
fn follow(reader: &Reader, tally: &Mutex<Tally>, stop: &AtomicBool, ids: &str) {
    let decoder = Decoder::new(Arc::new(Schemas::embedded()), usize::MAX);
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let Some(record) = reader.next(READ_WAIT) else {
            continue;
        };
        if let Decoded::Event(answer) = decoder.decode_answer(Some(&record.value))
            && answer.query_id.starts_with(ids)
        {
            look(tally).answer(&answer, began);
        }
    }
}

/// Locks the tally. A panic elsewhere leaves no count half done, so a poisoned lock is no reason to
/// stop.
fn look(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock()
}
