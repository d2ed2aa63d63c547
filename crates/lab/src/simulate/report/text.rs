//! The report as plain text, for a terminal.

use std::fmt::{self, Write as _};

use super::{Report, Table};

/// The width to which sentences are wrapped, in characters.
const WIDTH: usize = 80;

/// Returns the whole report.
fn text(report: &Report<'_>) -> String {
    let mut out = String::new();
    for line in report.setup() {
        push_sentence(&mut out, "", &line);
    }
    out.push_str("\nWhat was found\n");
    for line in report.findings() {
        push_sentence(&mut out, "- ", &line);
    }
    for table in report.tables() {
        out.push('\n');
        push_table(&mut out, &table);
    }
    for violation in &report.figures.violations {
        push(&mut out, &format!("forbidden: {violation}"));
    }
    out
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(self))
    }
}

/// Wraps a sentence to [`WIDTH`]; all lines but the first are indented by the width of `bullet`.
fn push_sentence(out: &mut String, bullet: &str, sentence: &str) {
    let mut line = bullet.to_owned();
    for word in sentence.split(' ') {
        if line.len() > bullet.len() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            push(out, &line);
            line = " ".repeat(bullet.len());
        }
        if line.len() > bullet.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    push(out, &line);
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn push_table(out: &mut String, table: &Table) {
    push(out, table.title);
    let widths: Vec<usize> = (0..table.head.len())
        .map(|column| {
            let cells = std::iter::once(&table.head).chain(&table.rows);
            let width = |row: &Vec<String>| row[column].chars().count();
            cells.map(width).max().unwrap_or(0)
        })
        .collect();
    let has_head = table.head.iter().any(|name| !name.is_empty());
    let rows = has_head
        .then_some(&table.head)
        .into_iter()
        .chain(&table.rows);
    for row in rows {
        let mut line = String::from("  ");
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = width - cell.chars().count();
            let written = if column == 0 {
                write!(line, "{cell}{:gap$}", "")
            } else {
                write!(line, "  {:gap$}{cell}", "")
            };
            written.expect("writing to a string cannot fail");
        }
        push(out, &line);
    }
}
