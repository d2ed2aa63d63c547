//! `wedcache dlq list`: shows dead letters.

use super::select::Newest;
use super::{Letters, Tally};
use crate::cli::screen::Screen;

/// The format of the letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    Text,
    Json,
    /// The values' bytes as they are, with a newline between two.
    Raw,
}

pub async fn list(
    letters: &Letters<'_>,
    show: Show,
    screen: &mut Screen<'_>,
) -> anyhow::Result<u8> {
    let mut tally = Tally::default();
    let mut newest = letters.filter.limit.map(Newest::new);
    let mut reading = letters.reading();
    let mut shown = 0_usize;
    while let Some(letter) = letters.next(&mut reading).await? {
        tally.add(&letter.reason());
        let bytes = match show {
            Show::Text => letter.text(screen.width).into_bytes(),
            Show::Json => format!("{}\n", letter.json()).into_bytes(),
            Show::Raw => letter.record.value.clone().unwrap_or_default(),
        };
        if let Some(newest) = &mut newest {
            newest.put(letter.place(), bytes);
        } else {
            write(screen, show, shown, &bytes)?;
            shown += 1;
        }
    }
    for bytes in newest.into_iter().flat_map(|n| n.into_kept().into_values()) {
        write(screen, show, shown, &bytes)?;
        shown += 1;
    }
    if show == Show::Text {
        let part = if shown < tally.total() {
            format!("; the newest {shown} are shown")
        } else {
            String::new()
        };
        writeln!(screen.out, "{tally} in {}{part}", letters.topic)?;
    }
    Ok(0)
}

fn write(screen: &mut Screen<'_>, show: Show, before: usize, bytes: &[u8]) -> std::io::Result<()> {
    if show == Show::Raw && before > 0 {
        screen.out.write_all(b"\n")?;
    }
    screen.out.write_all(bytes)
}
