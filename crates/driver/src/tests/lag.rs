//! What is served while this instance knows less than there is to know.

use wedcache_rules::topology::settings::LagAction;

use super::*;

fn bypassing() -> Topology {
    let mut topology = production();
    topology.policy.freshness.max_invalidation_lag.then = LagAction::Bypass;
    topology.policy.freshness.max_rules_lag.then = LagAction::Bypass;
    topology
}

#[test]
fn past_its_bound_a_log_that_is_not_read_labels_what_is_served() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.driver.hold_log();
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        // Within the bound of 10 s this is what the view says.
        stage
            .ask(&about("q-2", "v-1"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 1");
        stage.advance(secs(11)).await;
        stage
            .ask(&about("q-3", "v-1"))
            .await
            .is_stale(StaleReason::LogLag, "answer 1");
        stage.driver.release_log();
        stage.ask(&about("q-4", "v-1")).await.is_called("answer 2");
        stage
            .ask(&about("q-5", "v-1"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 2");
    });
}

#[test]
fn where_the_topology_says_bypass_the_provider_is_asked_instead() {
    play_on(bypassing(), async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.driver.hold_log();
        stage
            .vendor_change(&change("v-2", "availability_changed"))
            .await;
        stage.advance(secs(11)).await;
        stage.ask(&about("q-2", "v-1")).await.is_called("answer 2");
        stage.driver.release_log();
        stage
            .ask(&about("q-3", "v-1"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 2");
    });
}

#[test]
fn an_entry_that_the_lag_held_back_is_fresh_again_if_the_lag_ends_before_the_provider_fails() {
    play_on(bypassing(), async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.driver.hold_log();
        stage
            .vendor_change(&change("v-2", "availability_changed"))
            .await;
        stage.advance(secs(11)).await;
        stage.driver.respond(Box::new(|_| Scripted {
            takes: secs(5),
            outcome: MockedCall::Timeout,
        }));
        stage.begin(&about("q-2", "v-1")).await;
        assert!(stage.is_waiting("q-2"));
        stage.driver.release_log();
        stage.advance(secs(5)).await;
        stage.seen("q-2").is_fresh_from(LayerName::Disk, "answer 1");
    });
}

#[test]
fn changes_that_nobody_judges_label_what_is_served_past_the_bound() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.driver.hold_changes();
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.advance(secs(61)).await;
        stage
            .ask(&about("q-2", "v-1"))
            .await
            .is_stale(StaleReason::RulesLag, "answer 1");
        stage.driver.release_changes();
        stage.ask(&about("q-3", "v-1")).await.is_called("answer 2");
    });
}

#[test]
fn after_a_start_with_unjudged_changes_nothing_is_called_fresh_until_they_are_judged() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.driver.hold_changes();
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.driver.restart();
        stage
            .ask(&about("q-2", "v-1"))
            .await
            .is_stale(StaleReason::RulesLag, "answer 1");
        stage.driver.release_changes();
        stage.ask(&about("q-3", "v-1")).await.is_called("answer 2");
    });
    play_on(bypassing(), async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.driver.hold_changes();
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.driver.restart();
        stage.ask(&about("q-2", "v-1")).await.is_called("answer 2");
    });
}

#[test]
fn a_purged_entry_is_not_served_however_much_the_log_lags() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.driver.hold_log();
        stage
            .vendor_change(&change("v-2", "availability_changed"))
            .await;
        stage.advance(secs(11)).await;
        stage.driver.respond(ends(MockedCall::Refused));
        stage.ask(&about("q-2", "v-1")).await.failed("refused");
    });
}
