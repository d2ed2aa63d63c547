mod model;

use proptest::prelude::*;

use wedcache_model::entry::sample;

use super::*;

const LOG: LogId = LogId([7; 16]);

fn table(max_tags: usize, max_recent: usize) -> Arc<TagTable> {
    let options = TagTableOptions {
        filter_slots: 4,
        max_tags,
        max_recent,
        keep: Duration::from_hours(1),
    };
    let table = TagTable::new(options);
    table.set_log_id(LOG);
    Arc::new(table)
}

fn header(stamp: i64, tags: &[u64]) -> Header {
    let mut header = sample::entry("k", stamp, &[]).header;
    header.tag_hashes = tags.iter().map(|tag| TagHash(*tag)).collect();
    header
}

fn record(offset: i64, tag: u64, mode: Mode) -> Applied {
    Applied {
        offset,
        tag: TagHash(tag),
        mode,
        at: Timestamp(offset * 1000),
    }
}

fn put(table: &TagTable, offset: i64, tag: u64, mode: Mode) {
    table.apply(&[record(offset, tag, mode)], Position(offset + 1));
}

#[test]
fn an_entry_is_purged_by_a_record_at_or_after_its_stamp_and_by_no_other() {
    let table = table(100, 100);
    put(&table, 5, 1, Mode::Purge);
    assert_eq!(table.judge(&header(5, &[1]), &[]), Validity::Purged);
    assert_eq!(table.judge(&header(6, &[1]), &[]), Validity::Valid);
    assert_eq!(
        table.judge(&header(0, &[5]), &[]),
        Validity::Valid,
        "same slot, another tag"
    );
    assert_eq!(
        table.judge(&header(0, &[2]), &[TagHash(1)]),
        Validity::Purged,
        "the asker's tag"
    );
}

#[test]
fn a_refresh_after_a_purge_does_not_bring_the_purged_back() {
    let table = table(100, 100);
    put(&table, 5, 1, Mode::Purge);
    put(&table, 9, 1, Mode::Refresh);
    assert_eq!(table.judge(&header(5, &[1]), &[]), Validity::Purged);
    assert_eq!(
        table.judge(&header(6, &[1]), &[]),
        Validity::Refreshed {
            at: Timestamp(9000)
        }
    );
    assert_eq!(table.judge(&header(10, &[1]), &[]), Validity::Valid);
}

#[test]
fn stamps_of_another_log_and_below_the_floor_are_void() {
    let table = table(100, 100);
    let mut foreign = header(5, &[]);
    foreign.log_id = LogId([8; 16]);
    assert_eq!(table.judge(&foreign, &[]), Validity::Void);
    table.raise_floor(Position(6));
    assert_eq!(table.judge(&header(5, &[]), &[]), Validity::Void);
    table.reset();
    assert_eq!(table.judge(&header(500, &[]), &[]), Validity::Void);
}

#[test]
fn forgetting_tags_voids_the_stamps_that_they_could_have_hit() {
    let table = table(4, 100);
    for offset in 0..5 {
        put(&table, offset, offset.unsigned_abs(), Mode::Purge);
    }
    assert!(table.tags() <= 4);
    assert_eq!(table.judge(&header(0, &[0]), &[]), Validity::Void);
    assert_eq!(table.judge(&header(4, &[4]), &[]), Validity::Purged);

    let table = self::table(100, 100);
    put(&table, 3, 1, Mode::Purge);
    table.sweep(Timestamp(3000).plus(Duration::from_hours(2)));
    assert_eq!(table.tags(), 0);
    assert_eq!(table.judge(&header(3, &[1]), &[]), Validity::Void);
    assert_eq!(table.judge(&header(4, &[1]), &[]), Validity::Valid);
}

#[test]
fn a_waiter_is_judged_by_the_records_before_its_arrival_alone() {
    let table = table(100, 100);
    table.apply(&[], Position(10));
    let flight = table.open_flight();
    assert_eq!(flight.position(), Position(10));
    put(&table, 10, 1, Mode::Purge);
    put(&table, 11, 2, Mode::Purge);
    let tags = [TagHash(2)];
    assert!(
        !table.hit_between(LOG, &tags, flight.position(), Position(10)),
        "the flight's own caller"
    );
    assert!(
        !table.hit_between(LOG, &tags, flight.position(), Position(11)),
        "arrived before it"
    );
    assert!(
        table.hit_between(LOG, &tags, flight.position(), Position(12)),
        "arrived after it"
    );
    put(&table, 12, 2, Mode::Refresh);
    assert!(
        !table.hit_between(LOG, &tags, flight.position(), Position(11)),
        "the last offset is later"
    );
}

