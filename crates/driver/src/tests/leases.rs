//! Two instances that share a Redis: one calls for a key, the other waits for what it stores.

use super::*;

/// The production topology with its Redis, for two instances.
fn pair(test: impl AsyncFnOnce(&mut Stage)) {
    play_fleet(2, fleet(), test);
}

#[test]
fn two_instances_that_are_asked_at_once_make_one_call() {
    pair(async |stage| {
        stage.driver.respond(numbered("answer", secs(5)));
        stage.begin_at(0, &about("q-1", "v-1")).await;
        stage.begin_at(1, &about("q-2", "v-1")).await;
        stage.begin_at(1, &about("q-3", "v-1")).await;
        stage.advance(secs(4)).await;
        assert!(stage.is_waiting("q-2") && stage.is_waiting("q-3"));
        stage.advance(secs(2)).await;
        stage.seen("q-1").is_called("answer 1");
        stage.seen("q-2").is_joined("answer 1");
        stage.seen("q-3").is_joined("answer 1");
        assert_eq!(stage.calls.len(), 1);
    });
}

#[test]
fn a_call_that_takes_longer_than_a_lease_stands_is_still_the_only_one() {
    pair(async |stage| {
        stage.driver.respond(numbered("answer", secs(40)));
        stage.begin_at(0, &about("q-1", "v-1")).await;
        for number in 2..6 {
            stage.advance(secs(9)).await;
            let id = format!("q-{number}");
            stage.begin_at(1, &about(&id, "v-1")).await;
            assert!(stage.is_waiting(&id));
        }
        stage.advance(secs(9)).await;
        stage.seen("q-2").is_joined("answer 1");
        assert_eq!(stage.calls.len(), 1);
    });
}

#[test]
fn who_asks_after_a_change_does_not_wait_for_another_instances_older_call() {
    pair(async |stage| {
        stage.driver.respond(numbered("free, says", secs(5)));
        stage.begin_at(0, &about("q-1", "v-1")).await;
        stage.advance(secs(1)).await;
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.begin_at(1, &about("q-2", "v-1")).await;
        stage.begin_at(0, &about("q-3", "v-1")).await;
        stage.advance(secs(6)).await;
        stage.seen("q-1").is_called("free, says 1");
        stage.seen("q-2").is_called("free, says 2");
        stage.seen("q-3").is_joined("free, says 2");
        assert_eq!(stage.calls.len(), 2);
    });
}

#[test]
fn an_answer_that_names_a_vendor_that_changed_meanwhile_is_not_taken_from_another_instance() {
    pair(async |stage| {
        stage.driver.respond(numbered("v-1 is best, says", secs(5)));
        stage.begin_at(0, &query("q-1", SHARED)).await;
        stage.advance(secs(1)).await;
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        // Nothing tells this one yet that the other call's answer will name the vendor.
        stage.begin_at(1, &query("q-2", SHARED)).await;
        stage.advance(secs(20)).await;
        stage.seen("q-1").is_called("v-1 is best, says 1");
        stage.seen("q-2").is_called("v-1 is best, says 2");
    });
}

#[test]
fn when_a_call_brings_no_answer_the_next_instance_calls() {
    pair(async |stage| {
        stage.driver.respond(Box::new(|call| match call.number {
            1 => Scripted {
                takes: secs(5),
                outcome: MockedCall::Status(400),
            },
            number => Scripted::text(format!("answer {number}")),
        }));
        stage.begin_at(0, &about("q-1", "v-1")).await;
        stage.begin_at(1, &about("q-2", "v-1")).await;
        stage.advance(secs(6)).await;
        stage.seen("q-1").is(Status::Failed, None);
        stage.seen("q-2").is_called("answer 2");
    });
}

#[test]
fn what_a_killed_instance_called_for_is_called_for_again_at_once_by_itself_and_after_a_term_by_others()
 {
    pair(async |stage| {
        stage.driver.respond(numbered("answer", secs(5)));
        stage.begin_at(0, &about("q-1", "v-1")).await;
        stage.begin_at(0, &about("q-2", "v-2")).await;
        stage.advance(secs(1)).await;
        stage.driver.restart_one(0);
        stage.begin_at(1, &about("q-3", "v-1")).await;
        stage.begin_at(0, &about("q-4", "v-2")).await;
        stage.advance(secs(5)).await;
        stage.seen("q-4").is_called("answer 3");
        assert!(stage.is_waiting("q-3"));
        // Within the term it called; then its own call takes its time.
        stage.advance(secs(6)).await;
        stage.seen("q-3").is_called("answer 4");
    });
}

