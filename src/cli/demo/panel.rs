//! The demo's numbers, as a panel for a terminal or as a line.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph, Sparkline};

use crate::demo::{Look, Tally, share};

/// Rows of the panel.
pub const HEIGHT: u16 = 15;
const LABEL_WIDTH: usize = 11;
const HISTORY: usize = 120;

/// The numbers of one second, beside those of the last.
#[derive(Debug, Default)]
pub struct Frame {
    now: Numbers,
    before: Numbers,
    /// Hit rates of the last seconds, in per cent.
    history: VecDeque<u64>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Numbers {
    answered: u64,
    memory: u64,
    disk: u64,
    called: u64,
    coalesced: u64,
    stale: u64,
    failed: u64,
    changes: u64,
    invalidations: f64,
    spent_usd: f64,
    saved_usd: f64,
    p50: Duration,
    p99: Duration,
}

impl Frame {
    pub fn take(&mut self, look: &Look<'_>) {
        let tally = &look.tally;
        self.before = self.now;
        self.now = Numbers {
            answered: tally.answered,
            memory: tally.memory,
            disk: tally.disk + tally.redis,
            called: tally.called,
            coalesced: tally.coalesced,
            stale: tally.stale,
            failed: tally.failed,
            changes: tally.changes,
            invalidations: look.invalidations,
            spent_usd: tally.spent_usd,
            saved_usd: tally.saved_usd,
            p50: tally.percentile(0.5),
            p99: tally.percentile(0.99),
        };
        self.history.push_back(percent(self.rate_now()));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    /// The hit rate of the last second.
    fn rate_now(&self) -> f64 {
        let hits = |of: &Numbers| of.memory + of.disk;
        let answered = self.now.answered - self.before.answered;
        share(hits(&self.now) - hits(&self.before), answered)
    }

    /// One second as a line.
    pub fn line(&self) -> String {
        let (now, before) = (&self.now, &self.before);
        format!(
            "{:>5}/s  hit {:>3}%  memory {}  disk {}  calls {}  joined {}  stale {}  failed {}  \
             changes {}  invalidations {:.0}  p50 {}  p99 {}  spent {}  saved {}",
            now.answered - before.answered,
            percent(self.rate_now()),
            now.memory,
            now.disk,
            now.called,
            now.coalesced,
            now.stale,
            now.failed,
            now.changes,
            now.invalidations,
            time(now.p50),
            time(now.p99),
            usd(now.spent_usd),
            usd(now.saved_usd),
        )
    }
}

pub fn draw(frame: &Frame, until: Option<Instant>, area: &mut ratatui::Frame<'_>) {
    let left = until.map_or("q ends".to_owned(), |until| {
        format!(
            "{} s left, q ends",
            until.saturating_duration_since(Instant::now()).as_secs()
        )
    });
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .title(" wedcache · a simulated wedding season ".bold())
        .title_bottom(Line::from(format!(" {left} ")).right_aligned());
    let inner = block.inner(area.area());
    area.render_widget(block, area.area());
    let [top, spark, bottom] = Layout::vertical([
        Constraint::Length(7),
        Constraint::Length(2),
        Constraint::Min(0),
    ])
    .areas(inner);
    area.render_widget(Paragraph::new(sources(frame, top)), top);
    let [label, chart] =
        Layout::horizontal([Constraint::Length(13), Constraint::Min(0)]).areas(spark);
    area.render_widget(Paragraph::new(" hits, % now"), label);
    let width = usize::from(chart.width);
    let shown: Vec<u64> = frame
        .history
        .iter()
        .rev()
        .take(width)
        .rev()
        .copied()
        .collect();
    let line = Sparkline::default()
        .data(&shown)
        .max(100)
        .style(Style::new().fg(Color::Green));
    area.render_widget(line, chart);
    area.render_widget(Paragraph::new(totals(frame)), bottom);
}

/// Where the answers came from, as bars.
fn sources(frame: &Frame, area: Rect) -> Vec<Line<'static>> {
    let now = &frame.now;
    let rows = [
        ("memory", now.memory, Color::Green),
        ("disk", now.disk, Color::Cyan),
        ("joined", now.coalesced, Color::Blue),
        ("AI calls", now.called, Color::Yellow),
        ("failed", now.failed, Color::Red),
    ];
    let room = usize::from(area.width).saturating_sub(LABEL_WIDTH + 20);
    let mut lines = vec![Line::from(vec![
        Span::raw(format!(" {:>7} answers ", now.answered)).bold(),
        Span::raw(format!("{:>5}/s", now.answered - frame.before.answered)),
    ])];
    lines.extend(rows.map(|(name, count, colour)| {
        let part = share(count, now.answered);
        let bar = "█".repeat(scaled(part, room));
        Line::from(vec![
            Span::raw(format!(" {name:<LABEL_WIDTH$}")),
            Span::raw(format!("{count:>8} {:>3}%  ", percent(part))),
            Span::styled(bar, Style::new().fg(colour)),
        ])
    }));
    lines
}

fn totals(frame: &Frame) -> Vec<Line<'static>> {
    let now = &frame.now;
    vec![
        Line::from(format!(
            " changes    {:>8}    invalidations {:>8.0}    served stale {:>6}",
            now.changes, now.invalidations, now.stale
        )),
        Line::from(format!(
            " latency    p50 {}  p99 {}  question to answer, through Kafka",
            time(now.p50),
            time(now.p99)
        )),
        Line::from(vec![
            Span::raw(" money      "),
            Span::styled(
                format!("saved {}", usd(now.saved_usd)),
                Style::new().fg(Color::Green),
            ),
            Span::raw(format!(
                "  spent {}  (simulated prices)",
                usd(now.spent_usd)
            )),
        ]),
    ]
}

