//! The panel: as much as fits into the terminal, the most important rows first. Plain text, row by
//! row and without a frame, so that addresses and commands can be marked and copied.

use std::time::Duration;

use ratatui::layout::Size;
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};

use super::commands::{Addresses, commands};
use super::figures::{Frame, Numbers, percent, time, usd};
use crate::demo::{Changes, Effect, share};
use crate::topology::Look;

/// The least and the most rows of changes.
const CHANGE_ROWS: (usize, usize) = (2, 12);
/// The row that replaces commands which do not fit.
const ELSEWHERE: &str = " README.md has commands to try";
const LABEL_WIDTH: usize = 10;

/// The phase of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoPhase {
    Running,
    Draining,
}

/// The context of the numbers.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    pub addresses: &'a Addresses,
    pub phase: DemoPhase,
    /// The time until the demo ends by itself; `None` without `--for`.
    pub left: Option<Duration>,
}

/// The contents of the panel.
pub struct Panel<'a> {
    pub scene: Scene<'a>,
    pub frame: &'a Frame,
    pub changes: &'a Changes,
    pub look: Look,
}

impl Panel<'_> {
    /// Returns the rows for a terminal of this size, at most as many as it has.
    pub fn rows(&self, size: Size) -> Vec<Line<'static>> {
        let (width, height) = (usize::from(size.width), usize::from(size.height));
        let mut rows = vec![self.title(width)];
        rows.extend(self.addresses(width));
        let mut room = Room(height.saturating_sub(rows.len()));
        let has_answers = room.takes(1);
        let has_changes = room.takes(1 + CHANGE_ROWS.0);
        let has_money = room.takes(1);
        let mut commands = self.commands(width);
        if !room.takes(commands.len()) {
            commands = vec![Line::from(ELSEWHERE)];
            commands.truncate(usize::from(room.takes(1)));
        }
        let bars = self.bars(width);
        let has_bars = room.takes(bars.len());
        let has_history = room.takes(1);
        let mut change_rows = CHANGE_ROWS.0;
        while has_changes && change_rows < CHANGE_ROWS.1 && room.takes(1) {
            change_rows += 1;
        }
        let gaps = [room.takes(1), room.takes(1), room.takes(1)];
        let gap = |is_there: bool| is_there.then(Line::default);

        rows.extend(gap(gaps[0]));
        rows.extend(has_answers.then(|| self.answers()));
        rows.extend(has_bars.then_some(bars).into_iter().flatten());
        rows.extend(has_history.then(|| self.history(width)));
        rows.extend(has_money.then(|| self.money()));
        rows.extend(gap(gaps[1]));
        if has_changes {
            rows.extend(self.changes(change_rows));
        }
        rows.extend(gap(gaps[2]));
        rows.extend(commands);
        rows.truncate(height);
        let fit = |row| fit(row, width, self.look);
        rows.into_iter().map(fit).collect()
    }

    fn title(&self, width: usize) -> Line<'static> {
        let state = match (self.scene.phase, self.scene.left) {
            (DemoPhase::Draining, _) => "draining: calls under way are finished".to_owned(),
            (DemoPhase::Running, None) => "c closes a vendor, q ends".to_owned(),
            (DemoPhase::Running, Some(left)) => {
                format!("{} s left · c closes a vendor, q ends", left.as_secs())
            }
        };
        let names = ["wedcache · a simulated wedding season", "wedcache"];
        let gap = |name: &str| width.checked_sub(name.chars().count() + state.chars().count() + 2);
        let fitting = names.into_iter().find_map(|name| Some((name, gap(name)?)));
        let (name, gap) = fitting.unwrap_or((names[1], 1));
        let state = Span::raw(state);
        let state = match self.scene.phase {
            DemoPhase::Running => state,
            DemoPhase::Draining => self.paint(state, Color::Yellow),
        };
        Line::from(vec![
            Span::raw(format!(" {name}")).bold(),
            Span::raw(" ".repeat(gap.max(1))),
            state,
        ])
    }

    /// Returns the addresses on one row where both fit, or else below each other; a longer one is
    /// broken, never cut.
    fn addresses(&self, width: usize) -> Vec<Line<'static>> {
        let Addresses { kafka, metrics } = self.scene.addresses;
        let both = format!(" Kafka {kafka}   metrics {metrics}");
        if both.chars().count() <= width {
            return vec![Line::from(both)];
        }
        let rows = [format!(" Kafka {kafka}"), format!(" metrics {metrics}")];
        rows.iter().flat_map(|row| broken(row, width)).collect()
    }

    fn answers(&self) -> Line<'static> {
        let Frame { now, .. } = self.frame;
        Line::from(vec![
            Span::raw(format!(" {} answers", now.answered)).bold(),
            Span::raw(format!(
                ", {}/s; from question to answer: p50 {}, p99 {}",
                self.frame.answers_now(),
                time(now.p50),
                time(now.p99),
            )),
        ])
    }

    /// Returns the origins of the answers as bars.
    fn bars(&self, width: usize) -> Vec<Line<'static>> {
        let now = &self.frame.now;
        let rows = [
            ("cache", now.hits, Color::Green),
            ("joined", now.coalesced, Color::Blue),
            ("AI calls", now.called, Color::Yellow),
            ("failed", now.failed, Color::Red),
        ];
        let room = width.saturating_sub(LABEL_WIDTH + 18);
        let block = if self.look.unicode { "█" } else { "#" };
        let bar = |(name, count, colour)| {
            let part = share(count, now.answered);
            let bar = Span::raw(block.repeat(scaled(part, room)));
            Line::from(vec![
                Span::raw(format!(" {name:<LABEL_WIDTH$}")),
                Span::raw(format!("{count:>8} {:>3} %  ", percent(part))),
                self.paint(bar, colour),
            ])
        };
        rows.map(bar).into()
    }

    /// Returns the hit rate of the last seconds, one column per second.
    fn history(&self, width: usize) -> Line<'static> {
        let label = format!(" {:<LABEL_WIDTH$}", "hits now");
        let now = format!("{:>8} {:>3} %  ", "", percent(self.frame.rate_now()));
        let room = width.saturating_sub(LABEL_WIDTH + 18);
        let history = &self.frame.history;
        let shown = history.iter().skip(history.len().saturating_sub(room));
        let levels: &[char] = if self.look.unicode {
            &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
        } else {
            &['_', '.', ':', '-', '=', '+', '*', '#']
        };
        let level = |percent: &u64| {
            let at = usize::try_from(percent * 8 / 101).unwrap_or_default();
            levels[at.min(levels.len() - 1)]
        };
        let columns = Span::raw(shown.map(level).collect::<String>());
        Line::from(vec![
            Span::raw(label),
            Span::raw(now),
            self.paint(columns, Color::Green),
        ])
    }

    fn money(&self) -> Line<'static> {
        let now = &self.frame.now;
        Line::from(format!(
            " saved {} of {} at simulated prices; {} answers labelled stale",
            usd(now.saved_usd),
            usd(now.saved_usd + now.spent_usd),
            now.stale,
        ))
    }

    /// Returns the changes and their effects. The last closing and the last change from outside the
    /// season stay visible while the season goes on.
    fn changes(&self, rows: usize) -> Vec<Line<'static>> {
        let Numbers {
            changes,
            judged,
            wrong,
            ..
        } = self.frame.now;
        let verdict = Span::raw(format!(" {wrong} of {judged} answers")).bold();
        let verdict = match wrong {
            0 => self.paint(verdict, Color::Green),
            _ => self.paint(verdict, Color::Red),
        };
        let rest = format!(" given that a change forbade; {changes} changes:");
        let mut out = vec![Line::from(vec![verdict, Span::raw(rest)])];
        out.extend(latest(self.changes, rows).into_iter().filter_map(|effect| {
            let sentence = Span::raw(format!(" {}", effect.sentence()?));
            Some(Line::from(if effect.is_closing() {
                self.paint(sentence, Color::Cyan)
            } else {
                sentence
            }))
        }));
        out.resize(rows + 1, Line::default());
        out
    }

    /// Returns the commands, ready to be copied; only a hint where a line would be cut.
    fn commands(&self, width: usize) -> Vec<Line<'static>> {
        let mut lines = vec![
            " Try in another terminal: watch the florist v-3, close it, ask a question".to_owned(),
        ];
        // Without the command for the metrics: it uses curl, and the address is shown above.
        let kcat = commands(self.scene.addresses);
        lines.extend(kcat.into_iter().take(3).flat_map(|command| command.lines));
        if lines.iter().any(|line| line.chars().count() > width) {
            lines = vec![ELSEWHERE.to_owned()];
        }
        lines.into_iter().map(Line::from).collect()
    }

    fn paint(&self, span: Span<'static>, colour: Color) -> Span<'static> {
        if self.look.colour {
            span.patch_style(Style::new().fg(colour))
        } else {
            span
        }
    }
}

