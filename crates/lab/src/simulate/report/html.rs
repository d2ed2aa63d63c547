//! The report as a self-contained HTML page: style and plots are inline, and nothing is loaded.
//!
//! Written with `format!` instead of a template engine and a chart library (askama, plotters): the
//! plots are bars, lines and dots whose colours come from the page's style sheet, for light and
//! dark, and each has a text for pointers and screen readers; a chart library would write its own
//! colours into the SVG.

use super::plot::{Anchor, Class, Drawing, axis_step, escape};
use super::{MONTHS, Report, Table, as_f64, number, readable, usd};
use crate::simulate::figures::{Counts, MISS_REASONS, per_cent};

/// The page's colours for light and dark, its type and its layout.
const STYLE: &str = include_str!("page.css");

/// Returns the whole report.
pub fn html(report: &Report<'_>) -> String {
    let setup = report
        .setup()
        .iter()
        .map(|line| format!("{} ", escape(line)))
        .collect::<Vec<_>>()
        .concat();
    let tables: String = report.tables().iter().map(table).collect();
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>A simulated wedding season</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<header>
<h1>A simulated wedding season</h1>
<p>{setup}</p>
<p class="note">A simulation: couples, vendors and the model are assumed, the cache is the real one. Made by</p>
<pre><code>{}</code></pre>
</header>
{}
{}
{}
{}
{}
{}
{}
<section aria-label="Tables">
{tables}</section>
</main>
</body>
</html>
"#,
        escape(report.command),
        findings(report),
        hit_rates(report),
        sources(report),
        costs(report),
        latencies(report),
        sensitivity(report),
        goals(report),
    )
}

fn section(title: &str, note: &str, body: &str) -> String {
    format!(
        "<section>\n<h2>{}</h2>\n<p class=\"note\">{}</p>\n{body}\n</section>",
        escape(title),
        escape(note)
    )
}

/// Returns the findings as a list.
fn findings(report: &Report<'_>) -> String {
    let item = |line: &String| format!("<li>{}</li>\n", escape(line));
    let items = report.findings().iter().map(item).collect::<Vec<_>>();
    let items = items.concat();
    format!("<section>\n<h2>What was found</h2>\n<ul class=\"found\">\n{items}</ul>\n</section>")
}

/// Returns the brief's goals as cards.
fn goals(report: &Report<'_>) -> String {
    let card = |goal: crate::simulate::figures::Goal| {
        let (class, verdict) = if goal.is_met {
            ("met", "met")
        } else {
            ("missed", "missed")
        };
        format!(
            r#"<li class="{class}"><span class="what">{}</span><b>{}</b><span class="goal">goal {} <span class="verdict">{verdict}</span></span></li>"#,
            escape(goal.what),
            escape(&goal.got),
            escape(&goal.wanted)
        )
    };
    let cards: String = report.figures.goals().into_iter().map(card).collect();
    format!("<section>\n<h2>Goals of the brief</h2>\n<ul class=\"cards\">{cards}</ul>\n</section>")
}

/// Returns one small plot for each type, after one for all types.
fn hit_rates(report: &Report<'_>) -> String {
    let months = &report.figures.by_month;
    let all = months
        .iter()
        .map(|month| (month.month, month.total.hit_rate()));
    let mut plots = vec![spark("all", "all types", &all.collect::<Vec<_>>())];
    for (kind, of) in report.figures.by_type.iter().enumerate() {
        let rates = months
            .iter()
            .map(|month| (month.month, month.by_type[kind].hit_rate()));
        plots.push(spark(
            of.name,
            &readable(of.name),
            &rates.collect::<Vec<_>>(),
        ));
    }
    let body = format!("<div class=\"multiples\">{}</div>", plots.concat());
    section(
        "Hit rate by month and type",
        "In per cent of all queries; the dashed line is the brief's goal of 85 %.",
        &body,
    )
}

fn spark(id: &str, title: &str, rates: &[(usize, f64)]) -> String {
    const LEFT: f64 = 26.0;
    const TOP: f64 = 22.0;
    let (width, height) = (220.0, 118.0);
    let (right, bottom) = (width - 8.0, height - 18.0);
    let y = |rate: f64| bottom - (bottom - TOP) * rate / 100.0;
    let x = |at: usize| {
        let steps = as_f64(rates.len().saturating_sub(1).max(1));
        LEFT + 4.0 + (right - LEFT - 8.0) * as_f64(at) / steps
    };
    let mut drawing = Drawing::new(width, height);
    drawing.text((LEFT, 13.0), Anchor::Start, "head", title);
    for rate in [0.0, 50.0, 100.0] {
        drawing.line((LEFT, y(rate)), (right, y(rate)), "grid");
        drawing.text(
            (LEFT - 4.0, y(rate) + 4.0),
            Anchor::End,
            "tick",
            &format!("{rate:.0}"),
        );
    }
    drawing.line((LEFT, y(85.0)), (right, y(85.0)), "mark");
    let points: Vec<_> = rates
        .iter()
        .enumerate()
        .map(|(at, (_, rate))| (x(at), y(*rate)))
        .collect();
    drawing.curve(&points, "curve");
    for (point, (month, rate)) in points.iter().zip(rates) {
        let words = format!("{}: {rate:.1} %", MONTHS[month - 1]);
        drawing.dot(*point, "dot", &words);
    }
    for at in [0, rates.len().saturating_sub(1)] {
        if let Some((month, _)) = rates.get(at) {
            let anchor = if at == 0 { Anchor::Start } else { Anchor::End };
            let x = if at == 0 { LEFT } else { right };
            drawing.text((x, height - 4.0), anchor, "tick", MONTHS[month - 1]);
        }
    }
    let told: Vec<_> = rates
        .iter()
        .map(|(month, rate)| format!("{} {rate:.0}", MONTHS[month - 1]))
        .collect();
    let description = format!("Hit rate in per cent: {}.", told.join(", "));
    drawing.finish(
        &format!("rate-{id}"),
        &format!("Hit rate of {title}"),
        &description,
    )
}