/// What is printed at the end.
pub fn summary(tally: &Tally, elapsed: Duration) -> Vec<String> {
    let first = tally.first_answer.unwrap_or_default();
    let total = tally.spent_usd + tally.saved_usd;
    let saved = if total > 0.0 {
        tally.saved_usd / total
    } else {
        0.0
    };
    vec![
        String::new(),
        format!(
            "{} answers in {:.0} s, the first {} after the start; {} changes",
            tally.answered,
            elapsed.as_secs_f64(),
            time(first),
            tally.changes
        ),
        format!(
            "hits {}% (memory {}, disk {}), joined {}, AI calls {}, stale {}, failed {}",
            percent(tally.hit_rate()),
            tally.memory,
            tally.disk,
            tally.coalesced,
            tally.called,
            tally.stale,
            tally.failed
        ),
        format!(
            "latency p50 {}, p99 {}; saved {} of {} ({}%), at simulated prices",
            time(tally.percentile(0.5)),
            time(tally.percentile(0.99)),
            usd(tally.saved_usd),
            usd(total),
            percent(saved)
        ),
    ]
}

fn usd(amount: f64) -> String {
    if amount < 100.0 {
        format!("${amount:.3}")
    } else {
        format!("${amount:.0}")
    }
}

fn time(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    match millis {
        _ if millis < 10.0 => format!("{millis:.1} ms"),
        _ if millis < 1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1000.0),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share from 0 to 1"
)]
fn percent(share: f64) -> u64 {
    (share * 100.0).round() as u64
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
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(usd(0.0214), "$0.021");
        assert_eq!(usd(1234.4), "$1234");
        assert_eq!(time(Duration::from_micros(1500)), "1.5 ms");
        assert_eq!(time(Duration::from_millis(2300)), "2.3 s");
        assert_eq!(percent(0.856), 86);
        assert_eq!(scaled(0.5, 41), 21);
    }

    #[test]
    fn a_second_is_one_line() {
        let frame = Frame {
            now: Numbers {
                answered: 200,
                memory: 150,
                called: 50,
                ..Numbers::default()
            },
            ..Frame::default()
        };
        let line = frame.line();
        assert!(line.starts_with("  200/s  hit  75%  memory 150"), "{line}");
        assert!(!line.contains('\n'));
    }
}
