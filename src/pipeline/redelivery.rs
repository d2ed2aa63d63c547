//! Answers that their topic did not take are sent again until it does.
//!
//! Whatever refused an answer (a permission that is missing for a while, a leader that moves, a
//! producer that had to be replaced), its query waits: held back, so that it alarms no watchdog, and
//! uncommitted. An answer that is larger than its topic takes would never arrive: its query gets a
//! failed one instead.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::outputs::Outputs;
use crate::backoff::{Backoff, Policy};
use crate::codec::{Decoded, Decoder, Registry, Resolved};
use crate::kafka::append::AppendError;
use crate::kafka::{OwnedRecord, Undelivered};
use crate::model::{AiAnswer, AnswerError, Source, Status};

/// So many are sent at once.
const AT_ONCE: usize = 64;
/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two rounds while the topic refuses.
const AGAIN: Policy = Policy::new(Duration::from_millis(500), Duration::from_secs(15));
/// While the topic refuses, it is said so often.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Sends again what the answers' producer returned.
pub struct Redelivery {
    pub outputs: Outputs,
    /// Of the answers' format.
    pub decoder: Decoder,
    pub registry: Option<Arc<Registry>>,
}

/// An answer that is too large for its topic became a failed one; programs know it by this code.
pub const ANSWER_TOO_LARGE: &str = "answer_too_large";

impl Redelivery {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut refusal = Refused::default();
        let mut backoff = Backoff::new(AGAIN);
        loop {
            let returned = self.outputs.answers.returned();
            let batch = tokio::select! {
                () = stop.cancelled() => return,
                batch = returned.take(AT_ONCE) => batch,
            };
            let sent = join_all(batch.into_iter().map(|one| self.send(one))).await;
            let still: Vec<_> = sent.into_iter().flatten().collect();
            let Some((_, why)) = still.first() else {
                refusal.is_over();
                backoff.reset();
                continue;
            };
            refusal.tell(why, still.len());
            for (undelivered, _) in still {
                returned.put(undelivered);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// One try. What did not arrive comes back, with the reason.
    async fn send(&self, mut one: Undelivered) -> Option<(Undelivered, String)> {
        if one.ticket.comes_again() {
            // The partition's next owner answers it.
            one.ticket.finish();
            return None;
        }
        // By its batch's size an answer may have been refused that is small enough alone.
        let why = match self.append(&one.record).await {
            Ok(()) => {
                one.ticket.finish();
                return None;
            }
            Err(why) => why,
        };
        if why.too_large()
            && let Some(failed) = self.too_large(&one.record).await
        {
            tracing::error!(
                topic = one.record.topic,
                bytes = one.record.value.as_ref().map(Vec::len),
                "an answer is larger than its topic takes; its query gets a failed one: \
                 raise max.message.bytes (`wedcache topics plan` compares)"
            );
            one.record = failed;
            return match self.append(&one.record).await {
                Ok(()) => {
                    one.ticket.finish();
                    None
                }
                Err(why) => Some((one, why.to_string())),
            };
        }
        Some((one, why.to_string()))
    }

    async fn append(&self, record: &OwnedRecord) -> Result<(), AppendError> {
        let deadline = Instant::now() + PATIENCE;
        let single = &self.outputs.single;
        record
            .with(async |record| single.append(record, deadline).await)
            .await
            .map(|_| ())
    }

    /// The failed answer in place of one that is too large; `None` where it is one already, or cannot
    /// be read back.
    async fn too_large(&self, record: &OwnedRecord) -> Option<OwnedRecord> {
        let answer = self.read(record.value.as_deref()).await?;
        if answer.status == Status::Failed {
            return None;
        }
        let mut value = Vec::new();
        self.outputs
            .encoder
            .encode_answer(&without_data(answer), None, &mut value);
        Some(OwnedRecord {
            value: Some(value),
            ..record.clone()
        })
    }

    async fn read(&self, value: Option<&[u8]>) -> Option<AiAnswer<'static>> {
        for _ in 0..2 {
            match self.decoder.decode_answer(value) {
                Decoded::Event(answer) => return Some(answer),
                Decoded::Unresolved { schema_id } => {
                    let registry = self.registry.as_ref()?;
                    let Resolved::Known = registry.resolve(schema_id).await else {
                        return None;
                    };
                }
                Decoded::Tombstone | Decoded::Rejected(_) => return None,
            }
        }
        None
    }
}

/// What is said to the asker instead. The call was paid for: its cost stays.
fn without_data(answer: AiAnswer<'static>) -> AiAnswer<'static> {
    AiAnswer {
        status: Status::Failed,
        data: None,
        source: Source::None,
        layer: None,
        freshness: None,
        stale_reason: None,
        cached_at: None,
        age_secs: None,
        stamp: None,
        view: None,
        tags: Vec::new(),
        error: Some(AnswerError {
            code: ANSWER_TOO_LARGE.to_owned(),
            message: "the answer is larger than the answers' topic takes".to_owned(),
            retryable: false,
        }),
        cache_type: Cow::Owned(answer.cache_type.into_owned()),
        ..answer
    }
}

/// What the topic refuses now.
#[derive(Default)]
struct Refused {
    since: Option<Instant>,
    told: Option<Instant>,
}

impl Refused {
    fn tell(&mut self, why: &str, count: usize) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if self.told.is_none_or(|told| now - told >= TELL_EVERY) {
            self.told = Some(now);
            let secs = (now - since).as_secs();
            tracing::error!(
                why,
                count,
                secs,
                "answers are refused by their topic; their queries wait"
            );
        }
    }

    fn is_over(&mut self) {
        if let Some(since) = self.since.take() {
            self.told = None;
            let secs = since.elapsed().as_secs();
            tracing::info!(secs, "the answers' topic takes answers again");
        }
    }
}

#[cfg(test)]
mod tests;
