//! The test cases, checked as far as is possible without running them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use wedcache_model::invalidation::UNREADABLE_RULE;
use wedcache_model::{Catalog, Timestamp};

use super::Build;
use crate::invalidation::rule::Rules;
use crate::topology::cases::{
    Action, Case, CaseShape, Expectation, MockedCall, RawRecord, RecordShape, Reply, ReplyShape,
    Step, StepShape,
};
use crate::topology::problem::{Code, Problem, Span};
use crate::topology::units::At;

impl Build<'_> {
    pub(super) fn cases(
        &mut self,
        shapes: Vec<CaseShape>,
        catalog: &Catalog,
        rules: &Arc<Rules>,
    ) -> Vec<Case> {
        let mut names: HashMap<String, Span> = HashMap::new();
        let mut cases = Vec::new();
        for shape in shapes {
            if let Some(first) = names.get(&shape.name.value) {
                let message = format!("two cases are called `{}`", shape.name.value);
                self.report(Problem::new(shape.name.span, message).also(*first, "the other one"));
            }
            names
                .entry(shape.name.value.clone())
                .or_insert(shape.name.span);
            cases.push(self.case(shape, catalog, rules));
        }
        cases
    }

    fn case(&mut self, shape: CaseShape, catalog: &Catalog, rules: &Rules) -> Case {
        let line = self.line(shape.name.span);
        let replies = shape
            .replies
            .into_iter()
            .map(|reply| self.reply(reply))
            .collect();
        if !shape
            .steps
            .iter()
            .any(|step| matches!(step.value, StepShape::Expect(_)))
        {
            self.report(
                Problem::new(
                    shape.steps.span,
                    "this case expects nothing, so it cannot fail",
                )
                .help("add a step `expect`"),
            );
        }
        let now = Timestamp::parse(&shape.now).unwrap_or_else(|_| {
            let message = format!("`{}` is not an instant", shape.now.value);
            self.report(
                Problem::new(shape.now.span, message)
                    .expected("expected RFC 3339, such as `2026-11-22T10:00:00Z`"),
            );
            Timestamp(0)
        });
        let mut asked = BTreeSet::new();
        let mut steps = Vec::new();
        for At { value, span } in shape.steps.value {
            let action = match value {
                StepShape::Query(query) => {
                    self.check_type(&query.query.cache_type, span, catalog);
                    asked.insert(query.query_id.clone());
                    Action::Query(*query)
                }
                StepShape::VendorChange(change) => {
                    if change.vendor_id.is_empty() && !change.is_heartbeat() {
                        let problem = Problem::new(span, "the field `vendorId` must be given");
                        let problem = problem.help("only a `heartbeat` names no vendor");
                        self.report(problem.code(Code::MissingField));
                    }
                    Action::VendorChange(*change)
                }
                StepShape::WeddingUpdate(update) => Action::WeddingUpdate(*update),
                StepShape::Record(record) => {
                    // The query's id is inside the record's bytes, so it is unknown here.
                    asked.insert(String::new());
                    Action::Record(self.record(record))
                }
                StepShape::Advance(time) => Action::Advance(time.0),
                StepShape::Expect(expected) => {
                    self.check_expectation(&expected, span, (catalog, rules, &asked));
                    Action::Expect(*expected)
                }
            };
            steps.push(Step {
                line: self.line(span),
                action,
            });
        }
        Case {
            name: shape.name.value,
            line,
            now,
            replies,
            steps,
        }
    }

    fn reply(&mut self, shape: ReplyShape) -> Reply {
        if let MockedCall::Status(status) = shape.reply.value
            && !(400..=599).contains(&status)
        {
            self.report(
                Problem::new(shape.reply.span, format!("{status} is not an error"))
                    .expected("expected an HTTP status from 400 to 599"),
            );
        }
        Reply {
            when: shape.when,
            times: shape.times,
            takes: shape.takes.0,
            outcome: shape.reply.value,
        }
    }

    fn record(&mut self, shape: RecordShape) -> RawRecord {
        let value = shape.value.value.bytes().unwrap_or_else(|()| {
            self.report(
                Problem::new(shape.value.span, "these are not bytes")
                    .expected("expected pairs of hexadecimal digits, such as `00 c3 01`"),
            );
            None
        });
        RawRecord {
            topic: shape.topic,
            key: shape.key.map(String::into_bytes),
            value,
        }
    }

    fn check_type(&mut self, name: &str, span: Span, catalog: &Catalog) {
        if catalog.get(name).is_none() && self.names("cache_types").is_some() {
            let known = catalog.types().iter().map(|of| &*of.name);
            let message = format!("there is no cache type `{name}`");
            self.report(Problem::new(self.find(span, name), message).choices(name, known));
        }
    }

    fn check_expectation(
        &mut self,
        expected: &Expectation,
        span: Span,
        (catalog, rules, asked): (&Catalog, &Rules, &BTreeSet<String>),
    ) {
        let raw = asked.contains("");
        for answer in expected.answers.iter().flatten() {
            if !raw && !asked.contains(&answer.query_id) {
                let message = format!("no query `{}` comes before this", answer.query_id);
                let place = self.find(span, &answer.query_id);
                let known = asked.iter().map(String::as_str);
                self.report(Problem::new(place, message).choices(&answer.query_id, known));
            }
        }
        for invalidation in expected.invalidations.iter().flatten() {
            let name = invalidation.tag.split('|').next().unwrap_or_default();
            self.check_type(name, self.find(span, &invalidation.tag), catalog);
            // If there are no rules, they are broken and have been reported, so there is nothing to
            // compare with.
            if let Some(rule) = invalidation
                .rule
                .as_deref()
                .filter(|rule| *rule != UNREADABLE_RULE)
                && !rules.is_empty()
                && rules.iter().all(|known| &*known.name != rule)
            {
                let place = self.find(span, rule);
                let known = rules.iter().map(|rule| &*rule.name);
                let message = format!("there is no rule `{rule}`");
                self.report(Problem::new(place, message).choices(rule, known));
            }
        }
        for metric in expected.metrics.iter().flatten() {
            if let Some(name) = &metric.cache_type {
                self.check_type(name, span, catalog);
            }
        }
    }

    /// Returns the next occurrence of a text from a place on; the place itself if there is none
    /// near.
    fn find(&self, from: Span, text: &str) -> Span {
        let near = self.text.get(from.start..).unwrap_or_default();
        match near.find(text) {
            Some(at) if !text.is_empty() && at < 2_000 => Span {
                start: from.start + at,
                len: text.len(),
            },
            _ => from,
        }
    }

    fn line(&self, span: Span) -> usize {
        self.text[..span.start.min(self.text.len())]
            .matches('\n')
            .count()
            + 1
    }
}