/// The number of rows that are left.
struct Room(usize);

impl Room {
    fn takes(&mut self, rows: usize) -> bool {
        let fits = self.0 >= rows;
        if fits {
            self.0 -= rows;
        }
        fits
    }
}

/// Returns the changes to show, at most `rows`: first the last change from outside the season and
/// the last closing, then the newest that concerned any answer.
fn latest(changes: &Changes, rows: usize) -> Vec<&Effect> {
    let told = || changes.effects().filter(|of| of.sentence().is_some());
    let mut shown: Vec<&Effect> = Vec::with_capacity(rows);
    let firsts = [
        told().find(|of| of.is_of_a_stranger()),
        told().find(|of| of.is_closing()),
    ];
    let others = told().filter(|of| of.forbidden + of.stale > 0);
    for effect in firsts.into_iter().flatten().chain(others) {
        if shown.len() < rows && !shown.iter().any(|known| known.place() == effect.place()) {
            shown.push(effect);
        }
    }
    shown
}

/// Returns the text broken into rows of the terminal's width.
fn broken(text: &str, width: usize) -> Vec<Line<'static>> {
    let characters: Vec<char> = text.chars().collect();
    characters
        .chunks(width.max(1))
        .map(|row| Line::from(row.iter().collect::<String>()))
        .collect()
}

/// Cuts what exceeds the width, and marks the cut.
fn fit(line: Line<'static>, width: usize, look: Look) -> Line<'static> {
    let mut left = width;
    let mut is_cut = false;
    let mut spans = Vec::with_capacity(line.spans.len());
    for span in line.spans {
        let text = super::ascii(&span.content, look);
        let length = text.chars().count();
        is_cut |= length > left;
        let text: String = text.chars().take(left).collect();
        left -= length.min(left);
        spans.push(Span::styled(text, span.style));
    }
    if is_cut && let Some(last) = spans.iter_mut().rfind(|span| !span.content.is_empty()) {
        let mut text = last.content.to_string();
        text.pop();
        text.push(if look.unicode { '…' } else { '>' });
        last.content = text.into();
    }
    Line::from(spans).style(line.style)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "columns of a terminal"
)]
fn scaled(share: f64, room: usize) -> usize {
    (share * room as f64).round() as usize
}

#[cfg(test)]
mod tests;
