//! Changes while a call is on its way, and many queries for one call.

use super::*;

/// Names a vendor that no query names.
fn names_v_1() -> Responder {
    numbered("v-1 is best, says", secs(5))
}

#[test]
fn a_change_that_lands_during_a_slow_fill_forbids_it_to_all_who_come_later() {
    play(async |stage| {
        stage.driver.respond(numbered("free, says", secs(5)));
        stage.begin(&about("q-1", "v-1")).await;
        stage.advance(secs(1)).await;
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.advance(secs(4)).await;
        // Its own caller asked before the change.
        stage.seen("q-1").is_called("free, says 1");
        stage.begin(&about("q-2", "v-1")).await;
        assert!(stage.is_waiting("q-2"));
        stage.advance(secs(5)).await;
        stage.seen("q-2").is_called("free, says 2");
        assert_eq!(
            stage.count(Operation::Fill),
            1,
            "the overtaken answer is not stored"
        );
    });
}

#[test]
fn a_refresh_during_a_slow_fill_leaves_it_stale_at_once() {
    play(async |stage| {
        stage.driver.respond(numbered("v-1, says", secs(5)));
        stage.begin(&about("q-1", "v-1")).await;
        stage.vendor_change(&change("v-1", "details_changed")).await;
        stage.advance(secs(5)).await;
        stage
            .ask(&about("q-2", "v-1"))
            .await
            .is_stale(StaleReason::Refreshed, "v-1, says 1");
        stage.advance(secs(5)).await;
        stage
            .ask(&about("q-3", "v-1"))
            .await
            .is_fresh_from(LayerName::Memory, "v-1, says 2");
    });
}

#[test]
fn a_query_after_the_change_does_not_join_the_older_flight_of_its_known_vendor() {
    play(async |stage| {
        stage.driver.respond(numbered("free, says", secs(5)));
        stage.begin(&about("q-1", "v-1")).await;
        stage.begin(&about("q-2", "v-1")).await;
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.begin(&about("q-3", "v-1")).await;
        stage.begin(&about("q-4", "v-1")).await;
        stage.advance(secs(5)).await;
        stage.seen("q-1").is_called("free, says 1");
        stage.seen("q-2").is_joined("free, says 1");
        stage.seen("q-3").is_called("free, says 2");
        stage.seen("q-4").is_joined("free, says 2");
    });
}

#[test]
fn a_query_after_the_change_is_not_given_the_older_flights_answer_that_names_the_vendor() {
    play(async |stage| {
        stage.driver.respond(names_v_1());
        stage.begin(&query("q-1", SHARED)).await;
        stage.begin(&query("q-2", SHARED)).await;
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.begin(&query("q-3", SHARED)).await;
        assert_eq!(
            stage.calls.len(),
            1,
            "nothing tells yet that the answer will name v-1"
        );
        stage.advance(secs(5)).await;
        stage.seen("q-1").is_called("v-1 is best, says 1");
        stage.seen("q-2").is_joined("v-1 is best, says 1");
        assert!(
            stage.is_waiting("q-3"),
            "it looked up again, and a new call is on its way"
        );
        stage.advance(secs(5)).await;
        stage.seen("q-3").is_called("v-1 is best, says 2");
    });
}

#[test]
fn a_change_of_another_vendor_overtakes_nothing() {
    play(async |stage| {
        stage.driver.respond(names_v_1());
        stage.begin(&query("q-1", SHARED)).await;
        stage
            .vendor_change(&change("v-2", "availability_changed"))
            .await;
        stage.begin(&query("q-2", SHARED)).await;
        stage.advance(secs(5)).await;
        stage.seen("q-2").is_joined("v-1 is best, says 1");
        stage
            .ask(&query("q-3", SHARED))
            .await
            .is_fresh_from(LayerName::Memory, "v-1 is best, says 1");
    });
}

