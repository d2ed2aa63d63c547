//! The output of a command, and what that output can show.

use std::io::{self, IsTerminal, Write};

use crate::topology::Look;

/// The output of a command.
pub struct Screen<'a> {
    pub out: &'a mut dyn Write,
    pub look: Look,
    /// The width, in columns.
    pub width: usize,
}

/// The greatest width of text, in columns, however wide the terminal: long lines are hard to read.
const WIDEST: usize = 100;

impl<'a> Screen<'a> {
    /// Returns standard output: Unicode where the locale says so, colours and the terminal's width
    /// only on a terminal.
    pub fn stdout(out: &'a mut io::Stdout, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let is_terminal = out.is_terminal();
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let locale = set("LC_ALL")
            .or_else(|| set("LC_CTYPE"))
            .or_else(|| set("LANG"))
            .unwrap_or_default()
            .to_lowercase();
        let plain = set("NO_COLOR").is_some() || set("TERM").is_some_and(|term| term == "dumb");
        let columns = ratatui::crossterm::terminal::size()
            .ok()
            .filter(|_| is_terminal)
            .map_or(WIDEST, |(columns, _)| usize::from(columns));
        Self {
            out,
            look: Look {
                unicode: locale.contains("utf-8") || locale.contains("utf8"),
                colour: is_terminal && !plain,
            },
            width: columns.clamp(40, WIDEST),
        }
    }
}
