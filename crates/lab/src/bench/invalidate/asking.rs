//! A steady stream of queries, and a count of the answers made before a change.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bench::BenchError;
use crate::bench::contestants::blocking;
use crate::bench::queries::Queries;
use crate::bench::stage::Stage;
use wedcache::kafka::bare::Reader;
use wedcache::kafka::{Delivery, OutRecord, Output, OutputOptions};
use wedcache::topology::settings::Role;

const POLL_WAIT: Duration = Duration::from_millis(20);
const ROOM_WAIT: Duration = Duration::from_secs(1);
const FLUSH_WAIT: Duration = Duration::from_secs(10);
const LINGER: Duration = Duration::from_millis(1);
/// The step from one key to the next: a prime, so that all keys have their turn before one repeats.
const STRIDE: usize = 7919;

/// Two threads: one asks, one reads the answers.
pub(super) struct Asking {
    stop: Arc<AtomicBool>,
    ear: Arc<Mutex<Ear>>,
    output: Output,
    threads: [JoinHandle<()>; 2],
}

/// The marker of old answers, and what was counted of them.
#[derive(Debug, Default)]
struct Ear {
    marker: Vec<u8>,
    heard: Heard,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    pub(super) old_answers: u64,
    pub(super) last_old_at: Option<Instant>,
}

impl Asking {
    pub(super) fn start(stage: &Stage, queries: Queries, per_sec: u32) -> Result<Self, BenchError> {
        let stop = Arc::<AtomicBool>::default();
        let ear = Arc::<Mutex<Ear>>::default();
        let answers = stage.topic(Role::Answers);
        let partitions = stage.partitions(Role::Answers).unsigned_abs() as usize;
        let reader = Reader::new(&stage.input(answers), &vec![0; partitions])?;
        let output = Output::new(&OutputOptions {
            linger: LINGER,
            ..OutputOptions::new(stage.client.named("asking"))
        })?;
        let topic = Arc::clone(stage.topic(Role::Queries));
        let (told, its_ear) = (Arc::clone(&stop), Arc::clone(&ear));
        let listen = move || {
            while !told.load(Ordering::Relaxed) {
                if let Some(record) = reader.next(POLL_WAIT) {
                    lock(&its_ear).hear(&record.value);
                }
            }
        };
        let told = Arc::clone(&stop);
        let queue = output.clone();
        let ask = move || {
            let start = Instant::now();
            let mut asked = 0_u32;
            while !told.load(Ordering::Relaxed) {
                let due = start + Duration::from_secs(1) * asked / per_sec;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let number = asked as usize * STRIDE % queries.keys;
                let (key, value) = queries.record(number);
                let record = OutRecord::to(&topic, Some(key.as_bytes()), Some(&value));
                if let Err(refused) = queue.send_or_wait(&record, Delivery::Forget, ROOM_WAIT) {
                    tracing::warn!(reason = %refused.reason, "a query was refused");
                }
                asked += 1;
            }
        };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(work)
        };
        Ok(Self {
            threads: [
                spawn("listen", Box::new(listen))?,
                spawn("ask", Box::new(ask))?,
            ],
            stop,
            ear,
            output,
        })
    }

    /// Counts, from now on, answers that contain the marker as old ones; the count starts at 0.
    pub(super) fn watch(&self, marker: &str) {
        *lock(&self.ear) = Ear {
            marker: marker.as_bytes().to_vec(),
            heard: Heard::default(),
        };
    }

    pub(super) fn heard(&self) -> Heard {
        lock(&self.ear).heard
    }

    /// Ends both threads and flushes the queries.
    pub(super) async fn stop(self) -> Result<(), BenchError> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = self.threads;
        let ended = blocking(move || threads.map(JoinHandle::join)).await?;
        self.output.flush(FLUSH_WAIT).await;
        if ended.iter().any(Result::is_err) {
            return Err(std::io::Error::other("a thread that asks or reads panicked").into());
        }
        Ok(())
    }
}

impl Ear {
    fn hear(&mut self, answer: &[u8]) {
        let marker = &self.marker;
        if marker.is_empty() || !answer.windows(marker.len()).any(|part| part == marker) {
            return;
        }
        self.heard.old_answers += 1;
        self.heard.last_old_at = Some(Instant::now());
    }
}

fn lock(ear: &Mutex<Ear>) -> MutexGuard<'_, Ear> {
    ear.lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_with_the_marker_are_old() {
        let mut ear = Ear::default();
        ear.hear(b"before change 1. Ask");
        assert_eq!(ear.heard.old_answers, 0);
        ear.marker = b"before change 1. ".to_vec();
        for answer in [&b"{before change 1. Ask}"[..], b"before change 0. Ask", b""] {
            ear.hear(answer);
        }
        assert_eq!(ear.heard.old_answers, 1);
        assert!(ear.heard.last_old_at.is_some());
    }
}
