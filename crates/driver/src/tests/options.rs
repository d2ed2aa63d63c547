//! What a query can ask for itself, and what is never kept.

use super::*;

fn with(mut query: AiQuery, set: impl FnOnce(&mut wedcache_model::event::QueryOptions)) -> AiQuery {
    set(&mut query.options);
    query
}

#[test]
fn bypass_neither_looks_up_nor_joins_and_its_answer_is_stored_and_joined_by_others() {
    play(async |stage| {
        stage.ask(&query("q-1", SHARED)).await.is_called("answer 1");
        stage.advance(secs(1)).await;
        stage.driver.respond(numbered("answer", secs(1)));
        let bypass = |id| with(query(id, SHARED), |options| options.bypass_cache = true);
        stage.begin(&bypass("q-2")).await;
        stage.begin(&bypass("q-3")).await;
        // A fresh entry is there: others do not wait.
        stage
            .ask(&query("q-4", SHARED))
            .await
            .is_fresh_from(LayerName::Memory, "answer 1");
        stage.advance(secs(1)).await;
        stage.seen("q-2").is_called("answer 2");
        stage.seen("q-3").is_called("answer 3");
        assert_eq!(stage.count(Operation::Bypass), 2);
        let seen = stage.ask(&query("q-5", SHARED)).await;
        assert_eq!(seen.0.source, Source::Cache);
        assert_ne!(seen.0.data.as_deref(), Some("answer 1"));
    });
    play(async |stage| {
        stage.driver.respond(numbered("answer", secs(1)));
        stage
            .begin(&with(query("q-1", SHARED), |options| {
                options.bypass_cache = true;
            }))
            .await;
        stage.begin(&query("q-2", SHARED)).await;
        stage.advance(secs(1)).await;
        stage.seen("q-2").is_joined("answer 1");
    });
}

#[test]
fn no_store_reads_and_joins_and_leaves_nothing() {
    play(async |stage| {
        let no_store = |id| with(query(id, SHARED), |options| options.no_store = true);
        stage.driver.respond(numbered("answer", secs(1)));
        stage.begin(&no_store("q-1")).await;
        stage.begin(&query("q-2", SHARED)).await;
        stage.begin(&no_store("q-3")).await;
        stage.advance(secs(1)).await;
        stage.seen("q-1").is_called("answer 1");
        stage.seen("q-2").is_called("answer 2");
        stage.seen("q-3").is_joined("answer 2");
        assert_eq!(stage.count(Operation::Fill), 1);
        stage
            .ask(&no_store("q-4"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 2");
    });
}

#[test]
fn an_age_bound_counts_from_the_calls_begin() {
    play(async |stage| {
        let aged = |id, age| {
            with(query(id, SHARED), |options| {
                options.max_age = Some(secs(age));
            })
        };
        stage.driver.respond(numbered("answer", secs(10)));
        stage.begin(&query("q-1", SHARED)).await;
        stage.advance(secs(15)).await;
        stage
            .ask(&aged("q-2", 15))
            .await
            .is_fresh_from(LayerName::Memory, "answer 1");
        stage.begin(&aged("q-3", 14)).await;
        assert!(stage.is_waiting("q-3"));
        stage.advance(secs(10)).await;
        stage.seen("q-3").is_called("answer 2");
    });
}

#[test]
fn an_age_of_zero_asks_for_a_call_that_begins_later_and_those_who_wait_share_it() {
    play(async |stage| {
        let now = |id| {
            with(query(id, SHARED), |options| {
                options.max_age = Some(Duration::ZERO);
            })
        };
        stage.ask(&query("q-1", SHARED)).await.is_called("answer 1");
        stage.advance(secs(1)).await;
        stage.driver.respond(numbered("answer", secs(5)));
        for id in ["q-2", "q-3", "q-4"] {
            stage.driver.query(&now(id));
        }
        stage.advance(secs(1)).await;
        // The call that is on its way began before this one's arrival.
        stage.begin(&now("q-5")).await;
        stage.advance(secs(10)).await;
        stage.seen("q-2").is_called("answer 2");
        stage.seen("q-3").is_joined("answer 2");
        stage.seen("q-4").is_joined("answer 2");
        stage.seen("q-5").is_called("answer 3");
    });
}

#[test]
fn a_deadline_that_has_passed_at_the_arrival_buys_nothing() {
    play(async |stage| {
        let at = stage.driver.now();
        let seen = stage
            .ask(&with(query("q-1", SHARED), |options| {
                options.deadline = Some(at);
            }))
            .await;
        seen.is(Status::Expired, None);
        assert_eq!((stage.calls.len(), stage.count(Operation::Expired)), (0, 1));
    });
}

#[test]
fn a_deadline_that_passes_during_a_flight_expires_the_query_and_the_answer_is_stored() {
    play(async |stage| {
        stage.driver.respond(numbered("answer", secs(10)));
        let at = stage.driver.now().plus(secs(5));
        stage
            .begin(&with(query("q-1", SHARED), |options| {
                options.deadline = Some(at);
            }))
            .await;
        stage.advance(secs(5)).await;
        stage.seen("q-1").is(Status::Expired, None);
        stage.advance(secs(5)).await;
        stage
            .ask(&query("q-2", SHARED))
            .await
            .is_fresh_from(LayerName::Memory, "answer 1");
        assert_eq!(stage.calls.len(), 1);
    });
}

#[test]
fn while_the_provider_is_away_an_expired_entry_is_served_and_says_so() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        // vendor_matching lives for a day and may be served for half a day more.
        stage.advance(secs(25 * 3600)).await;
        stage.driver.respond(ends(MockedCall::Status(503)));
        stage.begin(&about("q-2", "v-1")).await;
        stage.advance(secs(60)).await;
        stage.seen("q-2").is_stale(StaleReason::Expired, "answer 1");
        assert_eq!(stage.count(Operation::StaleHit), 1);
        // A refusal is not the provider being away.
        stage.driver.respond(ends(MockedCall::Refused));
        stage.advance(secs(60)).await;
        stage.ask(&about("q-3", "v-1")).await.failed("refused");
        stage.advance(secs(12 * 3600)).await;
        stage.driver.respond(ends(MockedCall::Status(503)));
        stage.begin(&about("q-4", "v-1")).await;
        stage.advance(secs(60)).await;
        stage.seen("q-4").failed("provider_unavailable");
    });
}

