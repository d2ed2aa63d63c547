//! A season's figures for people: as plain text, as Markdown, and as an HTML page with plots.

mod findings;
mod html;
mod markdown;
mod plot;
mod text;

use serde::Serialize;

use super::figures::{Counts, Figures, MISS_REASONS, per_cent};
use super::sensitivity::Variation;

pub use html::html;
pub use markdown::markdown;

/// The content of a report; displayed as plain text, serialized as the JSON of `--json`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report<'a> {
    /// The command that reproduces the report.
    pub command: &'a str,
    pub figures: &'a Figures,
    /// The runs with other assumptions; empty if they were not asked for.
    #[serde(skip_serializing_if = "<[Variation]>::is_empty")]
    pub sensitivity: &'a [Variation],
}

/// A table, the same in all three formats.
struct Table {
    title: &'static str,
    note: Option<String>,
    head: Vec<String>,
    /// The rows; the first cell is the row's name, the others are numbers.
    rows: Vec<Vec<String>>,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

impl Report<'_> {
    fn tables(&self) -> Vec<Table> {
        // The goals come last: the findings come before any judgement whose goal they meet.
        let mut tables = vec![
            self.by_type(),
            self.misses(),
            self.layers(),
            self.latencies(),
            self.by_month(),
            self.changes(),
            self.goals(),
        ];
        if !self.sensitivity.is_empty() {
            tables.push(self.sensitivities());
        }
        tables
    }

    fn goals(&self) -> Table {
        let rows = self.figures.goals().into_iter().map(|goal| {
            let verdict = if goal.is_met { "met" } else { "missed" };
            vec![
                goal.what.to_owned(),
                goal.wanted,
                goal.got,
                verdict.to_owned(),
            ]
        });
        let mut table = table("Goals of the brief", &["", "wanted", "got", ""], rows);
        table.note = Some("The brief: what WedSync asked this cache to reach.".to_owned());
        table
    }

    fn by_type(&self) -> Table {
        let of = self
            .figures
            .by_type
            .iter()
            .map(|of| (of.name.to_owned(), &of.value));
        let rows = of.chain([("all".to_owned(), &self.figures.total)]);
        counts_table("By cache type", rows)
    }

    fn by_month(&self) -> Table {
        let of = self.figures.by_month.iter().map(|month| {
            let name = format!("{} ×{:.1}", MONTHS[month.month - 1], month.capacity_factor);
            (name, &month.total)
        });
        let mut table = counts_table("By month", of);
        table.note = Some("The factor is the month's load beside the quietest's.".to_owned());
        table
    }

    fn misses(&self) -> Table {
        let of = self.figures.by_type.iter().map(|of| (of.name, &of.value));
        let rows = of
            .chain([("all", &self.figures.total)])
            .map(|(name, counts)| {
                let shares = counts.misses.iter().map(|of| share(*of, counts.queries));
                let more = [counts.bypassed, counts.failed, counts.expired];
                let more = more.into_iter().map(|of| share(of, counts.queries));
                std::iter::once(name.to_owned())
                    .chain(shares)
                    .chain(more)
                    .collect()
            });
        let head: Vec<_> = [""]
            .into_iter()
            .chain(MISS_REASONS)
            .chain(["bypass", "failed", "too late"])
            .collect();
        let mut table = table("Why the model was asked, % of queries", &head, rows);
        table.note = Some(
            "Without those who waited for another query's call. \"Too late\": no answer by the \
             query's deadline."
                .to_owned(),
        );
        table
    }

    fn layers(&self) -> Table {
        let total = &self.figures.total;
        let row = |name: &str, count: u64, of: u64| {
            vec![name.to_owned(), number(count), share(count, of)]
        };
        let repeats = &self.figures.repeats;
        let repeat = |name: &str, of: super::figures::Served| {
            vec![
                format!("repeats {name}: {} queries", number(of.queries)),
                number(of.hits),
                format!("{:.1}", of.rate()),
            ]
        };
        let rows = [
            row("memory", total.memory, total.queries),
            row("disk", total.disk, total.queries),
            row("redis", total.redis, total.queries),
            row("of these labelled stale", total.stale, total.queries),
            repeat("within an hour", repeats.within_an_hour),
            repeat("within a day", repeats.within_a_day),
            repeat("ever", repeats.ever),
        ];
        let mut table = table("Hits by layer, and of repeats", &["", "hits", "%"], rows);
        table.note = Some(
            "A repeat: the same couple with the same key. The share of layers is of all queries, \
             that of repeats of the repeats."
                .to_owned(),
        );
        table
    }

    fn latencies(&self) -> Table {
        let rows = self.figures.latencies.iter().map(|class| {
            let all = self.figures.total.queries;
            vec![
                class.name.to_owned(),
                number(class.value),
                share(class.value, all),
            ]
        });
        let mut table = table("Response times", &["", "queries", "%"], rows);
        table.note =
            Some("Without processor time, which simulated time does not count.".to_owned());
        table
    }