const SOURCES: [(&str, Class); 7] = [
    ("memory", "s-memory"),
    ("disk", "s-disk"),
    ("redis", "s-redis"),
    ("joined a call", "s-joined"),
    ("bypass, failed, too late", "s-other"),
    ("paid: first of its kind, or not held", "s-cold"),
    ("paid: expired or invalidated", "s-again"),
];

fn source_counts(counts: &Counts) -> [u64; 7] {
    let [cold, expired, invalidated, too_old, gone] = counts.misses;
    [
        counts.memory,
        counts.disk,
        counts.redis,
        counts.coalesced,
        counts.bypassed + counts.failed + counts.expired,
        cold + gone,
        expired + invalidated + too_old,
    ]
}

/// Returns the sources of answers, a bar for each type.
fn sources(report: &Report<'_>) -> String {
    const LEFT: f64 = 166.0;
    const ROW: f64 = 26.0;
    let figures = report.figures;
    let rows: Vec<(String, &Counts)> = std::iter::once(("all types".to_owned(), &figures.total))
        .chain(
            figures
                .by_type
                .iter()
                .map(|of| (readable(of.name), &of.value)),
        )
        .collect();
    let width = 480.0;
    let height = ROW * as_f64(rows.len()) + 4.0;
    let mut drawing = Drawing::new(width, height);
    let mut told = Vec::new();
    for (at, (name, counts)) in rows.iter().enumerate() {
        let y = ROW * as_f64(at) + 4.0;
        drawing.text((LEFT - 8.0, y + 14.0), Anchor::End, "label", name);
        let mut x = LEFT;
        for ((source, class), count) in SOURCES.iter().zip(source_counts(counts)) {
            let share = per_cent(count, counts.queries);
            let wide = (width - LEFT) * share / 100.0;
            if wide > 0.05 {
                let words = format!("{name}, {source}: {share:.1} %");
                drawing.bar((x, y), (wide, ROW - 7.0), class, &words);
            }
            x += wide;
        }
        told.push(format!("{name} {:.0} % hits", counts.hit_rate()));
    }
    let description = format!(
        "Shares of queries by where their answer came from: {}.",
        told.join(", ")
    );
    let svg = drawing.finish("sources", "Where answers come from", &description);
    let legend = SOURCES
        .iter()
        .map(|(name, class)| format!("<li><i class=\"{class}\"></i>{name}</li>"))
        .collect::<Vec<_>>()
        .concat();
    let body = format!("<ul class=\"legend\">{legend}</ul>\n<div class=\"plot\">{svg}</div>");
    let reasons = MISS_REASONS.join(", ");
    let note =
        format!("In per cent of each type's queries. The table of reasons tells {reasons} apart.");
    section("Where answers come from", &note, &body)
}

