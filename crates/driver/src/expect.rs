//! Compares what a case expects with what came out.

use std::fmt::{self, Write as _};

use wedcache_model::{AiAnswer, CacheMetric, TagInvalidation};
use wedcache_rules::topology::cases::{
    Expectation, ExpectedAnswer, ExpectedDeadLetter, ExpectedInvalidation, ExpectedMetric,
};

use super::{Collected, DeadLetter, Reply};

/// One thing that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is about: `answer to q-1, data`.
    pub what: String,
    /// None where nothing of the kind was expected.
    pub expected: Option<String>,
    /// None where nothing of the kind came out.
    pub actual: Option<String>,
}

/// As in a unified diff: what was expected goes, what came out comes.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        for (sign, side) in [('-', &self.expected), ('+', &self.actual)] {
            for line in side.iter().flat_map(|text| text.lines()) {
                writeln!(f, "  {sign} {line}")?;
            }
        }
        Ok(())
    }
}

/// All differences; a list that the expectation leaves out is not looked at.
pub(super) fn compare(expected: &Expectation, seen: &Collected) -> Vec<Difference> {
    let mut differences = Vec::new();
    if let Some(answers) = &expected.answers {
        compare_answers(answers, &seen.answers, &mut differences);
    }
    if let Some(invalidations) = &expected.invalidations {
        let actual = seen.invalidations.iter().map(|(_, record)| record);
        pair_off("invalidation", invalidations, actual, &mut differences);
    }
    if let Some(metrics) = &expected.metrics {
        pair_off(
            "metric",
            &repeated(metrics),
            &seen.metrics,
            &mut differences,
        );
    }
    if let Some(dead_letters) = &expected.dead_letters {
        pair_off(
            "dead letter",
            dead_letters,
            &seen.dead_letters,
            &mut differences,
        );
    }
    if let Some(calls) = expected.calls
        && calls as usize != seen.calls.len()
    {
        differences.push(Difference {
            what: "calls".to_owned(),
            expected: Some(calls.to_string()),
            actual: Some(seen.calls.len().to_string()),
        });
    }
    differences
}

/// Answers are found by their query, so that what differs in them can be told field by field.
fn compare_answers(expected: &[ExpectedAnswer], seen: &[Reply], differences: &mut Vec<Difference>) {
    let mut rest: Vec<&AiAnswer<'_>> = seen.iter().map(|reply| &reply.answer).collect();
    for want in expected {
        match rest
            .iter()
            .position(|answer| answer.query_id == want.query_id)
        {
            Some(at) => compare_answer(want, rest.remove(at), differences),
            None => differences.push(Difference {
                what: format!("answer to {}", want.query_id),
                expected: Some("an answer".to_owned()),
                actual: Some("none".to_owned()),
            }),
        }
    }
    differences.extend(rest.into_iter().map(|answer| Difference {
        what: format!("answer to {}", answer.query_id),
        expected: Some("none".to_owned()),
        actual: Some(summary(answer)),
    }));
}

fn compare_answer(want: &ExpectedAnswer, answer: &AiAnswer<'_>, differences: &mut Vec<Difference>) {
    let name = |name: Option<&str>| name.unwrap_or("null").to_owned();
    let text = |text: &str| format!("{text:?}");
    let error = answer.error.as_ref();
    let mut field = |field: &str, expected: Option<String>, actual: String| {
        if let Some(expected) = expected
            && expected != actual
        {
            let what = format!("answer to {}, {field}", want.query_id);
            differences.push(Difference {
                what,
                expected: Some(expected),
                actual: Some(actual),
            });
        }
    };
    let status = match error {
        // Why there is no answer explains all the rest.
        Some(error) => format!(
            "{} ({}: {})",
            answer.status.as_str(),
            error.code,
            error.message
        ),
        None => answer.status.as_str().to_owned(),
    };
    let same_status = want.status.is_none_or(|status| status == answer.status);
    field(
        "status",
        want.status
            .filter(|_| !same_status)
            .map(|of| of.as_str().to_owned()),
        status,
    );
    field(
        "error",
        want.error.clone(),
        name(error.map(|error| error.code.as_str())),
    );
    field(
        "data",
        want.data.as_deref().map(text),
        answer.data.as_deref().map_or_else(|| name(None), text),
    );
    field(
        "source",
        want.source.map(|of| of.as_str().to_owned()),
        answer.source.as_str().to_owned(),
    );
    field(
        "layer",
        want.layer.map(|of| of.as_str().to_owned()),
        name(answer.layer.map(wedcache_model::LayerName::as_str)),
    );
    field(
        "freshness",
        want.freshness.map(|of| of.as_str().to_owned()),
        name(answer.freshness.map(wedcache_model::Freshness::as_str)),
    );
    field(
        "staleReason",
        want.stale_reason.map(|of| of.as_str().to_owned()),
        name(answer.stale_reason.map(wedcache_model::StaleReason::as_str)),
    );
    field(
        "coalesced",
        want.coalesced.map(|of| of.to_string()),
        answer.coalesced.to_string(),
    );
    let same_age = match (want.age_secs, answer.age_secs) {
        (Some(want), Some(age)) => (want - age).abs() < 0.001,
        (want, _) => want.is_none(),
    };
    let age = answer
        .age_secs
        .map_or_else(|| name(None), |age| age.to_string());
    field(
        "ageSecs",
        want.age_secs
            .filter(|_| !same_age)
            .map(|age| age.to_string()),
        age,
    );
    field(
        "cacheKey",
        want.cache_key.clone(),
        answer.cache_key.to_string(),
    );
    let lacks = |tag: &&String| !answer.tags.iter().any(|of| of == tag.as_str());
    let lacking: Vec<_> = want.tags.iter().filter(lacks).collect();
    if !lacking.is_empty() {
        let lines = |tags: &[&str]| tags.join("\n");
        let lacking: Vec<&str> = lacking.into_iter().map(String::as_str).collect();
        let actual: Vec<&str> = answer.tags.iter().map(AsRef::as_ref).collect();
        field("tags", Some(lines(&lacking)), lines(&actual));
    }
}

