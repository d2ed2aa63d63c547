//! Who may be given whose answer, and what a model is told.

use wedcache_model::Date;

use super::*;

#[test]
fn couples_with_the_same_key_share_a_shared_types_answer() {
    play(async |stage| {
        let asks = |id, wedding| of_wedding(query(id, SHARED), wedding);
        stage.driver.respond(numbered("answer", secs(1)));
        stage.begin(&asks("q-1", "w-1")).await;
        stage.begin(&asks("q-2", "w-2")).await;
        stage.advance(secs(1)).await;
        stage.seen("q-2").is_joined("answer 1");
        stage
            .ask(&asks("q-3", "w-3"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 1");
    });
}

#[test]
fn couples_never_share_a_private_types_answer() {
    play(async |stage| {
        let asks = |id, wedding| of_wedding(query(id, PRIVATE), wedding);
        stage.driver.respond(numbered("answer", secs(1)));
        stage.begin(&asks("q-1", "w-1")).await;
        stage.begin(&asks("q-2", "w-2")).await;
        stage.advance(secs(1)).await;
        stage.seen("q-1").is_called("answer 1");
        stage.seen("q-2").is_called("answer 2");
        stage
            .ask(&asks("q-3", "w-1"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 1");
        stage
            .ask(&asks("q-4", "w-2"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 2");
    });
}

#[test]
fn a_private_query_without_a_wedding_is_answered_and_neither_stored_nor_joined() {
    play(async |stage| {
        stage.driver.respond(numbered("answer", secs(1)));
        stage.begin(&query("q-1", PRIVATE)).await;
        stage.begin(&query("q-2", PRIVATE)).await;
        stage.advance(secs(1)).await;
        stage.seen("q-1").is_called("answer 1");
        stage.seen("q-2").is_called("answer 2");
        stage.begin(&query("q-3", PRIVATE)).await;
        stage.advance(secs(1)).await;
        stage.seen("q-3").is_called("answer 3");
        assert_eq!(stage.count(Operation::Fill), 0);
    });
}

#[test]
fn no_prompt_of_a_shared_type_tells_who_asks() {
    play(async |stage| {
        let shared: Vec<String> = production()
            .policy
            .catalog
            .types()
            .iter()
            .filter(|of| of.sharing == wedcache_model::Sharing::Shared)
            .map(|of| of.name.to_string())
            .collect();
        assert_eq!(shared.len(), 5);
        for cache_type in &shared {
            let mut query = of_wedding(query(cache_type, cache_type), "w-secret");
            query.query.user_id = Some("u-secret".to_owned());
            query.wedding_context.wedding_date = Some(Date::parse("2027-06-12").unwrap());
            query.wedding_context.guest_count = Some(127);
            stage.ask(&query).await;
        }
        assert_eq!(stage.calls.len(), shared.len());
        for call in &stage.calls {
            let prompt = format!("{}\n{}", call.prompt.system, call.prompt.user);
            for secret in ["secret", "2027", "06-12", "127"] {
                assert!(!prompt.contains(secret), "{secret} in {prompt}");
            }
        }
        // A private one is told the date and the guests: that is what it is for.
        let mut own = of_wedding(query("own", "timeline_generation"), "w-secret");
        own.wedding_context.guest_count = Some(127);
        stage.ask(&own).await;
        assert!(stage.calls.last().unwrap().prompt.user.contains("127"));
    });
}

#[test]
fn a_prompt_names_a_place_abroad_in_words() {
    play(async |stage| {
        let mut query = query("q-1", SHARED);
        let location = &mut query.wedding_context.location;
        (location.state, location.country) = ("Tuscany".to_owned(), "IT".to_owned());
        stage.ask(&query).await;
        let told = &stage.calls.last().unwrap().prompt.user;
        assert!(
            told.contains("- location: IT-52 (Toscana, Italy)\n"),
            "{told}"
        );
    });
}

#[test]
fn an_invalidated_wedding_gets_fresh_answers_of_every_type() {
    play(async |stage| {
        let types: Vec<_> = production()
            .policy
            .catalog
            .types()
            .iter()
            .map(|of| std::sync::Arc::clone(&of.name))
            .collect();
        let asks = |id: String, of: &str| of_wedding(query(&id, of), "w-1");
        for of in &types {
            stage.ask(&asks(format!("before-{of}"), of)).await;
        }
        stage.wedding_update(&update("w-1", "cancelled")).await;
        for of in &types {
            let seen = stage.ask(&asks(format!("after-{of}"), of)).await;
            assert_eq!(seen.0.source, Source::Ai, "{of}");
        }
    });
}

#[test]
fn a_shared_entry_stays_good_for_others_when_one_couple_is_invalidated() {
    play(async |stage| {
        let asks = |id, wedding| of_wedding(query(id, SHARED), wedding);
        stage.ask(&asks("q-1", "w-1")).await.is_called("answer 1");
        stage.wedding_update(&update("w-1", "cancelled")).await;
        stage
            .ask(&asks("q-2", "w-2"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 1");
        stage.ask(&asks("q-3", "w-1")).await.is_called("answer 2");
        stage
            .ask(&asks("q-4", "w-2"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 2");
    });
}

#[test]
fn one_couples_invalidation_does_not_take_the_entry_from_memory_when_its_own_call_fails() {
    let mut topology = production();
    topology.deployment.layers.disk = None;
    play_on(topology, async |stage| {
        let asks = |id, wedding| of_wedding(query(id, SHARED), wedding);
        stage.ask(&asks("q-1", "w-1")).await.is_called("answer 1");
        stage.wedding_update(&update("w-1", "cancelled")).await;
        stage.driver.respond(ends(MockedCall::Refused));
        stage.ask(&asks("q-2", "w-1")).await.failed("refused");
        stage
            .ask(&asks("q-3", "w-2"))
            .await
            .is_fresh_from(LayerName::Memory, "answer 1");
    });
}
