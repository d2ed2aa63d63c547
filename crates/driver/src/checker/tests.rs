use std::borrow::Cow;

use proptest::prelude::*;

use wedcache_model::{Cause, Source, Timestamp};

use super::*;

const TAG: &str = "venue|vendor=v-1";

fn answer(stamp: i64, view: i64) -> AiAnswer<'static> {
    AiAnswer {
        answer_id: Cow::Borrowed("a"),
        query_id: Cow::Borrowed("q"),
        status: Status::Answered,
        data: Some(Cow::Borrowed("Ask v-1")),
        source: Source::Cache,
        layer: None,
        freshness: Some(Freshness::Fresh),
        stale_reason: None,
        coalesced: false,
        cached_at: None,
        age_secs: None,
        cache_type: Cow::Borrowed("venue"),
        cache_key: Cow::Borrowed("venue:…"),
        stamp: Some(Position(stamp)),
        view: Some(Position(view)),
        tags: vec![Cow::Borrowed("venue|global"), Cow::Borrowed(TAG)],
        model: None,
        prompt_tokens: None,
        completion_tokens: None,
        cost_usd: None,
        saved_usd: None,
        simulated: false,
        error: None,
        answered_at: Timestamp(0),
    }
}

fn stale(stamp: i64, view: i64, reason: StaleReason) -> AiAnswer<'static> {
    AiAnswer {
        freshness: Some(Freshness::Stale),
        stale_reason: Some(reason),
        ..answer(stamp, view)
    }
}

/// Returns a log of `[0, 100)` with these records of the vendor's tag and no gaps.
fn log(records: &[(i64, Mode)]) -> Checker {
    let mut checker = Checker::read(Position(0), Position(100));
    for (offset, mode) in records {
        checker.hits(*offset, *mode, TAG);
    }
    checker
}

#[track_caller]
fn forbidden_by(checker: &Checker, answer: &AiAnswer<'_>, offset: Option<i64>) {
    let found = match checker.judge(answer) {
        Judgement::Allowed => None,
        Judgement::Forbidden(Violation::NotFresh { hit, .. } | Violation::Purged { hit, .. }) => {
            Some(hit.offset)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(found, offset);
}

#[test]
fn a_fresh_answer_is_forbidden_by_what_lies_from_its_stamp_to_its_view() {
    for mode in [Mode::Purge, Mode::Refresh] {
        for (offset, forbids) in [(9, false), (10, true), (19, true), (20, false)] {
            let wanted = forbids.then_some(offset);
            forbidden_by(&log(&[(offset, mode)]), &answer(10, 20), wanted);
        }
    }
    let several = log(&[(3, Mode::Purge), (12, Mode::Refresh), (15, Mode::Purge)]);
    forbidden_by(&several, &answer(10, 20), Some(12));
}

#[test]
fn a_stale_answer_survives_refreshes_but_no_purge_unless_it_was_overtaken() {
    let both = log(&[(12, Mode::Refresh), (15, Mode::Purge)]);
    forbidden_by(&both, &stale(10, 15, StaleReason::Refreshed), None);
    forbidden_by(&both, &stale(10, 20, StaleReason::Refreshed), Some(15));
    forbidden_by(&both, &stale(10, 20, StaleReason::LogLag), Some(15));
    forbidden_by(&both, &stale(10, 20, StaleReason::Overtaken), None);
}

#[test]
fn an_answer_that_contradicts_itself_is_forbidden() {
    let contradictions = [
        AiAnswer {
            stamp: None,
            ..answer(10, 20)
        },
        AiAnswer {
            freshness: None,
            ..answer(10, 20)
        },
        AiAnswer {
            tags: Vec::new(),
            ..answer(10, 20)
        },
        AiAnswer {
            stale_reason: Some(StaleReason::Refreshed),
            ..answer(10, 20)
        },
        AiAnswer {
            status: Status::Failed,
            ..answer(10, 20)
        },
    ];
    for wrong in contradictions {
        let found = log(&[]).judge(&wrong);
        let inconsistent = Judgement::Forbidden(Violation::Inconsistent {
            field: "",
            problem: "",
        });
        assert_eq!(
            std::mem::discriminant(&found),
            std::mem::discriminant(&inconsistent),
            "{found:?}"
        );
    }
}

#[test]
fn what_retention_or_another_log_hides_is_never_passed() {
    let mut checker = Checker::read(Position(15), Position(18));
    assert!(matches!(
        checker.judge(&answer(10, 17)),
        Judgement::Unknown(Blind::BelowStart { .. })
    ));
    assert!(matches!(
        checker.judge(&answer(16, 20)),
        Judgement::Unknown(Blind::BeyondEnd { .. })
    ));
    assert_eq!(checker.judge(&answer(15, 18)), Judgement::Allowed);
    // The remaining records may still forbid an answer.
    checker.hits(16, Mode::Purge, TAG);
    forbidden_by(&checker, &answer(10, 17), Some(16));
}

#[test]
fn a_compacted_record_hides_behind_a_later_one_of_its_key_alone() {
    let compacted = |later: &[(i64, Mode)]| {
        let mut checker = log(later);
        checker.gap(2, 5);
        checker.gap(12, 13);
        checker.gap(40, 50);
        checker
    };
    let unknown = |checker: &Checker, answer: &AiAnswer<'_>| {
        matches!(
            checker.judge(answer),
            Judgement::Unknown(Blind::Compacted { missing: 12, .. })
        )
    };
    // No later record has these tags, so the missing one had others.
    forbidden_by(&compacted(&[]), &answer(10, 20), None);
    assert!(unknown(&compacted(&[(30, Mode::Refresh)]), &answer(10, 20)));
    let refreshed = stale(10, 20, StaleReason::Refreshed);
    forbidden_by(&compacted(&[(30, Mode::Refresh)]), &refreshed, None);
    assert!(unknown(&compacted(&[(30, Mode::Purge)]), &refreshed));
    // No gap between stamp and view.
    for (stamp, view) in [(13, 40), (5, 12), (50, 90)] {
        forbidden_by(&compacted(&[(95, Mode::Purge)]), &answer(stamp, view), None);
    }
}

fn numbered(tag: u8, mode: Mode) -> TagInvalidation {
    TagInvalidation {
        tag: tag.to_string(),
        mode,
        rule: String::new(),
        cause: Cause {
            topic: String::new(),
            partition: 0,
            offset: 0,
            event_id: None,
        },
        part: 1,
        parts: 1,
        at: Timestamp(0),
    }
}

proptest! {
    #[test]
    fn a_hit_is_the_first_record_between_that_counts(
        log in prop::collection::vec((0_u8..3, any::<bool>()), 0..30),
        (from, to) in (0_i64..40, 0_i64..40),
        tag in 0_u8..3,
        purges_only in any::<bool>(),
    ) {
        let mut checker = Checker::default();
        let mut first = None;
        for (at, (of, purges)) in log.into_iter().enumerate() {
            // With gaps, as other kinds of records leave them.
            let offset = i64::try_from(at).unwrap() * 2;
            let mode = if purges { Mode::Purge } else { Mode::Refresh };
            checker.record(offset, &numbered(of, mode));
            let counts = of == tag && (purges || !purges_only);
            if counts && (from..to).contains(&offset) {
                first = first.or(Some(offset));
            }
        }
        let counts = |mode| mode == Mode::Purge || !purges_only;
        let hit = checker.hit([&*tag.to_string()], (Position(from), Position(to)), counts);
        prop_assert_eq!(hit.map(|hit| hit.offset), first);
    }
}
