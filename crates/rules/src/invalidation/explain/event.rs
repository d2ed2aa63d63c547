//! The verdict of each rule on a change event.

use std::fmt;

use serde::Serialize;

use wedcache_model::{Catalog, Mode, Tag};

use super::super::plan::{Judge, Planned, RuleVerdict, plan};
use super::super::rule::{Change, Rule, Rules, Scope};

/// The result of an event, rule by rule, and its final invalidations.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventReport {
    /// The trigger, such as `vendor.price_changed`.
    pub trigger: String,
    pub event_id: String,
    /// True if the event only shows that an integration is alive.
    pub is_heartbeat: bool,
    /// The rules in the order written.
    pub rules: Vec<RuleReport>,
    /// The records for the log: each tag once, a purge absorbing a refresh.
    pub invalidations: Vec<PlannedReport>,
    /// Whole types that are refreshed, at most once per interval, because the event lacks a value.
    pub refresh_types: Vec<PlannedReport>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleReport {
    pub rule: String,
    pub on: String,
    pub scope: Scope,
    pub mode: Mode,
    pub finding: Finding,
    /// The condition, if the rule is active, has this trigger, and has a condition.
    pub condition: Option<ConditionReport>,
    /// The tags that the rule invalidates.
    pub tags: Vec<String>,
}

/// The verdict of a rule on an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Fires,
    Inactive,
    OtherTrigger,
    ConditionFalse,
    /// The condition could not be evaluated, which counts as holding: the rule fires.
    ConditionFailed,
    /// The rule fires, but the event lacks a value that its scope needs: the invalidation is
    /// widened.
    ScopeValueMissing,
}

impl Finding {
    fn as_text(self) -> &'static str {
        match self {
            Self::Fires => "fires",
            Self::Inactive => "inactive",
            Self::OtherTrigger => "other trigger",
            Self::ConditionFalse => "condition false",
            Self::ConditionFailed => "condition failed",
            Self::ScopeValueMissing => "scope value missing",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionReport {
    /// The CEL text.
    pub text: String,
    /// The fields that the condition reads.
    pub fields: Vec<FieldValue>,
    /// The reason why the condition could not be evaluated.
    pub failure: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldValue {
    pub field: String,
    /// The value as a CEL literal; null if the event does not have the field.
    pub value: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedReport {
    pub tag: String,
    pub mode: Mode,
    pub rule: String,
}

impl From<&Planned> for PlannedReport {
    fn from(planned: &Planned) -> Self {
        Self {
            tag: planned.tag.as_str().to_owned(),
            mode: planned.mode,
            rule: planned.rule.to_string(),
        }
    }
}

/// Reports the verdict of `rules` on `change`; `record_key` is the key of its record if that is
/// text.
pub fn event(
    rules: &Rules,
    catalog: &Catalog,
    change: &Change,
    record_key: Option<&str>,
) -> EventReport {
    let judge = Judge::new(catalog, change, record_key);
    let plan = plan(rules, catalog, change, record_key);
    EventReport {
        trigger: change.trigger(),
        is_heartbeat: change.is_heartbeat(),
        event_id: change.event_id().to_owned(),
        rules: rules.iter().map(|rule| report(&judge, rule)).collect(),
        invalidations: plan.invalidations.iter().map(Into::into).collect(),
        refresh_types: plan.refresh_types.iter().map(Into::into).collect(),
    }
}

fn report(judge: &Judge<'_>, rule: &Rule) -> RuleReport {
    let (finding, tags, failure) = match judge.judge(rule) {
        RuleVerdict::Inactive => (Finding::Inactive, Vec::new(), None),
        RuleVerdict::OtherTrigger => (Finding::OtherTrigger, Vec::new(), None),
        RuleVerdict::ConditionFalse => (Finding::ConditionFalse, Vec::new(), None),
        RuleVerdict::Fires {
            tags,
            condition_failure: None,
        } => (Finding::Fires, tags, None),
        RuleVerdict::Fires {
            tags,
            condition_failure,
        } => (Finding::ConditionFailed, tags, condition_failure),
        RuleVerdict::Lacks { condition_failure } => {
            (Finding::ScopeValueMissing, Vec::new(), condition_failure)
        }
    };
    let is_asked = !matches!(finding, Finding::Inactive | Finding::OtherTrigger);
    let condition = rule.condition.as_ref().filter(|_| is_asked);
    RuleReport {
        rule: rule.name.to_string(),
        on: rule.on(),
        scope: rule.scope,
        mode: rule.mode,
        finding,
        condition: condition.map(|condition| ConditionReport {
            text: condition.text().to_owned(),
            fields: match judge.facts() {
                Ok(facts) => condition
                    .read_fields(facts)
                    .into_iter()
                    .map(|(field, value)| FieldValue { field, value })
                    .collect(),
                Err(_) => Vec::new(),
            },
            failure,
        }),
        tags: tags.iter().map(Tag::to_string).collect(),
    }
}

impl fmt::Display for EventReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, event {}", self.trigger, self.event_id)?;
        let widest = self.rules.iter().map(|rule| rule.rule.chars().count());
        let width = widest.max().unwrap_or(0);
        for rule in &self.rules {
            rule.write(f, width)?;
        }
        match self.invalidations.as_slice() {
            [] if self.is_heartbeat => writeln!(
                f,
                "\nIt invalidates nothing: a heartbeat only says that its integration lives."
            )?,
            [] => writeln!(f, "\nIt invalidates nothing.")?,
            invalidations => {
                writeln!(f, "\nIt invalidates:")?;
                write_planned(f, invalidations)?;
            }
        }
        if !self.refresh_types.is_empty() {
            writeln!(f, "\nFor what it lacks, at most once in an interval:")?;
            write_planned(f, &self.refresh_types)?;
        }
        Ok(())
    }
}

/// The indentation of a rule's details below its finding.
const INDENT: &str = "                       ";

impl RuleReport {
    fn write(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        let (name, scope, mode) = (&self.rule, self.scope.as_str(), self.mode.as_str());
        let finding = self.finding.as_text();
        writeln!(
            f,
            "  {finding:<19}  {name:<width$}  {} → {scope}, {mode}",
            self.on
        )?;
        if let Some(condition) = &self.condition {
            writeln!(f, "{INDENT}when {}", condition.text.replace('\n', " "))?;
            for FieldValue { field, value } in &condition.fields {
                match value {
                    Some(value) => writeln!(f, "{INDENT}  {field} = {value}")?,
                    None => writeln!(f, "{INDENT}  {field} is not given")?,
                }
            }
            if let Some(failure) = &condition.failure {
                writeln!(f, "{INDENT}  counts as holding: {failure}")?;
            }
        }
        if self.finding == Finding::ScopeValueMissing {
            writeln!(
                f,
                "{INDENT}the event lacks what scope `{scope}` needs: widened"
            )?;
        }
        self.tags
            .iter()
            .try_for_each(|tag| writeln!(f, "{INDENT}{tag}"))
    }
}

fn write_planned(f: &mut fmt::Formatter<'_>, planned: &[PlannedReport]) -> fmt::Result {
    let width = planned.iter().map(|of| of.tag.chars().count()).max();
    let width = width.unwrap_or(0);
    planned
        .iter()
        .try_for_each(|PlannedReport { tag, mode, rule }| {
            writeln!(f, "  {:<7}  {tag:<width$}  by {rule}", mode.as_str())
        })
}
