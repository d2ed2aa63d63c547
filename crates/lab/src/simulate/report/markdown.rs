//! The report as Markdown, for documents.

use std::fmt::Write as _;

use super::{Report, Table};

/// Returns the whole report.
pub fn markdown(report: &Report<'_>) -> String {
    let mut out = String::from("# A simulated wedding season\n\n");
    for line in report.setup() {
        out.push_str(&line);
        out.push('\n');
    }
    write!(out, "\n```sh\n{}\n```\n", report.command).expect("writing to a string cannot fail");
    out.push_str("\n## What was found\n\n");
    for line in report.findings() {
        writeln!(out, "- {line}").expect("writing to a string cannot fail");
    }
    for table in report.tables() {
        push_table(&mut out, &table);
    }
    out
}

fn push_table(out: &mut String, table: &Table) {
    write!(out, "\n## {}\n\n", table.title).expect("writing to a string cannot fail");
    push_row(out, &table.head);
    let rule = table.head.iter().enumerate();
    let rule: Vec<_> = rule
        .map(|(column, _)| if column == 0 { "---" } else { "---:" }.to_owned())
        .collect();
    push_row(out, &rule);
    for row in &table.rows {
        push_row(out, row);
    }
    if let Some(note) = &table.note {
        write!(out, "\n{note}\n").expect("writing to a string cannot fail");
    }
}

fn push_row(out: &mut String, cells: &[String]) {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    writeln!(out, "| {} |", cells.join(" | ")).expect("writing to a string cannot fail");
}
