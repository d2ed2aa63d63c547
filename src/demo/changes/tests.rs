use super::*;
use crate::model::Cause;

const TOPIC: &str = "vendors";

/// A stream as the readers bring it.
#[derive(Default)]
struct Stream {
    changes: Changes,
    log_end: i64,
}

impl Stream {
    fn change(&mut self, offset: i64, text: &str) {
        let (vendor, what) = text.split_once(' ').unwrap();
        let vendor_if = |name: &str| (what == name).then(|| vendor.to_owned());
        let told = Told {
            text: text.to_owned(),
            closed: vendor_if("closed"),
            opened: vendor_if("opened"),
            of_season: true,
        };
        let place = (TOPIC.to_owned(), 0, offset);
        self.changes.change(place, Timestamp(1000), told);
    }

    /// Appends the invalidations of a change, which are read 8 ms after the change.
    fn invalidate(&mut self, cause: i64, tags: &[(Mode, &str)]) {
        for ((mode, tag), part) in tags.iter().zip(1..) {
            let record = LogRecord::Invalidation(TagInvalidation {
                tag: (*tag).to_owned(),
                mode: *mode,
                rule: "r".to_owned(),
                cause: Cause {
                    topic: TOPIC.to_owned(),
                    partition: 0,
                    offset: cause,
                    event_id: None,
                },
                part,
                parts: u32::try_from(tags.len()).unwrap(),
                at: Timestamp(1004),
            });
            self.changes
                .log_record(self.log_end, &record, Timestamp(1008));
            self.log_end += 1;
        }
        self.changes.log_position(Position(self.log_end));
    }

    fn progress(&mut self, next: i64) {
        let record = LogRecord::Progress(Progress {
            topic: TOPIC.to_owned(),
            topic_id: None,
            partition: 0,
            next,
            at: Timestamp(1004),
        });
        self.changes
            .log_record(self.log_end, &record, Timestamp(1009));
        self.log_end += 1;
        self.changes.log_position(Position(self.log_end));
    }

    /// Takes a fresh answer that names the vendor.
    fn answer(&mut self, key: &str, vendor: &str, (stamp, view): (i64, i64)) {
        let answer = serde_json::json!({
            "answerId": "a", "queryId": "q", "status": "answered",
            "data": format!("Ask {vendor}."), "source": "ai", "layer": null, "freshness": "fresh",
            "staleReason": null, "coalesced": false, "cachedAt": null, "ageSecs": 1.0,
            "cacheType": "t", "cacheKey": key, "stamp": stamp, "view": view,
            "tags": ["t|global", format!("t|vendor={vendor}")], "model": "m", "promptTokens": 0,
            "completionTokens": 0, "costUsd": 0.5, "savedUsd": 0.25, "simulated": true,
            "error": null, "answeredAt": "2026-11-22T10:00:00Z",
        });
        self.changes.answer(serde_json::from_value(answer).unwrap());
    }

    #[track_caller]
    fn check(&self, want: &[&str]) {
        let told: Vec<_> = self
            .changes
            .effects()
            .filter_map(Effect::sentence)
            .collect();
        assert_eq!(told, want);
    }
}

#[test]
fn a_closing_counts_what_it_forbids_and_what_is_asked_again() {
    let mut stream = Stream::default();
    stream.answer("k-1", "v-3", (0, 0));
    stream.answer("k-1", "v-3", (0, 0));
    stream.answer("k-2", "v-3", (0, 0));
    stream.answer("k-3", "v-33", (0, 0));
    stream.change(7, "v-3 closed");
    stream.check(&[]);
    stream.invalidate(
        7,
        &[(Mode::Purge, "t|vendor=v-3"), (Mode::Purge, "u|vendor=v-3")],
    );
    stream.check(&["v-3 closed → 2 answers forbidden in 8 ms"]);
    // First a hit that was judged before the closing, then a call that began after it.
    stream.answer("k-2", "v-3", (0, 0));
    stream.answer("k-1", "v-33", (2, 2));
    stream.answer("k-1", "v-33", (2, 2));
    stream.check(&[
        "v-3 closed → 2 answers forbidden in 8 ms, 1 under way; 1 asked again, none names v-3",
    ]);
    assert_eq!((stream.changes.judged, stream.changes.wrong), (7, 0));
}