/// An answer that nobody expected, in a line.
fn summary(answer: &AiAnswer<'_>) -> String {
    let mut line = format!("{} from {}", answer.status.as_str(), answer.source.as_str());
    if let Some(data) = &answer.data {
        write!(line, ": {data:?}").expect("writing to a string cannot fail");
    }
    line
}

/// An expectation that stands for one thing that came out.
trait Expected<A> {
    fn fits(&self, actual: &A) -> bool;
    fn show(&self) -> String;
    /// The thing with the fields that expectations can name.
    fn show_actual(actual: &A) -> String;
}

/// Gives each expectation one thing that fits it; what is left over on either side differs.
/// Of expectations that fit the same things the one that says more chooses first.
fn pair_off<'a, E: Expected<A>, A: 'a>(
    what: &str,
    expected: &[E],
    actual: impl IntoIterator<Item = &'a A>,
    differences: &mut Vec<Difference>,
) {
    let mut rest: Vec<&A> = actual.into_iter().collect();
    let mut choosing: Vec<&E> = expected.iter().collect();
    choosing.sort_by_key(|want| rest.iter().filter(|actual| want.fits(actual)).count());
    let mut missing = Vec::new();
    for want in choosing {
        match rest.iter().position(|actual| want.fits(actual)) {
            Some(at) => drop(rest.remove(at)),
            None => missing.push(want.show()),
        }
    }
    differences.extend(missing.into_iter().map(|want| Difference {
        what: format!("{what} missing"),
        expected: Some(want),
        actual: None,
    }));
    differences.extend(rest.into_iter().map(|actual| Difference {
        what: format!("{what} not expected"),
        expected: None,
        actual: Some(E::show_actual(actual)),
    }));
}

impl Expected<TagInvalidation> for ExpectedInvalidation {
    fn fits(&self, actual: &TagInvalidation) -> bool {
        self.tag == actual.tag
            && self.mode == actual.mode
            && self.rule.as_ref().is_none_or(|rule| *rule == actual.rule)
    }

    fn show(&self) -> String {
        let rule = self
            .rule
            .as_ref()
            .map_or_else(String::new, |rule| format!(" by {rule}"));
        format!("{} {}{rule}", self.mode.as_str(), self.tag)
    }

    fn show_actual(actual: &TagInvalidation) -> String {
        format!("{} {} by {}", actual.mode.as_str(), actual.tag, actual.rule)
    }
}

impl Expected<DeadLetter> for ExpectedDeadLetter {
    fn fits(&self, actual: &DeadLetter) -> bool {
        let key = self.key.as_ref().map(String::as_bytes);
        self.reason == actual.reject.reason.as_str()
            && (key.is_none() || key == actual.key.as_deref())
    }

    fn show(&self) -> String {
        let key = self
            .key
            .as_ref()
            .map_or_else(String::new, |key| format!(" of key {key}"));
        format!("{}{key}", self.reason)
    }

    fn show_actual(actual: &DeadLetter) -> String {
        let key = actual.key.as_deref().map(String::from_utf8_lossy);
        let key = key.map_or_else(String::new, |key| format!(" of key {key}"));
        format!(
            "{}{key}: {}",
            actual.reject.reason.as_str(),
            actual.reject.detail
        )
    }
}

fn repeated(metrics: &[ExpectedMetric]) -> Vec<ExpectedMetric> {
    let times = |of: &ExpectedMetric| std::iter::repeat_n(of.clone(), of.count as usize);
    metrics.iter().flat_map(times).collect()
}

impl Expected<CacheMetric<'static>> for ExpectedMetric {
    fn fits(&self, actual: &CacheMetric<'static>) -> bool {
        self.operation == actual.operation
            && self
                .cache_type
                .as_ref()
                .is_none_or(|of| *of == actual.cache_type)
            && (self.layer.is_none() || self.layer == actual.layer)
            && self
                .coalesced
                .is_none_or(|coalesced| coalesced == actual.coalesced)
    }

    fn show(&self) -> String {
        metric(
            self.operation.as_str(),
            self.cache_type.as_deref(),
            self.layer.map(wedcache_model::LayerName::as_str),
            self.coalesced,
        )
    }

    fn show_actual(actual: &CacheMetric<'static>) -> String {
        metric(
            actual.operation.as_str(),
            Some(&actual.cache_type),
            actual.layer.map(wedcache_model::LayerName::as_str),
            Some(actual.coalesced).filter(|coalesced| *coalesced),
        )
    }
}

fn metric(
    operation: &str,
    cache_type: Option<&str>,
    layer: Option<&str>,
    coalesced: Option<bool>,
) -> String {
    let mut text = operation.to_owned();
    if let Some(cache_type) = cache_type {
        text = format!("{text} of {cache_type}");
    }
    if let Some(layer) = layer {
        text = format!("{text} in {layer}");
    }
    match coalesced {
        Some(true) => format!("{text}, coalesced"),
        Some(false) => format!("{text}, not coalesced"),
        None => text,
    }
}
