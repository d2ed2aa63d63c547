//! The drawing for the terminal: the data flow, then the cache types, then the rules by topic.

use wedcache_model::{Mode, Sharing};

use super::{by_change, counts, layers, rules_of, short_time};
use crate::invalidation::rule::{ChangeSource, Rule};
use crate::topology::Topology;
use crate::topology::problem::Look;
use crate::topology::settings::{Role, Topic};

/// Two columns of boxes with a gap for an arrow; 99 in all.
const LEFT: usize = 45;
const GAP: usize = 5;
const RIGHT: usize = 49;
const WIDTH: usize = LEFT + GAP + RIGHT;

pub(super) fn draw(topology: &Topology, look: Look) -> String {
    let pen = Pen { look };
    let mut out = vec![
        pen.bold(&format!(
            "{}, version {}",
            topology.name, topology.policy.version
        )),
        counts(topology),
        String::new(),
    ];
    out.extend(flow(topology, pen));
    out.push(String::new());
    out.extend(types(topology, pen));
    for source in ChangeSource::ALL {
        out.push(String::new());
        out.extend(rules(topology, source, pen));
    }
    let mut text = String::new();
    for line in out {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The characters and colours of the drawing, as far as the terminal supports them.
#[derive(Clone, Copy)]
struct Pen {
    look: Look,
}

impl Pen {
    /// Returns the character that this terminal can show.
    fn sign(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.look.unicode { unicode } else { ascii }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.look.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Cuts or pads text to exactly `width` columns.
    fn fit(self, text: &str, width: usize) -> String {
        let len = text.chars().count();
        if len <= width {
            return format!("{text}{}", " ".repeat(width - len));
        }
        let end = self.sign("…", "~");
        text.chars().take(width - 1).collect::<String>() + end
    }

    /// Draws a box with its title in the upper edge; the edges that arrows touch are marked.
    fn boxed(self, block: &Block, width: usize, height: usize) -> Vec<String> {
        let bar = self.sign("─", "-");
        let side = self.sign("│", "|");
        let (top, title) = match block.title.as_str() {
            "" => (bar.repeat(width - 2), String::new()),
            title => {
                let title: String = title.chars().take(width - 6).collect();
                let rest = width - 5 - title.chars().count();
                (bar.repeat(rest), title)
            }
        };
        let mut lines = Vec::with_capacity(height + 2);
        let (left, right) = (self.sign("┌", "+"), self.sign("┐", "+"));
        lines.push(if title.is_empty() {
            format!("{left}{top}{right}")
        } else {
            format!("{left}{bar} {} {top}{right}", self.bold(&title))
        });
        for at in 0..height {
            let text = block.lines.get(at).map_or("", String::as_str);
            lines.push(format!("{side} {} {side}", self.fit(text, width - 4)));
        }
        let (left, right) = (self.sign("└", "+"), self.sign("┘", "+"));
        let half = (width - 3) / 2;
        let foot = if block.leads_down {
            let knot = self.sign("┬", "+");
            format!("{}{knot}{}", bar.repeat(half), bar.repeat(width - 3 - half))
        } else {
            bar.repeat(width - 2)
        };
        lines.push(format!("{left}{foot}{right}"));
        lines
    }
}

#[derive(Default)]
struct Block {
    title: String,
    lines: Vec<String>,
    /// True if an arrow leads to the next block below.
    leads_down: bool,
}

impl Block {
    fn new(title: &str, lines: Vec<String>) -> Self {
        Self {
            title: title.to_owned(),
            lines,
            leads_down: false,
        }
    }

    fn down(mut self) -> Self {
        self.leads_down = true;
        self
    }
}

/// Draws two blocks side by side, with or without an arrow between them.
fn row(
    pen: Pen,
    left: &Block,
    right: Option<&Block>,
    between: Option<&'static str>,
) -> Vec<String> {
    let height = left
        .lines
        .len()
        .max(right.map_or(0, |block| block.lines.len()));
    let lefts = pen.boxed(left, LEFT, height);
    let rights = right.map(|block| pen.boxed(block, RIGHT, height));
    let middle = lefts.len() / 2;
    let mut lines: Vec<String> = lefts
        .into_iter()
        .enumerate()
        .map(|(at, line)| {
            let gap = match between {
                Some(arrow) if at == middle => arrow.to_owned(),
                _ => " ".repeat(GAP),
            };
            let right = rights.as_ref().map_or("", |rights| rights[at].as_str());
            format!("{line}{gap}{right}")
        })
        .collect();
    let leads = [left.leads_down, right.is_some_and(|block| block.leads_down)];
    if leads.contains(&true) {
        let arrow = pen.sign("▼", "v");
        let mut below = " ".repeat(1 + (LEFT - 3) / 2) + if leads[0] { arrow } else { " " };
        if leads[1] {
            let at = LEFT + GAP + 1 + (RIGHT - 3) / 2;
            below += &" ".repeat(at - below.chars().count());
            below += arrow;
        }
        lines.push(below);
    }
    lines
}

fn flow(topology: &Topology, pen: Pen) -> Vec<String> {
    let topic = |role| topology.deployment.topics.get(role);
    let kafka = &topology.deployment.kafka;
    let arrow = pen.sign("──▶", "-->");
    let right_arrow = pen.sign(" ──▶ ", " --> ");
    let left_arrow = pen.sign(" ◀── ", " <-- ");

    let queries = Block::new("queries", topic_lines(topic(Role::Queries))).down();
    let mut lines = topic_lines(topic(Role::VendorChanges));
    lines.extend(topic_lines(topic(Role::WeddingUpdates)));
    let changes = Block::new("changes", lines).down();
    let mut out = row(pen, &queries, Some(&changes), None);

    let answering = Block::new(
        "answering",
        vec![
            format!(
                "group {}, {} poll threads",
                kafka.queries_group, kafka.poll_threads
            ),
            ["decode", "key", "look up", "answer"].join(&format!(" {arrow} ")),
        ],
    )
    .down();
    let judging = Block::new(
        "judging",
        vec![
            format!("group {}", kafka.rules_group),
            format!(
                "{} vendor rules, {} wedding rules {arrow} tags",
                rules_of(topology, ChangeSource::Vendor),
                rules_of(topology, ChangeSource::Wedding)
            ),
        ],
    )
    .down();
    out.extend(row(pen, &answering, Some(&judging), None));

    let mut lines: Vec<_> = layers(topology)
        .into_iter()
        .map(|(name, what)| format!("{name:<7} {what}"))
        .collect();
    if lines.is_empty() {
        lines.push("none: every query is a call".to_owned());
    }
    let layers = Block::new("layers", lines).down();
    let mut lines = topic_lines(topic(Role::Invalidations));
    lines.push("every look-up is judged by it".to_owned());
    let log = Block::new("invalidation log", lines);
    out.extend(row(pen, &layers, Some(&log), Some(left_arrow)));

    let flight = Block::new("on a miss: single flight", providers(topology)).down();
    let letters = Block::new(
        "what cannot be read",
        vec![topic(Role::DeadLetters).name.to_string()],
    );
    out.extend(row(pen, &flight, Some(&letters), None));

    let answers = Block::new("answers", topic_lines(topic(Role::Answers)));
    let others = [Role::Metrics, Role::Alerts, Role::Audit].map(|role| {
        let topic = topic(role);
        let format = topic
            .format
            .map_or("", super::super::settings::Format::as_str);
        format!("{} ({format})", topic.name)
    });
    let others = Block::new("metrics, alerts, audit", others.to_vec());
    out.extend(row(pen, &answers, Some(&others), Some(right_arrow)));
    out
}

fn topic_lines(topic: &Topic) -> Vec<String> {
    let many = if topic.partitions == 1 { "" } else { "s" };
    let mut facts = vec![
        format!("{} partition{many}", topic.partitions),
        format!("kept {}", short_time(topic.retention)),
    ];
    if topic.role == Role::Invalidations {
        facts.push("compacted".to_owned());
    }
    facts.extend(topic.format.map(|format| format.as_str().to_owned()));
    facts.extend(topic.max_bytes.map(|size| format!("up to {size}")));
    vec![topic.name.to_string(), format!("  {}", facts.join(", "))]
}

/// Returns each provider with the number of types that use it.
fn providers(topology: &Topology) -> Vec<String> {
    topology
        .deployment
        .providers
        .iter()
        .map(|(name, provider)| {
            let types = topology
                .policy
                .generation
                .values()
                .filter(|of| of.provider == *name)
                .count();
            let many = if types == 1 { "" } else { "s" };
            format!(
                "{name}: {} {}, {types} type{many}",
                provider.kind(),
                provider.model()
            )
        })
        .collect()
}

fn heading(pen: Pen, title: &str) -> String {
    let bar = pen.sign("─", "-");
    let rest = WIDTH.saturating_sub(title.chars().count() + 4);
    format!("{bar}{bar} {} {}", pen.bold(title), bar.repeat(rest))
}

fn types(topology: &Topology, pen: Pen) -> Vec<String> {
    let mut out = vec![heading(pen, "cache types")];
    let header = format!(
        "{:<24} {:<8} {:<9} {:<9} {}",
        "type", "sharing", "TTL", "stale for", "key beyond place, season, budget"
    );
    out.push(pen.dim(&header));
    for of in topology.policy.catalog.types() {
        let sharing = match of.sharing {
            Sharing::Shared => "shared",
            Sharing::Private => "private",
        };
        let dimensions: Vec<_> = of.dimensions.iter().map(|of| of.as_str()).collect();
        out.push(pen.fit(
            &format!(
                "{:<24} {sharing:<8} {:<9} {:<9} {}",
                of.name,
                short_time(of.ttl),
                short_time(of.stale_window),
                dimensions.join(", "),
            ),
            WIDTH,
        ));
    }
    out
}

fn rules(topology: &Topology, source: ChangeSource, pen: Pen) -> Vec<String> {
    let role = match source {
        ChangeSource::Vendor => Role::VendorChanges,
        ChangeSource::Wedding => Role::WeddingUpdates,
    };
    let mut out = vec![heading(
        pen,
        &format!("rules on {}", topology.deployment.topics.get(role).name),
    )];
    let all = topology.policy.catalog.types().len();
    for (change, rules) in by_change(topology, source) {
        for (at, rule) in rules.iter().enumerate() {
            let change = if at == 0 { change.as_str() } else { "" };
            out.extend(rule_lines(rule, change, all, pen));
        }
    }
    if out.len() == 1 {
        out.push("none".to_owned());
    }
    out
}

/// Returns one line for a rule, and further lines for the types and the condition if they need
/// room.
fn rule_lines(rule: &Rule, change: &str, all: usize, pen: Pen) -> Vec<String> {
    const CHANGE: usize = 22;
    const MODE: usize = 8;
    const SCOPE: usize = 12;
    const TYPES: usize = 22;
    let mode = pen.fit(rule.mode.as_str(), MODE);
    let mode = match rule.mode {
        Mode::Purge => pen.paint("31", &mode),
        Mode::Refresh => pen.paint("33", &mode),
    };
    let mut below = Vec::new();
    let types = match rule.cache_types.as_slice() {
        types if types.len() == all => "all types".to_owned(),
        [one] => one.to_string(),
        types => {
            below.push(format!("types {}", types.join(", ")));
            format!("{} types", types.len())
        }
    };
    if let Some(condition) = &rule.condition {
        let words: Vec<_> = condition.text().split_whitespace().collect();
        below.push(format!("when {}", words.join(" ")));
    }
    let off = if rule.active { "" } else { " (off)" };
    let name = format!("{}{off}", rule.name);
    let mut lines = vec![format!(
        "{}{mode}{}{} {}",
        pen.fit(change, CHANGE),
        pen.fit(rule.scope.as_str(), SCOPE),
        pen.fit(&types, TYPES),
        pen.fit(&name, WIDTH - CHANGE - MODE - SCOPE - TYPES - 1),
    )];
    let indent = " ".repeat(CHANGE);
    for text in below {
        for line in wrap(&text, WIDTH - CHANGE - 2) {
            let line = pen.dim(&pen.fit(&line, WIDTH - CHANGE));
            lines.push(format!("{indent}{line}"));
        }
    }
    lines
}

/// Breaks text between words; the lines after the first are indented by two.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}