/// Returns what was spent and saved, a bar for each month.
fn costs(report: &Report<'_>) -> String {
    const LEFT: f64 = 46.0;
    const TOP: f64 = 8.0;
    let (width, height) = (480.0, 230.0);
    let (right, bottom) = (width - 4.0, height - 22.0);
    let months = &report.figures.by_month;
    let most = months
        .iter()
        .map(|of| of.total.spent_usd + of.total.saved_usd)
        .fold(0.0, f64::max);
    let step = axis_step(most);
    let top = (most / step).ceil().max(1.0) * step;
    let y = |amount: f64| bottom - (bottom - TOP) * amount / top;
    let mut drawing = Drawing::new(width, height);
    let mut amount = 0.0;
    while amount <= top + step / 2.0 {
        drawing.line((LEFT, y(amount)), (right, y(amount)), "grid");
        let text = format!("${}", short(amount, step));
        drawing.text((LEFT - 6.0, y(amount) + 4.0), Anchor::End, "tick", &text);
        amount += step;
    }
    let slot = (right - LEFT) / as_f64(months.len().max(1));
    let mut told = Vec::new();
    for (at, month) in months.iter().enumerate() {
        let x = LEFT + slot * as_f64(at);
        let (name, of) = (MONTHS[month.month - 1], &month.total);
        let (spent, both) = (y(of.spent_usd), y(of.spent_usd + of.saved_usd));
        let wide = (slot * 0.7).min(60.0);
        let left = x + (slot - wide) / 2.0;
        let words = format!("{name}: ${} spent", usd(of.spent_usd));
        drawing.bar((left, spent), (wide, bottom - spent), "s-again", &words);
        let words = format!("{name}: ${} saved", usd(of.saved_usd));
        drawing.bar((left, both), (wide, spent - both), "s-memory", &words);
        drawing.text((x + slot / 2.0, height - 6.0), Anchor::Middle, "tick", name);
        told.push(format!(
            "{name} {} of {}",
            usd(of.spent_usd),
            usd(of.spent_usd + of.saved_usd)
        ));
    }
    let description = format!(
        "Dollars spent of those due without a cache: {}.",
        told.join(", ")
    );
    let svg = drawing.finish("costs", "AI cost by month, spent and saved", &description);
    let legend = "<ul class=\"legend\"><li><i class=\"s-again\"></i>spent</li><li><i class=\"s-memory\"></i>saved</li></ul>";
    let body = format!("{legend}\n<div class=\"plot\">{svg}</div>");
    let prices = report.figures.setup.prices_as_of.map_or_else(
        || "The price list has no date.".to_owned(),
        |date| format!("By the topology's prices of {date}."),
    );
    let note = format!(
        "{prices} Spent is every priced call, refills among them; saved is what each hit's call had cost."
    );
    section("AI cost by month", &note, &body)
}

/// Formats an amount as exactly as the axis needs.
fn short(amount: f64, step: f64) -> String {
    if step >= 1.0 {
        format!("{amount:.0}")
    } else {
        format!("{amount:.2}")
    }
}

fn latencies(report: &Report<'_>) -> String {
    let all = report.figures.total.queries;
    let rows = report.figures.latencies.iter().map(|class| {
        let share = per_cent(class.value, all);
        let words = format!("{} queries", number(class.value));
        (class.name.to_owned(), share, words)
    });
    let body = shares("latencies", "Response times", &rows.collect::<Vec<_>>());
    section(
        "Response times",
        "In per cent of all queries. Simulated time has no processor time in it: a hit in memory takes none, Redis a round trip, a call what the model takes.",
        &body,
    )
}

fn sensitivity(report: &Report<'_>) -> String {
    if report.sensitivity.is_empty() {
        return String::new();
    }
    let rows = report.sensitivity.iter().map(|of| {
        let words = format!("saved {:.1} %", of.saved);
        (of.what.clone(), of.hit_rate, words)
    });
    let body = shares(
        "sensitivity",
        "Hit rate under other assumptions",
        &rows.collect::<Vec<_>>(),
    );
    section(
        "What the hit rate depends on",
        "Each bar is a run of its own with one assumption changed; the first changes none.",
        &body,
    )
}

/// Returns a bar from 0 to 100 % for each row of name, share and further text.
fn shares(id: &str, title: &str, rows: &[(String, f64, String)]) -> String {
    const LEFT: f64 = 166.0;
    const RIGHT: f64 = 52.0;
    const ROW: f64 = 24.0;
    let width = 480.0;
    let mut drawing = Drawing::new(width, ROW * as_f64(rows.len()) + 4.0);
    for (at, (name, share, words)) in rows.iter().enumerate() {
        let y = ROW * as_f64(at) + 4.0;
        let wide = (width - LEFT - RIGHT) * share / 100.0;
        drawing.text((LEFT - 8.0, y + 13.0), Anchor::End, "label", name);
        drawing.bar((LEFT, y), (wide.max(0.8), ROW - 7.0), "s-memory", words);
        drawing.text(
            (LEFT + wide + 6.0, y + 13.0),
            Anchor::Start,
            "value",
            &format!("{share:.1}"),
        );
    }
    let told: Vec<_> = rows
        .iter()
        .map(|(name, share, _)| format!("{name} {share:.1}"))
        .collect();
    let description = format!("In per cent: {}.", told.join(", "));
    format!(
        "<div class=\"plot\">{}</div>",
        drawing.finish(id, title, &description)
    )
}

fn table(table: &Table) -> String {
    let cell = |tag: &str, cell: &String| format!("<{tag}>{}</{tag}>", escape(cell));
    let head = table
        .head
        .iter()
        .map(|name| format!("<th scope=\"col\">{}</th>", escape(name)))
        .collect::<Vec<_>>()
        .concat();
    let row = |row: &Vec<String>| {
        let name = row
            .first()
            .map(|name| format!("<th scope=\"row\">{}</th>", escape(&readable(name))));
        let cells: String = row.iter().skip(1).map(|text| cell("td", text)).collect();
        format!("<tr>{}{cells}</tr>\n", name.unwrap_or_default())
    };
    let rows: String = table.rows.iter().map(row).collect();
    let note = table
        .note
        .as_ref()
        .map(|note| format!("<p class=\"note\">{}</p>\n", escape(note)));
    format!(
        "<h2>{}</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n{}",
        escape(table.title),
        escape(table.title),
        note.unwrap_or_default()
    )
}
