//! Reviews as a table.

use std::io;
use std::time::Duration;

use super::review::{Difference, Review, State, lasting};
use crate::cli::screen::Screen;

const HEADINGS: [&str; 5] = ["topic", "partitions", "copies", "retention", "state"];

/// The state of a topic as the table shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Ok,
    Missing,
    Created,
    Changed,
    Differs,
}

impl Word {
    fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Differs => "differs",
        }
    }

    /// Returns the ANSI colour code: 32 is green, 31 red, 33 yellow.
    fn colour(self) -> u8 {
        match self {
            Self::Ok | Self::Created | Self::Changed => 32,
            Self::Missing => 31,
            Self::Differs => 33,
        }
    }
}

/// Prints the table of a plan.
pub fn planned(reviews: &[Review], screen: &mut Screen<'_>) -> io::Result<()> {
    let rows = reviews.iter().map(|review| {
        let (word, notes) = match &review.state {
            State::Ok => (Word::Ok, Vec::new()),
            State::Missing => (Word::Missing, Vec::new()),
            State::Differs(differences) => (Word::Differs, differences.iter().map(open).collect()),
        };
        (review, word, notes)
    });
    table(rows, screen)
}

/// Prints the table of an apply; both reviews are of the same topics in the same order.
pub fn applied(before: &[Review], after: &[Review], screen: &mut Screen<'_>) -> io::Result<()> {
    let rows = before.iter().zip(after).map(|(before, after)| {
        let left = differences(after);
        let mended = differences(before)
            .iter()
            .filter(|had| !left.iter().any(|still| still.what == had.what))
            .map(|had| format!("{}: {}, was {}", had.what, had.wanted, had.is));
        let mended: Vec<_> = mended.collect();
        let word = match (&before.state, &after.state) {
            (_, State::Missing) => Word::Missing,
            (_, State::Differs(_)) => Word::Differs,
            (State::Missing, State::Ok) => Word::Created,
            (State::Differs(_), State::Ok) => Word::Changed,
            (State::Ok, State::Ok) => Word::Ok,
        };
        let notes = mended.into_iter().chain(left.iter().map(open)).collect();
        (after, word, notes)
    });
    table(rows, screen)
}

fn differences(review: &Review) -> &[Difference] {
    match &review.state {
        State::Differs(differences) => differences,
        State::Ok | State::Missing => &[],
    }
}

fn open(difference: &Difference) -> String {
    let Difference {
        what,
        is,
        wanted,
        remedy,
    } = difference;
    format!("{what}: {is}, wanted {wanted} ({})", remedy.advice())
}

fn table<'a>(
    rows: impl Iterator<Item = (&'a Review, Word, Vec<String>)>,
    screen: &mut Screen<'_>,
) -> io::Result<()> {
    let rows: Vec<_> = rows.collect();
    let names = rows.iter().map(|(review, ..)| review.spec.name.len());
    let wide = names.max().unwrap_or(0).max(HEADINGS[0].len());
    let [topic, partitions, copies, retention, state] = HEADINGS;
    writeln!(
        screen.out,
        "{topic:wide$}  {partitions:>10}  {copies:>6}  {retention:>9}  {state}"
    )?;
    for (review, word, notes) in rows {
        let spec = &review.spec;
        let retention = spec.configs.get("retention.ms").and_then(|millis| {
            let millis = millis.parse().ok()?;
            Some(lasting(Duration::from_millis(millis)))
        });
        let retention = retention.unwrap_or_default();
        let state = if screen.look.colour {
            format!("\x1b[{}m{}\x1b[0m", word.colour(), word.text())
        } else {
            word.text().to_owned()
        };
        writeln!(
            screen.out,
            "{:wide$}  {:>10}  {:>6}  {retention:>9}  {state}",
            spec.name, spec.partitions, spec.replication
        )?;
        for note in notes {
            writeln!(screen.out, "    {note}")?;
        }
    }
    Ok(())
}