#[test]
fn an_older_flight_does_not_overwrite_a_newer_fill() {
    play(async |stage| {
        stage.driver.respond(Box::new(|call| {
            let takes = if call.number == 1 { secs(9) } else { secs(1) };
            Scripted::text(format!("says {}", call.number)).after(takes)
        }));
        stage.begin(&about("q-1", "v-1")).await;
        stage.vendor_change(&change("v-1", "details_changed")).await;
        stage.begin(&about("q-2", "v-1")).await;
        stage.advance(secs(1)).await;
        stage.seen("q-2").is_called("says 2");
        stage.advance(secs(9)).await;
        stage.seen("q-1").is_called("says 1");
        stage
            .ask(&about("q-3", "v-1"))
            .await
            .is_fresh_from(LayerName::Memory, "says 2");
        stage.driver.restart();
        stage
            .ask(&about("q-4", "v-1"))
            .await
            .is_fresh_from(LayerName::Disk, "says 2");
    });
}

#[test]
fn two_hundred_identical_misses_at_once_make_one_call() {
    play(async |stage| {
        stage.driver.respond(numbered("answer", secs(2)));
        for id in 0..200 {
            stage.driver.query(&query(&format!("q-{id}"), SHARED));
        }
        stage.advance(secs(2)).await;
        assert_eq!((stage.calls.len(), stage.answers.len()), (1, 200));
        let joined = stage
            .answers
            .values()
            .filter(|of| of.answer.coalesced)
            .count();
        assert_eq!(joined, 199);
        assert_eq!(stage.count(Operation::Call), 1);
        assert_eq!(stage.count(Operation::Miss), 200);
        let costs = stage.answers.values().filter_map(|of| of.answer.cost_usd);
        assert_eq!(
            costs.filter(|cost| *cost > 0.0).count(),
            1,
            "only the leader carries it"
        );
    });
}

#[test]
fn a_miss_whose_look_up_outlasts_anothers_call_does_not_buy_it_again() {
    play(async |stage| {
        stage.driver.set_durable_latency(Duration::from_millis(50));
        stage
            .driver
            .respond(numbered("answer", Duration::from_millis(20)));
        stage.begin(&query("q-1", SHARED)).await;
        stage.advance(Duration::from_millis(30)).await;
        // Its look-up on disk ends after the call that begins at 50 ms has landed at 70 ms.
        stage.begin(&query("q-2", SHARED)).await;
        stage.advance(Duration::from_millis(200)).await;
        stage.seen("q-1").is_called("answer 1");
        stage.seen("q-2").is(Status::Answered, Some("answer 1"));
        assert_eq!(stage.calls.len(), 1);
    });
}

#[test]
fn in_a_refreshs_stale_window_one_flight_refills_and_past_it_the_entry_is_not_served() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.vendor_change(&change("v-1", "details_changed")).await;
        stage.driver.respond(numbered("answer", secs(60)));
        for id in 2..12 {
            let seen = stage.ask(&about(&format!("q-{id}"), "v-1")).await;
            seen.is_stale(StaleReason::Refreshed, "answer 1");
            stage.advance(secs(1)).await;
        }
        assert_eq!(
            stage.calls.len(),
            2,
            "one call for the answer, one for its refill"
        );
        // vendor_matching's stale window is an hour.
        stage.driver.respond(ends(MockedCall::Refused));
        stage.vendor_change(&change("v-1", "details_changed")).await;
        stage.advance(secs(3601)).await;
        let seen = stage.ask(&about("q-late", "v-1")).await;
        seen.failed("refused");
    });
}

#[test]
fn an_answer_of_too_many_vendors_is_neither_stored_nor_shared() {
    play(async |stage| {
        let names: Vec<_> = (0..300).map(|id| format!("v-{id}")).collect();
        let names = names.join(" ");
        stage.driver.respond(Box::new(move |_| {
            Scripted::text(names.clone()).after(secs(1))
        }));
        for id in 0..3 {
            stage.driver.query(&query(&format!("q-{id}"), SHARED));
        }
        stage.advance(secs(30)).await;
        assert!(
            stage.answers.values().all(|of| !of.answer.coalesced),
            "nobody was given another's"
        );
        assert_eq!((stage.answers.len(), stage.calls.len()), (3, 3));
        stage.begin(&query("q-later", SHARED)).await;
        assert!(stage.is_waiting("q-later") && stage.count(Operation::Fill) == 0);
    });
}
