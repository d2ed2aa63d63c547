//! The findings of a check, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::checker::Judgement;
use crate::model::{AiAnswer, Freshness, LayerName, StaleReason};

/// The most findings of each kind that are listed; all are counted.
const NAMED: usize = 100;
/// The most findings of each kind that people are shown.
const SHOWN: usize = 20;

/// The place of an answer in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerPlace {
    pub partition: i32,
    pub offset: i64,
}

/// An answer, and the reason why it is forbidden or was not judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    partition: i32,
    offset: i64,
    query_id: Option<String>,
    answer_id: Option<String>,
    why: String,
}

/// The outcome of a check.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    answers_topic: String,
    log_topic: String,
    pub invalidations: u64,
    /// The number of records in the log that wedcache did not write.
    pub foreign: u64,
    answers: u64,
    /// The number of answers by status, freshness, reason, source and layer.
    kinds: BTreeMap<String, u64>,
    forbidden: u64,
    violations: Vec<Finding>,
    unknown: u64,
    not_judged: Vec<Finding>,
}

impl Report {
    pub fn new(answers_topic: &str, log_topic: &str) -> Self {
        Self {
            answers_topic: answers_topic.to_owned(),
            log_topic: log_topic.to_owned(),
            invalidations: 0,
            foreign: 0,
            answers: 0,
            kinds: BTreeMap::new(),
            forbidden: 0,
            violations: Vec::new(),
            unknown: 0,
            not_judged: Vec::new(),
        }
    }

    /// Counts an answer by its kind and by the judgement on it.
    pub fn judged(&mut self, place: AnswerPlace, answer: &AiAnswer<'_>, judgement: Judgement) {
        self.answers += 1;
        let kind = kind(answer);
        if let Some(count) = self.kinds.get_mut(&kind) {
            *count += 1;
        } else {
            self.kinds.insert(kind, 1);
        }
        let finding = |why: String| Finding {
            query_id: Some(answer.query_id.to_string()),
            answer_id: Some(answer.answer_id.to_string()),
            ..Finding::at(place, why)
        };
        match judgement {
            Judgement::Allowed => {}
            Judgement::Forbidden(violation) => {
                self.forbidden += 1;
                name(&mut self.violations, || finding(violation.to_string()));
            }
            Judgement::Unknown(blind) => {
                self.unknown += 1;
                name(&mut self.not_judged, || finding(blind.to_string()));
            }
        }
    }

    /// Counts a record that cannot be judged because it cannot be read.
    pub fn unreadable(&mut self, place: AnswerPlace, why: String) {
        self.answers += 1;
        self.unknown += 1;
        name(&mut self.not_judged, || Finding::at(place, why));
    }

    pub fn exit_code(&self) -> u8 {
        match (self.forbidden, self.unknown) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 1,
        }
    }
}

impl Finding {
    fn at(place: AnswerPlace, why: String) -> Self {
        Self {
            partition: place.partition,
            offset: place.offset,
            query_id: None,
            answer_id: None,
            why,
        }
    }
}

fn name(found: &mut Vec<Finding>, finding: impl FnOnce() -> Finding) {
    if found.len() < NAMED {
        found.push(finding());
    }
}

fn kind(answer: &AiAnswer<'_>) -> String {
    let parts = [
        Some(answer.status.as_str()),
        answer.freshness.map(Freshness::as_str),
        answer.stale_reason.map(StaleReason::as_str),
        answer.data.is_some().then(|| answer.source.as_str()),
        answer.layer.map(LayerName::as_str),
    ];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    parts.join(" ")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (answers, log) = (&self.answers_topic, &self.log_topic);
        writeln!(
            f,
            "{} answers of {answers}, judged by {} invalidations of {log}",
            self.answers, self.invalidations
        )?;
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (kind, count) in kinds {
            writeln!(f, "{count:12}  {kind}")?;
        }
        if self.foreign > 0 {
            let foreign = self.foreign;
            writeln!(
                f,
                "warning: {foreign} records of the log are none of wedcache's"
            )?;
        }
        if self.unknown > 0 {
            writeln!(
                f,
                "NOT JUDGED: {} of {} answers; they may have been forbidden:",
                self.unknown, self.answers
            )?;
            self.list(f, &self.not_judged, self.unknown)?;
        }
        if self.forbidden > 0 {
            writeln!(
                f,
                "FORBIDDEN: {} of {} answers:",
                self.forbidden, self.answers
            )?;
            return self.list(f, &self.violations, self.forbidden);
        }
        writeln!(f, "no answer is known to be forbidden")
    }
}

impl Report {
    fn list(&self, f: &mut fmt::Formatter<'_>, findings: &[Finding], all: u64) -> fmt::Result {
        let topic = &self.answers_topic;
        let shown = findings.iter().take(SHOWN);
        let more = all - shown.len() as u64;
        for finding in shown {
            let (partition, offset) = (finding.partition, finding.offset);
            let query = finding.query_id.as_deref().unwrap_or("unreadable");
            writeln!(
                f,
                "  {topic}[{partition}]@{offset} {query}: {}",
                finding.why
            )?;
        }
        if more > 0 {
            writeln!(f, "  and {more} more; --json names up to {NAMED}")?;
        }
        Ok(())
    }
}