#[test]
fn an_answer_that_a_change_forbade_is_wrong() {
    let mut stream = Stream::default();
    stream.answer("k-1", "v-3", (0, 0));
    stream.change(7, "v-3 closed");
    stream.invalidate(7, &[(Mode::Purge, "t|vendor=v-3")]);
    // Made before the closing and given after it.
    stream.answer("k-1", "v-3", (0, 1));
    assert_eq!(stream.changes.wrong, 1);
    // Bought after the closing, but names the vendor all the same.
    stream.answer("k-1", "v-3", (1, 1));
    assert_eq!(stream.changes.wrong, 2);
    stream.check(&[
        "v-3 closed → 1 answer forbidden in 8 ms; 1 asked again; 2 answers STILL NAMED v-3",
    ]);
    stream.change(8, "v-3 opened");
    stream.answer("k-2", "v-3", (1, 1));
    assert_eq!(stream.changes.wrong, 2, "an open vendor may be named");
}

#[test]
fn whichever_reader_is_first_the_count_is_the_same() {
    let mut stream = Stream::default();
    stream.answer("k-1", "v-3", (0, 0));
    stream.invalidate(7, &[(Mode::Purge, "t|vendor=v-3")]);
    stream.progress(9);
    stream.change(7, "v-3 closed");
    stream.change(8, "v-4 renamed");
    stream.check(&[
        "v-4 renamed → concerned no answer given so far in 9 ms",
        "v-3 closed → 1 answer forbidden in 8 ms",
    ]);
    // The answer's view is beyond the part of the log that was read: the answer waits.
    stream.answer("k-2", "v-3", (0, 4));
    assert_eq!((stream.changes.judged, stream.changes.wrong), (1, 0));
    stream.invalidate(9, &[(Mode::Purge, "u|global"), (Mode::Purge, "w|global")]);
    assert_eq!((stream.changes.judged, stream.changes.wrong), (2, 1));
}

#[test]
fn an_answer_counts_once_for_a_change_and_a_purge_outweighs_a_refresh() {
    let mut stream = Stream::default();
    stream.answer("k-1", "v-3", (0, 0));
    stream.answer("k-2", "v-4", (0, 0));
    stream.change(7, "v-3 moved");
    stream.invalidate(
        7,
        &[(Mode::Refresh, "t|global"), (Mode::Purge, "t|vendor=v-3")],
    );
    stream.check(&["v-3 moved → 1 answer forbidden, 1 stale in 8 ms"]);
    stream.change(8, "v-3 moved");
    stream.invalidate(
        8,
        &[(Mode::Refresh, "t|global"), (Mode::Purge, "t|vendor=v-3")],
    );
    let first = stream.changes.effects().next().unwrap();
    assert_eq!(
        (first.forbidden, first.stale),
        (0, 0),
        "they were so already"
    );
}

#[test]
fn the_vendor_named_most_is_one_that_is_open() {
    let mut stream = Stream::default();
    assert_eq!(stream.changes.most_named(), None);
    for (key, vendor) in [("k-1", "v-3"), ("k-2", "v-3"), ("k-3", "v-4")] {
        stream.answer(key, vendor, (0, 0));
    }
    assert_eq!(stream.changes.most_named(), Some("v-3"));
    stream.change(7, "v-3 closed");
    assert_eq!(stream.changes.most_named(), Some("v-4"));
}

#[test]
fn what_is_kept_is_bounded() {
    let mut stream = Stream::default();
    for offset in 0..3000 {
        stream.change(offset, &format!("v-{offset} closed"));
        stream.answer("early", "v-1", (0, 1_000_000));
    }
    let changes = &stream.changes;
    assert_eq!(
        (changes.effects.len(), changes.closed.len()),
        (MOST_EFFECTS, MOST_CLOSED)
    );
    assert!(changes.early.len() <= MOST_EARLY);
    assert_eq!(changes.changes, 3000);
}

#[test]
fn a_vendor_is_named_by_its_whole_id() {
    for (text, named) in [
        ("Ask v-3.", true),
        ("v-3", true),
        ("(v-3, v-4)", true),
        ("Ask v-33 or rev-3 or v-3-b or v-3_b", false),
        ("Ask v-33, then v-3", true),
    ] {
        assert_eq!(names(text, "v-3"), named, "{text}");
    }
}
