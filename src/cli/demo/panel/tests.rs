use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::widgets::Paragraph;

use super::*;
use crate::codec::LogRecord;
use crate::demo::Seen;
use crate::demo::Told;
use crate::model::{AiAnswer, Cause, Mode, Position, TagInvalidation, Timestamp};

const PLAIN: Look = Look {
    unicode: true,
    colour: false,
};

fn usual() -> Addresses {
    Addresses {
        kafka: "127.0.0.1:19092".to_owned(),
        metrics: "http://127.0.0.1:19464/metrics".to_owned(),
    }
}

fn answer(key: &str, vendor: &str, stamp: i64) -> AiAnswer<'static> {
    let answer = serde_json::json!({
        "answerId": "a", "queryId": "q", "status": "answered", "data": format!("Ask {vendor}."),
        "source": "ai", "layer": null, "freshness": "fresh", "staleReason": null,
        "coalesced": false, "cachedAt": null, "ageSecs": 1.0, "cacheType": "t", "cacheKey": key,
        "stamp": stamp, "view": stamp, "tags": [format!("t|vendor={vendor}")], "model": "m",
        "promptTokens": 0, "completionTokens": 0, "costUsd": 0.5, "savedUsd": 0.25,
        "simulated": true, "error": null, "answeredAt": "2026-11-22T10:00:00Z",
    });
    serde_json::from_value(answer).unwrap()
}

/// Plays a change of a vendor, an answer that it forbids and one that is bought again.
fn change(seen: &mut Seen, offset: i64, (vendor, what): (&str, &str)) {
    let changes = &mut seen.changes;
    changes.answer(answer(&format!("k-{offset}"), vendor, offset));
    let told = Told {
        text: format!("{vendor} {what}"),
        closed: (what == "closed").then(|| vendor.to_owned()),
        of_season: true,
        ..Told::default()
    };
    changes.change(("v".to_owned(), 0, offset), Timestamp(1000), told);
    let record = LogRecord::Invalidation(TagInvalidation {
        tag: format!("t|vendor={vendor}"),
        mode: Mode::Purge,
        rule: "r".to_owned(),
        cause: Cause {
            topic: "v".to_owned(),
            partition: 0,
            offset,
            event_id: None,
        },
        part: 1,
        parts: 1,
        at: Timestamp(1004),
    });
    changes.log_record(offset, &record, Timestamp(1008));
    changes.log_position(Position(offset + 1));
    changes.answer(answer(&format!("k-{offset}"), "v-99", offset + 1));
}

fn seen() -> Seen {
    let mut seen = Seen::default();
    change(&mut seen, 0, ("v-9", "closed"));
    for offset in 1..20 {
        let vendor = format!("v-{}", offset + 9);
        change(&mut seen, offset, (&vendor, "price +4.5 %, asks $2,000"));
    }
    let tally = &mut seen.tally;
    tally.answered = 12_345;
    tally.memory = 9000;
    tally.called = 2345;
    tally.coalesced = 900;
    tally.failed = 100;
    (tally.spent_usd, tally.saved_usd) = (1.5, 4.5);
    seen
}

/// Returns the panel as shown by a terminal of this size.
fn shown(
    addresses: &Addresses,
    (width, height): (u16, u16),
    look: Look,
    phase: DemoPhase,
) -> String {
    let (seen, mut frame) = (seen(), Frame::default());
    frame.take(&seen);
    frame.history = (0..200).map(|at| at % 101).collect();
    let panel = Panel {
        scene: Scene {
            addresses,
            phase,
            left: Some(Duration::from_secs(42)),
        },
        frame: &frame,
        changes: &seen.changes,
        look,
    };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let rows = panel.rows(Size::new(width, height));
    assert!(rows.len() <= usize::from(height), "{width}x{height}");
    for row in &rows {
        assert!(
            row.width() <= usize::from(width),
            "{width}x{height}: {row:?}"
        );
        let coloured = row.spans.iter().any(|span| span.style.fg.is_some());
        assert!(look.colour || !coloured, "{row:?}");
    }
    terminal
        .draw(|area| area.render_widget(Paragraph::new(rows), area.area()))
        .unwrap();
    terminal.backend().to_string()
}

#[test]
fn at_80x24_the_panel_shows_everything() {
    let shown = shown(&usual(), (80, 24), PLAIN, DemoPhase::Running);
    let Addresses { kafka, metrics } = usual();
    assert!(shown.contains(&kafka) && shown.contains(&metrics));
    for command in commands(&usual()).into_iter().take(3) {
        for line in command.lines {
            assert!(shown.contains(&line), "{line}\n{shown}");
        }
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_small_terminal_shows_what_matters_most() {
    insta::assert_snapshot!(shown(&usual(), (60, 12), PLAIN, DemoPhase::Draining));
}

#[test]
fn a_terminal_without_unicode_and_colours_shows_it_all_the_same() {
    let look = Look {
        unicode: false,
        colour: false,
    };
    let shown = shown(&usual(), (100, 30), look, DemoPhase::Running);
    let inner = shown.replace('"', "");
    assert!(inner.is_ascii(), "{shown}");
    insta::assert_snapshot!(shown);
}

#[test]
fn addresses_are_never_cut() {
    let long = Addresses {
        kafka: "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:19092".to_owned(),
        metrics: "http://[2001:db8:85a3:8d3:1319:8a2e:370:7348]:19464/metrics".to_owned(),
    };
    for addresses in [usual(), long] {
        for size in [(80, 24), (60, 24), (40, 24), (20, 12), (200, 60)] {
            let shown = shown(&addresses, size, PLAIN, DemoPhase::Running);
            let text: String = shown
                .lines()
                .map(|row| row.trim_matches('"').trim_end())
                .collect();
            for address in [&addresses.kafka, &addresses.metrics] {
                assert!(text.contains(address.as_str()), "{size:?}\n{shown}");
            }
        }
    }
}

#[test]
fn any_size_can_be_drawn() {
    for width in [1, 2, 9, 39, 79, 81, 300] {
        for height in 1..40 {
            shown(&usual(), (width, height), PLAIN, DemoPhase::Running);
        }
    }
}

#[test]
fn the_last_closing_stays_in_sight() {
    let seen = seen();
    let shown = latest(&seen.changes, 3);
    let texts: Vec<_> = shown
        .iter()
        .filter_map(|effect| effect.sentence())
        .collect();
    assert_eq!(
        texts,
        [
            "v-9 closed → 1 answer forbidden in 8 ms; 1 asked again, none names v-9",
            "v-28 price +4.5 %, asks $2,000 → 1 answer forbidden in 8 ms; 1 asked again",
            "v-27 price +4.5 %, asks $2,000 → 1 answer forbidden in 8 ms; 1 asked again",
        ]
    );
}