#[test]
fn where_records_had_to_be_dropped_a_waiter_is_told_to_look_again() {
    let table = table(100, 2);
    let flight = table.open_flight();
    for offset in 0..4 {
        put(&table, offset, 1, Mode::Purge);
    }
    assert!(table.hit_between(LOG, &[TagHash(1)], flight.position(), Position(1)));
    assert!(!table.hit_between(LOG, &[TagHash(9)], flight.position(), Position(4)));
}

/// Judges an entry whose tag has been purged on two threads, while `change` changes the table.
fn never_valid(table: &TagTable, change: impl FnOnce()) {
    use std::sync::atomic::AtomicBool;
    let (entry, over) = (header(0, &[1]), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let verdict = table.judge(&entry, &[]);
                    let forbids = matches!(verdict, Validity::Purged | Validity::Void);
                    assert!(forbids, "{verdict:?}");
                    assert!(table.hit_between(LOG, &[TagHash(1)], Position(0), Position(1)));
                }
            });
        }
        change();
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_is_purged_is_not_valid_at_the_moment_when_its_tag_is_forgotten() {
    for _ in 0..300 {
        let table = table(64, 1 << 10);
        put(&table, 0, 1, Mode::Purge);
        never_valid(&table, || {
            for at in 1..70 {
                put(&table, at, 1 + at.unsigned_abs(), Mode::Purge);
            }
        });
        assert_eq!(table.judge(&header(0, &[1]), &[]), Validity::Void);
    }
}

#[test]
fn what_is_purged_is_not_valid_while_the_log_is_read_again() {
    let table = table(1 << 10, 1 << 10);
    put(&table, 0, 1, Mode::Purge);
    never_valid(&table, || {
        for _ in 0..20_000 {
            table.reset();
            put(&table, 0, 1, Mode::Purge);
            // The log's id comes once the log is read.
            table.set_log_id(LOG);
        }
    });
}

proptest! {
    /// Compares the table with a list of all records: never "valid" if the list forbids it, and
    /// exact if nothing was dropped.
    #[test]
    fn judging_agrees_with_the_whole_log(
        records in prop::collection::vec((0_u64..12, any::<bool>()), 0..60),
        stamp in 0_i64..64,
        tags in prop::collection::vec(0_u64..12, 0..4),
        opened in 0_usize..60,
        arrival in 0_i64..64,
        small in any::<bool>(),
    ) {
        let table = if small { table(5, 3) } else { table(1000, 1000) };
        let mut flight = None;
        for (offset, (tag, purge)) in records.iter().enumerate() {
            if offset == opened {
                flight = Some(table.open_flight());
            }
            let mode = if *purge { Mode::Purge } else { Mode::Refresh };
            put(&table, i64::try_from(offset).unwrap(), *tag, mode);
        }
        let hits = |from: i64, to: i64, purges_only: bool| {
            records.iter().enumerate().any(|(offset, (tag, purge))| {
                let offset = i64::try_from(offset).unwrap();
                offset >= from && offset < to && tags.contains(tag) && (*purge || !purges_only)
            })
        };
        let naive = match (hits(stamp, i64::MAX, true), hits(stamp, i64::MAX, false)) {
            (true, _) => "purged",
            (false, true) => "refreshed",
            (false, false) => "valid",
        };
        let got = match table.judge(&header(stamp, &tags), &[]) {
            Validity::Void => "void",
            Validity::Purged => "purged",
            Validity::Refreshed { .. } => "refreshed",
            Validity::Valid => "valid",
        };
        prop_assert!(got == naive || (small && got == "void"), "{got} for {naive}");

        if let Some(flight) = flight {
            let hashes: Vec<_> = tags.iter().map(|tag| TagHash(*tag)).collect();
            let from = flight.position();
            let got = table.hit_between(LOG, &hashes, from, Position(arrival));
            let naive = hits(from.0, arrival, false);
            prop_assert!(got || !naive, "a forbidden answer was let through");
            prop_assert!(small || got == naive);
        }
    }
}