    fn changes(&self) -> Table {
        let log = &self.figures.log;
        let rows = [
            ("vendor changes", number(log.vendor_changes)),
            ("wedding updates", number(log.wedding_updates)),
            ("of these unreadable", number(log.dead_letters)),
            ("purges", number(log.purges)),
            ("refreshes", number(log.refreshes)),
            (
                "invalidations a change",
                format!("{:.1}", log.invalidations_a_change()),
            ),
            ("requests to the provider", number(log.requests)),
            ("evictions from memory", number(log.evictions)),
            ("restarts of instances", number(log.restarts)),
            ("answers judged by the log", number(self.figures.judged)),
            ("forbidden answers", number(self.figures.forbidden)),
        ];
        let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
        table("Changes and what they cost", &["", ""], rows)
    }

    fn sensitivities(&self) -> Table {
        let rows = self.sensitivity.iter().map(|of| {
            vec![
                of.what.clone(),
                number(of.queries),
                format!("{:.1}", of.hit_rate),
                format!("{:.1}", of.shared_hit_rate),
                format!("{:.1}", of.private_hit_rate),
                format!("{:.1}", of.repeats),
                format!("{:.1}", of.saved),
                number(of.forbidden),
            ]
        });
        let head = [
            "",
            "queries",
            "hits %",
            "shared %",
            "private %",
            "repeats %",
            "saved %",
            "forbidden",
        ];
        let mut table = table("Sensitivity: one assumption changed at a time", &head, rows);
        table.note = Some(
            "Each row is a run of its own; the first has the assumptions as they are. It is \
             shorter than the season above, so its figures differ a little. Shared and private: \
             the types that couples share and those of one couple. Repeats: of the same couple \
             within a day."
                .to_owned(),
        );
        table
    }

    /// Returns the findings and their reasons, in sentences.
    fn findings(&self) -> Vec<String> {
        findings::findings(self.figures)
    }

    /// Returns the setup of the simulation, in sentences.
    fn setup(&self) -> Vec<String> {
        let setup = &self.figures.setup;
        let prices = setup.prices_as_of.map_or_else(
            || "an undated price list".to_owned(),
            |date| format!("prices of {date}"),
        );
        let mut lines = vec![
            format!(
                "{} queries from {} to {}, topology {}, seed {}, {} instances, {prices}.",
                number(self.figures.total.queries),
                setup.first_day,
                setup.last_day,
                setup.topology,
                setup.seed,
                setup.instances,
            ),
            format!(
                "{} couples: those of one in {} cells of place, season and budget, {:.1} % of a \
                 platform's {}.",
                number(setup.couples as u64),
                setup.assumptions.sample,
                100.0 * setup.sample_share,
                number(whole(as_f64(setup.couples) / setup.sample_share)),
            ),
        ];
        if (setup.ttl_factor - 1.0).abs() > f64::EPSILON {
            lines.push(format!("All times to live ×{}.", setup.ttl_factor));
        }
        if self.figures.unpriced_calls > 0 {
            lines.push(format!(
                "{} calls of models without a price are counted as free.",
                number(self.figures.unpriced_calls)
            ));
        }
        lines
    }
}

fn table(title: &'static str, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    Table {
        title,
        note: None,
        head: head.iter().map(|name| (*name).to_owned()).collect(),
        rows: rows.into_iter().collect(),
    }
}

fn counts_table<'a>(
    title: &'static str,
    rows: impl Iterator<Item = (String, &'a Counts)>,
) -> Table {
    let rows = rows.map(|(name, counts)| {
        vec![
            name,
            number(counts.queries),
            format!("{:.1}", counts.hit_rate()),
            share(counts.stale, counts.queries),
            share(counts.coalesced, counts.queries),
            usd(counts.spent_usd),
            usd(counts.saved_usd),
            format!("{:.1}", counts.saved_rate()),
            format!("{:.0}", counts.mean_millis()),
        ]
    });
    let head = [
        "", "queries", "hits %", "stale %", "joined %", "spent $", "saved $", "saved %", "mean ms",
    ];
    table(title, &head, rows)
}

fn share(part: u64, whole: u64) -> String {
    format!("{:.1}", per_cent(part, whole))
}

fn usd(amount: f64) -> String {
    format!("{amount:.2}")
}

/// Formats a number with a thin space between thousands.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Returns a readable form of a name: `venue recommendations`.
fn readable(name: &str) -> String {
    name.replace('_', " ")
}

#[expect(clippy::cast_precision_loss, reason = "numbers of rows and months")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

/// Rounds to three significant digits: the whole is an estimate from a sample and is not known
/// better.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number of couples"
)]
fn whole(value: f64) -> u64 {
    let unit = 10_f64.powf((value.max(1.0).log10() - 2.0).floor().max(0.0));
    ((value / unit).round() * unit) as u64
}
