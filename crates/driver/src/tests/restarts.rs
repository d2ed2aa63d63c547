//! What a restart, a compaction and a log made anew leave true.

use super::*;

#[test]
fn what_is_durable_is_served_after_a_restart() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage
            .ask(&about("q-2", "v-1"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 1");
        stage.driver.restart();
        stage
            .ask(&about("q-3", "v-1"))
            .await
            .is_fresh_from(LayerName::Disk, "answer 1");
        stage
            .ask(&about("q-4", "v-1"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 1");
    });
}

#[test]
fn a_restart_between_change_and_query_does_not_revive_what_was_purged() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.driver.restart();
        stage.ask(&about("q-2", "v-1")).await.is_called("answer 2");
    });
}

#[test]
fn a_purge_during_downtime_is_known_at_the_start() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        // Judged by another instance while this one is down.
        stage.driver.hold_log();
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.driver.restart();
        stage.driver.release_log();
        stage.ask(&about("q-2", "v-1")).await.is_called("answer 2");
    });
}

#[test]
fn a_refresh_after_a_purge_does_not_let_compaction_forget_the_purge() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.vendor_change(&change("v-1", "details_changed")).await;
        stage.driver.compact_log();
        stage.driver.restart();
        stage.ask(&about("q-2", "v-1")).await.is_called("answer 2");
    });
}

#[test]
fn of_many_purges_compaction_keeps_enough() {
    play(async |stage| {
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.ask(&about("q-2", "v-2")).await.is_called("answer 2");
        stage
            .vendor_change(&change("v-1", "availability_changed"))
            .await;
        stage.driver.compact_log();
        stage.driver.restart();
        stage.ask(&about("q-3", "v-1")).await.is_called("answer 3");
        stage
            .ask(&about("q-4", "v-2"))
            .await
            .is_fresh_from(LayerName::Disk, "answer 2");
    });
}

#[test]
fn a_recreated_log_voids_all_entries_in_all_layers() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.recreate_log();
        stage.ask(&about("q-2", "v-1")).await.is_called("answer 2");
        stage
            .ask(&about("q-3", "v-1"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 2");
        stage.recreate_log();
        stage.driver.restart();
        stage.ask(&about("q-4", "v-1")).await.is_called("answer 3");
    });
}

#[test]
fn a_flight_that_a_recreated_log_overtakes_stores_nothing() {
    play(async |stage| {
        stage.driver.respond(numbered("answer", secs(5)));
        stage.begin(&about("q-1", "v-1")).await;
        stage.advance(secs(1)).await;
        stage.recreate_log();
        stage.advance(secs(4)).await;
        assert_eq!(stage.count(Operation::Fill), 0);
        stage.advance(secs(60)).await;
        stage.seen("q-1").is(Status::Answered, Some("answer 2"));
    });
}

#[test]
fn a_killed_flight_leaves_nothing_behind_and_the_query_is_bought_again() {
    play(async |stage| {
        stage.driver.respond(numbered("answer", secs(5)));
        stage.begin(&about("q-1", "v-1")).await;
        stage.driver.restart();
        stage.advance(secs(10)).await;
        assert!(stage.is_waiting("q-1") && stage.count(Operation::Fill) == 0);
        stage.begin(&about("q-1", "v-1")).await;
        stage.advance(secs(5)).await;
        stage.seen("q-1").is_called("answer 2");
    });
}

#[test]
fn a_durable_layer_that_is_away_costs_only_its_hits() {
    play(async |stage| {
        stage.driver.set_durable_away(true);
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage
            .ask(&about("q-2", "v-1"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 1");
        stage.driver.restart();
        stage.ask(&about("q-3", "v-1")).await.is_called("answer 2");
    });
}