#[test]
fn while_redis_is_away_nothing_waits() {
    pair(async |stage| {
        stage.driver.respond(numbered("answer", secs(5)));
        stage.begin_at(0, &about("q-1", "v-1")).await;
        stage.driver.set_durable_away(true);
        stage.begin_at(1, &about("q-2", "v-1")).await;
        stage.advance(secs(5)).await;
        stage.seen("q-1").is_called("answer 1");
        stage.seen("q-2").is_called("answer 2");
    });
}

#[test]
fn whoever_waits_for_another_instance_goes_on_alone_when_redis_goes_away() {
    pair(async |stage| {
        stage.driver.respond(numbered("answer", secs(60)));
        stage.begin_at(0, &about("q-1", "v-1")).await;
        stage.begin_at(1, &about("q-2", "v-1")).await;
        stage.advance(secs(1)).await;
        stage.driver.set_durable_away(true);
        stage.advance(secs(61)).await;
        stage.seen("q-2").is_called("answer 2");
    });
}

#[test]
fn what_is_for_one_query_alone_neither_waits_for_another_instance_nor_holds_it_up() {
    pair(async |stage| {
        stage.driver.respond(numbered("answer", secs(5)));
        let mut bypassing = about("q-2", "v-1");
        bypassing.options.bypass_cache = true;
        let mut unstored = about("q-3", "v-2");
        unstored.options.no_store = true;
        stage.begin_at(0, &about("q-1", "v-1")).await;
        stage.begin_at(1, &bypassing).await;
        stage.begin_at(0, &unstored).await;
        stage.begin_at(1, &about("q-4", "v-2")).await;
        stage.advance(secs(5)).await;
        for (number, id) in ["q-1", "q-2", "q-3", "q-4"].iter().enumerate() {
            let answer = format!("answer {}", number + 1);
            stage.seen(id).is_called(&answer);
        }
    });
}

#[test]
fn a_call_that_is_too_old_for_a_query_is_not_waited_for() {
    pair(async |stage| {
        stage.driver.respond(numbered("answer", secs(5)));
        stage.begin_at(0, &about("q-1", "v-1")).await;
        stage.advance(secs(3)).await;
        let mut impatient = about("q-2", "v-1");
        impatient.options.max_age = Some(secs(1));
        stage.begin_at(1, &impatient).await;
        stage.advance(secs(5)).await;
        stage.seen("q-2").is_called("answer 2");
    });
}

#[test]
fn queries_may_be_handed_over_while_every_call_is_known_to_the_other_instances() {
    pair(async |stage| {
        stage.driver.respond(numbered("answer", secs(5)));
        let resolver = Arc::clone(&stage.driver.instances[0].queries.resolver);
        stage.begin_at(0, &about("q-1", "v-1")).await;
        assert!(resolver.may_hand_over());
        let mut alone = about("q-2", "v-2");
        alone.options.no_store = true;
        stage.begin_at(0, &alone).await;
        assert!(!resolver.may_hand_over(), "its answer would be for nobody");
        stage.advance(secs(5)).await;
        assert!(resolver.may_hand_over());
        stage.driver.set_durable_away(true);
        assert!(!resolver.may_hand_over());
    });
}

#[test]
fn without_a_shared_layer_there_are_no_leases() {
    play(async |stage| {
        let resolver = &stage.driver.instances[0].queries.resolver;
        assert!(resolver.parts().layers.leases().is_none());
        assert!(!resolver.may_hand_over());
    });
}

#[test]
fn a_lease_ends_with_its_call() {
    pair(async |stage| {
        stage
            .ask_at(0, &about("q-1", "v-1"))
            .await
            .is_called("answer 1");
        let parts = stage.driver.instances[1].queries.resolver.parts();
        let (redis, key) = (&stage.driver.world.redis, &stage.seen("q-1").0.cache_key);
        assert!(redis.as_ref().unwrap().claim_of(key).is_none());
        assert!(parts.layers.leases().unwrap().available());
    });
}

#[test]
fn a_claim_whose_release_was_not_heard_holds_up_nobody_of_its_own_instance() {
    pair(async |stage| {
        stage.driver.respond(Box::new(|call| match call.number {
            1 => Scripted {
                takes: secs(2),
                outcome: MockedCall::Status(400),
            },
            number => Scripted::text(format!("answer {number}")),
        }));
        stage.begin_at(0, &about("q-1", "v-1")).await;
        stage.advance(secs(1)).await;
        stage.driver.set_durable_away(true);
        stage.advance(Duration::from_millis(1500)).await;
        stage.seen("q-1").is(Status::Failed, None);
        stage.driver.set_durable_away(false);
        stage
            .ask_at(0, &about("q-2", "v-1"))
            .await
            .is_called("answer 2");
    });
}
