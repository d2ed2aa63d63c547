//! Changes that cannot be read.

use wedcache_model::Mode;

use super::*;

const BROKEN: &[u8] = br#"{"eventId": "e-1", "vendorId":"#;

fn broken(topic: InputRole, key: Option<&str>) -> RawRecord {
    let key = key.map(|key| key.as_bytes().to_vec());
    RawRecord {
        topic,
        key,
        value: Some(BROKEN.to_vec()),
    }
}

#[test]
fn with_its_key_it_purges_that_vendor_and_is_dead_lettered_byte_for_byte() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage
            .driver
            .record(broken(InputRole::VendorChanges, Some("v-1")));
        stage.collect().await;
        stage.ask(&about("q-2", "v-1")).await.is_called("answer 2");
        let letter = &stage.rest.dead_letters[0];
        assert_eq!(
            (letter.key.as_deref(), letter.value.as_deref()),
            (Some(&b"v-1"[..]), Some(BROKEN))
        );
        assert!(stage.invalidations.iter().all(|of| of.rule == "unreadable"));
        assert!(!stage.rest.alerts.is_empty());
    });
}

#[test]
fn without_a_key_it_refreshes_whole_types_and_purges_nothing() {
    play(async |stage| {
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.driver.record(broken(InputRole::VendorChanges, None));
        stage.collect().await;
        assert!(
            stage
                .invalidations
                .iter()
                .all(|of| of.mode == Mode::Refresh)
        );
        stage
            .ask(&about("q-2", "v-1"))
            .await
            .is_stale(StaleReason::Refreshed, "answer 1");
        stage
            .ask(&about("q-3", "v-1"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 2");
    });
}

#[test]
fn a_flood_of_them_refreshes_once_in_an_interval_and_owes_the_rest() {
    play(async |stage| {
        for _ in 0..50 {
            stage.driver.record(broken(InputRole::VendorChanges, None));
        }
        stage.collect().await;
        let once = stage.invalidations.len();
        assert!(once > 0 && once <= 7, "{once}");
        stage.ask(&about("q-1", "v-1")).await.is_called("answer 1");
        stage.driver.record(broken(InputRole::VendorChanges, None));
        stage
            .ask(&about("q-2", "v-1"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 1");
        // widen_refresh_interval is five minutes: what was held back comes then.
        stage.advance(secs(300)).await;
        assert_eq!(stage.invalidations.len(), 2 * once);
        stage
            .ask(&about("q-3", "v-1"))
            .await
            .is_stale(StaleReason::Refreshed, "answer 1");
    });
}

#[test]
fn a_wedding_update_without_a_key_reaches_the_couples_answers_too() {
    play(async |stage| {
        let seating = |id| of_wedding(query(id, PRIVATE), "w-1");
        stage.ask(&seating("q-1")).await.is_called("answer 1");
        stage.driver.record(broken(InputRole::WeddingUpdates, None));
        stage.collect().await;
        stage
            .ask(&seating("q-2"))
            .await
            .is_stale(StaleReason::Refreshed, "answer 1");
    });
}
