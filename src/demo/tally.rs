//! The demo's counts of answers, made from the answers' topic as any other reader could.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::model::{AiAnswer, Freshness, LayerName, Source, Status};

/// The number of latest latencies that the percentiles are made of.
const LATENCIES: usize = 2000;
/// The most questions whose answers are timed at once; further ones are not timed.
const AWAITED: usize = 100_000;

#[derive(Debug, Default)]
pub struct Tally {
    pub asked: u64,
    pub answered: u64,
    pub memory: u64,
    pub disk: u64,
    pub redis: u64,
    pub called: u64,
    pub coalesced: u64,
    pub stale: u64,
    pub failed: u64,
    pub spent_usd: f64,
    pub saved_usd: f64,
    /// The time from the start of the demo to the first answer.
    pub first_answer: Option<Duration>,
    asked_at: HashMap<String, Instant>,
    latencies: VecDeque<Duration>,
}

impl Tally {
    pub fn asked(&mut self, query_id: String) {
        self.asked += 1;
        if self.asked_at.len() < AWAITED {
            self.asked_at.insert(query_id, Instant::now());
        }
    }

    /// Counts an answer; the demo began at `began`. An answer to a question that the season did not
    /// ask counts too, but without a latency.
    pub fn answer(&mut self, answer: &AiAnswer<'_>, began: Instant) {
        self.first_answer.get_or_insert_with(|| began.elapsed());
        self.answered += 1;
        if let Some(asked_at) = self.asked_at.remove(&*answer.query_id) {
            self.latencies.push_back(asked_at.elapsed());
            if self.latencies.len() > LATENCIES {
                self.latencies.pop_front();
            }
        }
        match (answer.status, answer.source, answer.layer) {
            (Status::Answered, Source::Cache, Some(LayerName::Memory)) => self.memory += 1,
            (Status::Answered, Source::Cache, Some(LayerName::Disk)) => self.disk += 1,
            (Status::Answered, Source::Cache, _) => self.redis += 1,
            (Status::Answered, ..) if answer.coalesced => self.coalesced += 1,
            (Status::Answered, ..) => self.called += 1,
            _ => self.failed += 1,
        }
        if answer.freshness == Some(Freshness::Stale) {
            self.stale += 1;
        }
        self.spent_usd += answer.cost_usd.unwrap_or(0.0);
        self.saved_usd += answer.saved_usd.unwrap_or(0.0);
    }

    pub fn hits(&self) -> u64 {
        self.memory + self.disk + self.redis
    }

    /// Returns the hits as a share of the answers, from 0 to 1.
    pub fn hit_rate(&self) -> f64 {
        share(self.hits(), self.answered)
    }

    /// Returns the latency that the share `of` of the latest answers did not exceed.
    pub fn percentile(&self, of: f64) -> Duration {
        let mut sorted: Vec<_> = self.latencies.iter().copied().collect();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let at = (sorted.len() as f64 * of) as usize;
        sorted
            .get(at.min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

/// Returns the part as a share of the whole, 0 where both are 0.
pub fn share(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a demo")]
    let share = part as f64 / whole.max(1) as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_where_they_came_from() {
        let mut tally = Tally::default();
        let answer = |source: &str, layer: &str, freshness: &str| {
            format!(
                r#"{{"answerId":"a","queryId":"q","status":"answered","data":"x","source":"{source}",
                "layer":{layer},"freshness":"{freshness}","staleReason":null,"coalesced":false,
                "cachedAt":null,"ageSecs":1.0,"cacheType":"t","cacheKey":"k","stamp":1,"view":1,
                "tags":[],"model":"m","promptTokens":0,"completionTokens":0,"costUsd":0.5,
                "savedUsd":0.25,"simulated":true,"error":null,"answeredAt":"2026-11-22T10:00:00Z"}}"#
            )
        };
        tally.asked("q".into());
        for json in [
            answer("cache", "\"memory\"", "fresh"),
            answer("cache", "\"disk\"", "stale"),
            answer("ai", "null", "fresh"),
        ] {
            tally.answer(&serde_json::from_str(&json).unwrap(), Instant::now());
        }
        assert_eq!(
            (tally.memory, tally.disk, tally.called, tally.stale),
            (1, 1, 1, 1)
        );
        assert!((tally.hit_rate() - 2.0 / 3.0).abs() < 1e-9);
        assert!((tally.spent_usd - 1.5).abs() < 1e-9);
    }
}
