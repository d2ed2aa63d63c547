//! The drawing as Mermaid and as DOT, from one list of nodes and edges.

use std::fmt::Write as _;

use super::{layers, rules_of};
use crate::invalidation::rule::ChangeSource;
use crate::topology::Topology;
use crate::topology::settings::Role;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Topic,
    Stage,
    Layer,
    Provider,
}

struct Diagram {
    /// The nodes: id, label, kind.
    nodes: Vec<(String, String, Kind)>,
    /// The edges: from, to, label.
    edges: Vec<(String, String, String)>,
}

impl Diagram {
    fn of(topology: &Topology) -> Self {
        let mut diagram = Self {
            nodes: Vec::new(),
            edges: Vec::new(),
        };
        for topic in topology.deployment.topics.iter() {
            diagram.node(topic.role.as_str(), &topic.name, Kind::Topic);
        }
        let answering = format!(
            "answer queries ({})",
            topology.deployment.kafka.queries_group
        );
        let judging = format!("judge changes ({})", topology.deployment.kafka.rules_group);
        diagram.node("answering", &answering, Kind::Stage);
        diagram.node("judging", &judging, Kind::Stage);
        diagram.edge("queries", "answering", "");
        let rules = |source| format!("{} rules", rules_of(topology, source));
        diagram.edge("vendor_changes", "judging", &rules(ChangeSource::Vendor));
        diagram.edge("wedding_updates", "judging", &rules(ChangeSource::Wedding));
        diagram.edge("judging", "invalidations", "tags");
        diagram.edge("invalidations", "answering", "judges every look-up");
        diagram.ways_to_answer(topology);
        for role in [Role::Answers, Role::Metrics, Role::Alerts] {
            diagram.edge("answering", role.as_str(), "");
        }
        diagram.edge("answering", "dead_letters", "unreadable");
        diagram.edge("judging", "dead_letters", "unreadable");
        diagram
    }

    /// Adds the layers in the order of look-up, then the providers.
    fn ways_to_answer(&mut self, topology: &Topology) {
        let mut from = "answering".to_owned();
        for (name, what) in layers(topology) {
            self.node(name, &format!("{name}: {what}"), Kind::Layer);
            let label = if from == "answering" {
                "look up"
            } else {
                "miss"
            };
            self.edge(&from, name, label);
            name.clone_into(&mut from);
        }
        for (name, provider) in &topology.deployment.providers {
            let id = format!("provider_{name}");
            let label = format!("{name}: {} {}", provider.kind(), provider.model());
            self.node(&id, &label, Kind::Provider);
            self.edge(&from, &id, "miss, one flight a key");
        }
    }

    fn node(&mut self, id: &str, label: &str, kind: Kind) {
        self.nodes.push((plain(id), label.to_owned(), kind));
    }

    fn edge(&mut self, from: &str, to: &str, label: &str) {
        self.edges.push((plain(from), plain(to), label.to_owned()));
    }
}

/// Returns an id that both languages accept.
fn plain(id: &str) -> String {
    id.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

pub(super) fn mermaid(topology: &Topology) -> String {
    let diagram = Diagram::of(topology);
    let mut out = String::from("flowchart LR\n");
    let quote = |label: &str| label.replace('"', "#quot;");
    for (id, label, kind) in &diagram.nodes {
        let (open, close) = match kind {
            Kind::Topic => ("[(", ")]"),
            Kind::Stage => ("[[", "]]"),
            Kind::Layer => ("[", "]"),
            Kind::Provider => ("{{", "}}"),
        };
        writeln!(out, "  {id}{open}\"{}\"{close}", quote(label)).expect("a string takes text");
    }
    for (from, to, label) in &diagram.edges {
        let label = match label.as_str() {
            "" => String::new(),
            label => format!("|\"{}\"|", quote(label)),
        };
        writeln!(out, "  {from} -->{label} {to}").expect("a string takes text");
    }
    out
}

pub(super) fn dot(topology: &Topology) -> String {
    let diagram = Diagram::of(topology);
    let quote = |label: &str| label.replace('\\', "\\\\").replace('"', "\\\"");
    let mut out = format!("digraph \"{}\" {{\n", quote(&topology.name));
    out.push_str("  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    for (id, label, kind) in &diagram.nodes {
        let shape = match kind {
            Kind::Topic => "cylinder",
            Kind::Stage => "component",
            Kind::Layer => "box",
            Kind::Provider => "hexagon",
        };
        writeln!(out, "  {id} [shape={shape}, label=\"{}\"];", quote(label))
            .expect("a string takes text");
    }
    for (from, to, label) in &diagram.edges {
        let label = match label.as_str() {
            "" => String::new(),
            label => format!(" [label=\"{}\"]", quote(label)),
        };
        writeln!(out, "  {from} -> {to}{label};").expect("a string takes text");
    }
    out.push_str("}\n");
    out
}