#[test]
fn while_the_circuit_is_open_a_refreshed_entry_is_served_and_no_refill_is_tried() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.vendor_change(&change("v-1", "details_changed")).await;
        stage.driver.respond(ends(MockedCall::Status(503)));
        for number in 0..20 {
            stage
                .begin(&about(&format!("f-{number}"), &format!("v-f{number}")))
                .await;
        }
        stage.advance(secs(5)).await;
        let tried = |stage: &Stage| {
            let name = "wedcache_provider_attempts_total";
            stage.driver.metrics().total(name, None)
        };
        let before = tried(stage);
        for number in 2..12 {
            stage
                .ask(&about(&format!("q-{number}"), "v-1"))
                .await
                .is_stale(StaleReason::Refreshed, "answer 1");
        }
        assert!((tried(stage) - before).abs() < 0.5);
        // Back again: the circuit lets calls through by and by.
        stage.driver.respond(numbered("answer", Duration::ZERO));
        for number in 12..20 {
            stage.advance(secs(15)).await;
            stage.begin(&about(&format!("q-{number}"), "v-1")).await;
        }
        stage
            .seen("q-19")
            .is_fresh_from(LayerName::Memory, "answer 12");
    });
}

#[test]
fn a_purged_entry_is_not_served_even_while_the_provider_is_away() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.driver.respond(ends(MockedCall::Status(503)));
        stage.begin(&about("q-2", "v-1")).await;
        stage.advance(secs(60)).await;
        stage.seen("q-2").failed("provider_unavailable");
    });
}

#[test]
fn a_purge_that_comes_while_the_provider_is_asked_forbids_the_expired_entry_too() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.advance(secs(25 * 3600)).await;
        stage.driver.respond(Box::new(|_| Scripted {
            takes: secs(5),
            outcome: MockedCall::Timeout,
        }));
        stage.begin(&about("q-2", "v-1")).await;
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.advance(secs(60)).await;
        stage.seen("q-2").failed("timeout");
    });
}

#[test]
fn refused_empty_and_truncated_answers_fail_and_are_never_stored() {
    for (outcome, code) in [
        (MockedCall::Refused, "refused"),
        (MockedCall::Empty, "empty"),
        (MockedCall::Truncated, "truncated"),
    ] {
        play(async |stage| {
            stage.driver.respond(ends(outcome));
            stage.ask(&query("q-1", SHARED)).await.failed(code);
            assert_eq!(stage.count(Operation::Fill), 0);
            assert_eq!(stage.count(Operation::Call), 1, "it was paid for");
            stage.driver.respond(text("at last"));
            stage.ask(&query("q-2", SHARED)).await.is_called("at last");
        });
    }
}

#[test]
fn every_query_has_exactly_one_metric_of_its_outcome() {
    play(async |stage| {
        let at = stage.driver.now();
        stage.ask(&query("q-1", SHARED)).await;
        stage.ask(&query("q-2", SHARED)).await;
        stage
            .ask(&with(query("q-3", SHARED), |options| {
                options.deadline = Some(at);
            }))
            .await;
        stage.driver.respond(ends(MockedCall::Refused));
        stage.ask(&query("q-4", PRIVATE)).await;
        let outcomes: Vec<_> = stage
            .metrics
            .iter()
            .filter(|of| !matches!(of.operation, Operation::Call | Operation::Fill))
            .map(|of| of.operation)
            .collect();
        let expected = [
            Operation::Miss,
            Operation::Hit,
            Operation::Expired,
            Operation::Failure,
        ];
        assert_eq!(outcomes, expected);
    });
}
