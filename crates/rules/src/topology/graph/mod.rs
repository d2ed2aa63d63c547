//! Drawings of a topology: for the terminal, for Mermaid and for Graphviz.

mod diagram;
mod terminal;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::Topology;
use super::problem::Look;
use crate::invalidation::rule::{ChangeSource, Rule};

/// The format of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Boxes, at most 100 columns wide.
    Terminal,
    /// Boxes as for the terminal, in plain ASCII without colours.
    Text,
    /// A flowchart for Markdown.
    Mermaid,
    /// The DOT language of Graphviz.
    Dot,
}

/// Draws the topology, ending with a line end; `look` is used for the terminal alone.
pub fn draw(topology: &Topology, format: Format, look: Look) -> String {
    const PLAIN: Look = Look {
        unicode: false,
        colour: false,
    };
    match format {
        Format::Terminal => terminal::draw(topology, look),
        Format::Text => terminal::draw(topology, PLAIN),
        Format::Mermaid => diagram::mermaid(topology),
        Format::Dot => diagram::dot(topology),
    }
}

/// Formats a time span in short form: `7d`, `48h`, `1h 30m`; in days from three days on.
pub fn short_time(time: Duration) -> String {
    let mut rest = time.as_secs();
    let mut parts = Vec::new();
    let days = rest >= 3 * 86_400;
    for (unit, secs) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if rest >= secs && (days || unit != "d") {
            parts.push(format!("{}{unit}", rest / secs));
            rest %= secs;
        }
    }
    if time.subsec_millis() > 0 {
        parts.push(format!("{}ms", time.subsec_millis()));
    }
    if parts.is_empty() {
        return "0s".to_owned();
    }
    parts.join(" ")
}

/// Returns the rules of one source by the change that triggers them, `*` first, the others in the
/// file's order.
fn by_change(topology: &Topology, source: ChangeSource) -> Vec<(String, Vec<&Rule>)> {
    let mut order: Vec<String> = Vec::new();
    let mut grouped: BTreeMap<String, Vec<&Rule>> = BTreeMap::new();
    for rule in topology
        .policy
        .rules
        .iter()
        .filter(|rule| rule.source == source)
    {
        let change = rule.change.as_deref().unwrap_or("*").to_owned();
        if !order.contains(&change) {
            order.push(change.clone());
        }
        grouped.entry(change).or_default().push(rule);
    }
    order
        .into_iter()
        .filter_map(|change| grouped.remove(&change).map(|rules| (change, rules)))
        .collect()
}

fn rules_of(topology: &Topology, source: ChangeSource) -> usize {
    topology
        .policy
        .rules
        .iter()
        .filter(|rule| rule.source == source && rule.active)
        .count()
}

/// Returns a summary such as `7 cache types, 25 rules, 9 topics, 12 test cases`.
pub fn counts(topology: &Topology) -> String {
    let mut out = String::new();
    let counts = [
        (topology.policy.catalog.types().len(), "cache type"),
        (topology.policy.rules.len(), "rule"),
        (topology.deployment.topics.iter().count(), "topic"),
        (topology.cases.len(), "test case"),
    ];
    for (count, what) in counts {
        let comma = if out.is_empty() { "" } else { ", " };
        let many = if count == 1 { "" } else { "s" };
        write!(out, "{comma}{count} {what}{many}").expect("writing to a string cannot fail");
    }
    out
}

/// Returns the configured layers, each with its bounds.
fn layers(topology: &Topology) -> Vec<(&'static str, String)> {
    let layers = &topology.deployment.layers;
    let mut list = Vec::new();
    if let Some(memory) = &layers.memory {
        list.push(("memory", memory.size.to_string()));
    }
    if let Some(disk) = &layers.disk {
        let bound = disk
            .max_size
            .map_or(String::new(), |size| format!(", max {size}"));
        list.push(("disk", format!("{}{bound}", disk.path.display())));
    }
    if let Some(redis) = &layers.redis {
        let kind = match &redis.server {
            super::settings::RedisServer::Single(_) => "single node".to_owned(),
            super::settings::RedisServer::Cluster(nodes) => {
                format!("cluster, {} seed nodes", nodes.len())
            }
        };
        let timeout = short_time(redis.response_timeout);
        list.push(("redis", format!("{kind}, answers within {timeout}")));
    }
    list
}
