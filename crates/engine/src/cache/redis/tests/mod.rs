//! The Redis layer against real servers: order of fills, away, slow, restarted, a cluster.
//! [`refusals`] tests servers that answer and refuse.

mod failover;
mod fake;
mod refusals;
mod server;

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use proptest::prelude::*;
use redis::Value;

use super::super::lease::{Claim, Claimed, Holder, Leases};
use super::super::naive::{self, Step};
use server::Server;

use wedcache_model::{LogId, Position};

use super::*;

/// Returns generous time-outs, because the machine may be busy; the tests of time-outs set their
/// own.
fn options(url: String) -> RedisOptions {
    RedisOptions {
        response_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        reconnect_after: (Duration::from_millis(5), Duration::from_millis(50)),
        breaker: BreakerOptions {
            failures: 3,
            open_for: Duration::from_millis(200),
        },
        ..RedisOptions::new(url)
    }
}

async fn connected(options: RedisOptions) -> Redis {
    let layer = Redis::start(options, Clock::mock(naive::NOW).0).unwrap();
    eventually("a connection", || layer.is_connected()).await;
    layer
}

/// Pauses between two checks of the background's state: nothing else signals its progress, and the
/// machine has few cores.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Polls until the condition holds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "not within 20 s: {what}");
        pause().await;
    }
}

fn hit(lookup: Lookup) -> Option<Arc<Entry>> {
    match lookup {
        Lookup::Hit(entry) => Some(entry),
        Lookup::Miss => None,
        Lookup::Unavailable(error) => panic!("unavailable: {error}"),
    }
}

fn failures(layer: &Redis, reason: &str) -> u64 {
    let all = layer.stats().failures;
    let of = all.iter().find(|(label, _)| *label == reason);
    of.unwrap_or_else(|| panic!("no reason {reason}")).1
}

/// Repeats the fill until one is acknowledged.
async fn fill_again(layer: &Redis, entry: &Arc<Entry>) {
    let until = Instant::now() + Duration::from_secs(20);
    while let Err(error) = layer.put(entry).await {
        assert!(Instant::now() < until, "{error}");
        pause().await;
    }
}

#[test]
fn redis_does_what_the_naive_model_does() {
    let server = Server::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cases = AtomicU64::new(0);
    proptest!(ProptestConfig::with_cases(48), |(steps in naive::steps(60))| {
        let case = cases.fetch_add(1, Ordering::Relaxed);
        runtime.block_on(async {
            let layer = connected(RedisOptions {
                key_prefix: format!("case-{case}:"),
                ..options(server.url())
            })
            .await;
            let mut model = naive::Model::default();
            for step in steps {
                match step {
                    Step::Put(entry) => {
                        prop_assert_eq!(layer.put(&entry).await.unwrap(), model.put(&entry));
                    }
                    Step::Remove(entry) => {
                        layer.remove(&entry.key, &entry.header).await.unwrap();
                        model.remove(&entry);
                    }
                    Step::Get(key) => prop_assert_eq!(hit(layer.get(&key).await), model.get(&key)),
                }
            }
            Ok(())
        })?;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fills_racing_from_two_instances_the_newest_stays() {
    let server = Server::start();
    let instances = [
        connected(options(server.url())).await,
        connected(options(server.url())).await,
    ];
    let mut entries: Vec<_> = (0..200).map(|stamp| naive::entry(1, stamp, 0)).collect();
    fastrand::Rng::with_seed(3).shuffle(&mut entries);
    let puts = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| instances[index % 2].put(entry));
    for put in futures_util::future::join_all(puts).await {
        put.unwrap();
    }
    let held = hit(instances[0].get(&naive::key(1)).await).unwrap();
    assert_eq!(held.header.stamp.0, 199);
}

fn claim(number: u64) -> Claim {
    Claim {
        holder: Holder::new(None),
        log_id: LogId([1; 16]),
        stamp: Position(7),
        called_at: naive::NOW,
        number,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_claims_racing_from_two_instances_one_stands_and_the_others_see_it() {
    let server = Server::start();
    let instances = [
        connected(options(server.url())).await,
        connected(options(server.url())).await,
    ];
    let (key, claims): (_, Vec<_>) = (naive::key(1), (0..100).map(claim).collect());
    let racing = claims
        .iter()
        .enumerate()
        .map(|(index, claim)| instances[index % 2].claim(&key, claim, None));
    let claimed: Vec<_> = futures_util::future::join_all(racing)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let ours: Vec<_> = (0..100)
        .filter(|at| claimed[*at] == Claimed::Ours)
        .collect();
    assert_eq!(ours.len(), 1);
    let standing = Claimed::HeldBy(claims[ours[0]]);
    assert_eq!(claimed.iter().filter(|one| **one == standing).count(), 99);
}

#[tokio::test]
async fn a_claim_stands_for_its_term_and_goes_only_by_its_own_release_or_for_the_one_that_saw_it() {
    let server = Server::start();
    let layer = connected(options(server.url())).await;
    let (key, first, second, third) = (naive::key(1), claim(1), claim(2), claim(3));
    let claims = async |claim, instead_of| layer.claim(&key, claim, instead_of).await.unwrap();
    assert_eq!(claims(&first, None).await, Claimed::Ours);
    assert_eq!(claims(&first, None).await, Claimed::Ours, "renewed");
    layer.release(&key, &second).await.unwrap();
    assert_eq!(claims(&second, Some(&third)).await, Claimed::HeldBy(first));
    assert_eq!(claims(&second, Some(&first)).await, Claimed::Ours);
    assert_eq!(claims(&first, None).await, Claimed::HeldBy(second));
    let name = layer.lease_key(&key);
    let left: i64 = server.command(&["PTTL", &name]);
    assert!((1..=6000).contains(&left), "{left} ms of 6 s");
    layer.release(&key, &second).await.unwrap();
    assert_eq!(claims(&third, None).await, Claimed::Ours);
    // An entry is not taken for a claim, nor a claim for an entry.
    layer.put(&naive::entry(1, 1, 0)).await.unwrap();
    assert_eq!(claims(&first, None).await, Claimed::HeldBy(third));
    assert!(hit(layer.get(&key).await).is_some());
}

#[tokio::test]
async fn a_claim_that_another_version_wrote_is_not_waited_for() {
    let server = Server::start();
    let layer = connected(options(server.url())).await;
    let name = layer.lease_key(&naive::key(1));
    let _: String = server.command(&["SET", &name, "of another version"]);
    let claimed = layer.claim(&naive::key(1), &claim(1), None).await;
    assert!(matches!(claimed, Err(LayerError::Corrupt { .. })));
}

#[tokio::test]
async fn every_key_lives_no_longer_than_its_entry() {
    let server = Server::start();
    let layer = connected(options(server.url())).await;
    let entry = naive::entry(1, 1, 0);
    layer.put(&entry).await.unwrap();
    let name = layer.server_key(&entry.key);
    let lives: i64 = server.command(&["PTTL", &name]);
    let want = i64::try_from(entry.header.keep_until.since(naive::NOW).as_millis()).unwrap();
    assert!((want - 20_000..=want).contains(&lives), "{lives} of {want}");

    let mut past = Entry::clone(&entry);
    past.header.keep_until = naive::NOW;
    past.header.stamp.0 = 2;
    layer.put(&Arc::new(past)).await.unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while hit(layer.get(&entry.key).await).is_some() {
        assert!(Instant::now() < until);
    }
}

#[tokio::test]
async fn a_value_that_is_not_the_entry_asked_for_is_a_miss() {
    let server = Server::start();
    let layer = connected(options(server.url())).await;
    let (asked, other) = (naive::entry(1, 1, 0), naive::entry(2, 1, 0));
    layer.put(&other).await.unwrap();
    let (name, of_other) = (layer.server_key(&asked.key), layer.server_key(&other.key));
    let _: Value = server.command(&["COPY", &of_other, &name]);
    assert!(hit(layer.get(&asked.key).await).is_none(), "another key's");
    let _: Value = server.command(&["SET", &name, "garbage"]);
    assert!(hit(layer.get(&asked.key).await).is_none(), "garbage");
    assert_eq!(failures(&layer, "unreadable"), 2);
    // The unreadable value does not block a fill either.
    assert_eq!(layer.put(&asked).await.unwrap(), Put::Stored);

    let _: Value = server.command(&["DEL", &name]);
    let _: Value = server.command(&["RPUSH", &name, "a list"]);
    for _ in 0..9 {
        let answer = layer.get(&asked.key).await;
        assert!(
            matches!(answer, Lookup::Unavailable(LayerError::Failed { .. })),
            "{answer:?}: the server answers, so the breaker stays closed"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_costs_nothing_and_is_found_again() {
    let mut server = Server::start();
    let layer = connected(options(server.url())).await;
    let entry = naive::entry(1, 1, 0);
    layer.put(&entry).await.unwrap();
    server.kill();
    eventually("the loss", || {
        let answer = layer.get(&entry.key).now_or_never();
        matches!(answer, Some(Lookup::Unavailable(LayerError::Away)))
    })
    .await;
    let began = Instant::now();
    for _ in 0..1000 {
        assert!(matches!(
            layer.get(&entry.key).await,
            Lookup::Unavailable(_)
        ));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "they fail fast");

    server.restart();
    // The restarted server has lost its memory and its scripts.
    fill_again(&layer, &entry).await;
    assert_eq!(hit(layer.get(&entry.key).await), Some(entry));
    assert_eq!(layer.stats().breaker, CircuitState::Closed);
    assert!(layer.stats().connects >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_a_server_is_a_start() {
    let mut server = Server::start();
    server.kill();
    let layer = Redis::start(options(server.url()), Clock::mock(naive::NOW).0).unwrap();
    let answer = layer.get(&naive::key(1)).now_or_never();
    assert!(matches!(
        answer,
        Some(Lookup::Unavailable(LayerError::Away))
    ));
    server.restart();
    fill_again(&layer, &naive::entry(1, 1, 0)).await;
}

#[tokio::test]
async fn a_flush_forgets_entries_and_scripts() {
    let server = Server::start();
    let layer = connected(options(server.url())).await;
    let entry = naive::entry(1, 1, 0);
    layer.put(&entry).await.unwrap();
    let _: Value = server.command(&["FLUSHALL"]);
    let _: Value = server.command(&["SCRIPT", "FLUSH"]);
    assert!(hit(layer.get(&entry.key).await).is_none());
    assert_eq!(layer.put(&entry).await.unwrap(), Put::Stored);
    let _: Value = server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(layer.put(&entry).await.unwrap(), Put::KeptNewer);
}

/// Makes more calls at once than Redis answers within one time-out, like a new owner after a
/// rebalance, whose answers have all been paid for.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_waits_for_its_turn_and_is_no_sign_of_a_slow_server() {
    let server = Server::start();
    let layer = connected(RedisOptions {
        response_timeout: Duration::from_millis(400),
        max_wait: Duration::from_mins(1),
        ..options(server.url())
    })
    .await;
    let entry = naive::entry(1, 1, 0);
    fill_again(&layer, &entry).await;
    let layer = Arc::new(layer);
    // One task per call, as with queries.
    let mut lookups = tokio::task::JoinSet::new();
    for _ in 0..30_000 {
        let (layer, entry) = (Arc::clone(&layer), Arc::clone(&entry));
        lookups.spawn(async move { layer.get(&entry.key).await });
    }
    let found = lookups.join_all().await;
    let unavailable = found
        .iter()
        .filter(|found| matches!(found, Lookup::Unavailable(_)))
        .count();
    assert_eq!((unavailable, failures(&layer, "timeout")), (0, 0));
    assert_eq!(layer.stats().connects, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_left_alone_until_it_answers() {
    let server = Server::start();
    let layer = connected(RedisOptions {
        response_timeout: Duration::from_millis(40),
        ..options(server.url())
    })
    .await;
    let entry = naive::entry(1, 1, 0);
    fill_again(&layer, &entry).await;
    let _: Value = server.command(&["CLIENT", "PAUSE", "1500", "ALL"]);
    let began = Instant::now();
    let mut kinds = Vec::new();
    for _ in 0..100 {
        match layer.get(&entry.key).await {
            Lookup::Unavailable(error) => kinds.push(error.kind()),
            other => panic!("{other:?}"),
        }
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    let timeouts = kinds.iter().filter(|kind| **kind == "timeout").count();
    assert!((3..10).contains(&timeouts), "{kinds:?}");
    assert_eq!(failures(&layer, "timeout"), timeouts as u64);
    fill_again(&layer, &naive::entry(1, 2, 0)).await;
    assert_eq!(layer.stats().breaker, CircuitState::Closed);
}

/// Covers a bug that other projects had: a cancelled call's reply was read by the next caller.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_leaves_no_reply_for_the_next_one() {
    let server = Server::start();
    let layer = Arc::new(connected(options(server.url())).await);
    for number in 0..50 {
        layer.put(&naive::entry(number, 1, 0)).await.unwrap();
    }
    let mut tasks = Vec::new();
    for seed in 0..8 {
        let layer = Arc::clone(&layer);
        tasks.push(tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut cancelled = 0;
            for _ in 0..400 {
                let number = random.u32(..50);
                let key = naive::key(number);
                let patience = Duration::from_micros(random.u64(..2000));
                match tokio::time::timeout(patience, layer.get(&key)).await {
                    Ok(found) => assert_eq!(hit(found).unwrap(), naive::entry(number, 1, 0)),
                    Err(_) => cancelled += 1,
                }
            }
            cancelled
        }));
    }
    let mut cancelled = 0;
    for task in tasks {
        cancelled += task.await.unwrap();
    }
    assert!(cancelled > 0, "the test cancelled nothing");
    let unreadable = failures(&layer, "unreadable");
    assert_eq!(unreadable, 0, "the key's guard was not needed");
    assert_eq!(layer.stats().connects, 1);
}

#[tokio::test]
async fn wrong_settings_are_named_without_their_password() {
    for url in [
        "reddist://:secret@host",
        "redis://:secret@",
        "redis://:secret@host:port",
        "redis://:secret@host:6379/db",
        "redis://:secret@host/?protocol=resp9",
        "redis://:secret%ff@host",
        "rediss://:secret@host/#secret",
        ":secret@host",
    ] {
        let wrong = Redis::start(options(url.to_owned()), Clock::System);
        let Err(error @ RedisSetupError::Url { number: 1, .. }) = wrong else {
            panic!("{url}: {wrong:?}");
        };
        assert!(!format!("{error} {error:?}").contains("secret"), "{url}");
    }
    let mut two = options("redis://:secret@127.0.0.1:1".to_owned());
    two.urls.push(two.urls[0].clone());
    assert!(!format!("{two:?}").contains("secret"));
    assert!(matches!(
        Redis::start(two, Clock::System),
        Err(RedisSetupError::OneUrl { given: 2 })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_serves_all_keys_and_survives_a_node() {
    let mut nodes = [(); 3].map(|()| {
        Server::start_with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"])
    });
    let addresses = nodes
        .each_ref()
        .map(|node| format!("127.0.0.1:{}", node.port));
    let made = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&addresses)
        .args(["--cluster-replicas", "0", "--cluster-yes"])
        .output()
        .expect("this test needs redis-cli");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stdout)
    );
    let layer = connected(RedisOptions {
        cluster: true,
        ..options(nodes[0].url())
    })
    .await;
    for number in 0..60 {
        fill_again(&layer, &naive::entry(number, 2, 0)).await;
        let put = layer.put(&naive::entry(number, 1, 0)).await.unwrap();
        assert_eq!(put, Put::KeptNewer);
    }
    // Leases work too, on whichever node they are.
    for number in 0..60 {
        let (key, ours, other) = (naive::key(number), claim(1), claim(2));
        assert_eq!(layer.claim(&key, &ours, None).await.unwrap(), Claimed::Ours);
        let standing = layer.claim(&key, &other, None).await.unwrap();
        assert_eq!(standing, Claimed::HeldBy(ours));
        layer.release(&key, &ours).await.unwrap();
    }
    for node in &nodes {
        let keys: u64 = node.command(&["DBSIZE"]);
        assert!(keys > 5, "{keys} of 60 on one node");
    }
    for number in 0..60 {
        let held = hit(layer.get(&naive::key(number)).await);
        assert_eq!(held, Some(naive::entry(number, 2, 0)));
    }

    nodes[2].kill();
    let began = Instant::now();
    let mut away = 0;
    for number in 0..60 {
        away += u32::from(matches!(
            layer.get(&naive::key(number)).await,
            Lookup::Unavailable(_)
        ));
    }
    assert!(away > 5);
    assert!(
        began.elapsed() < Duration::from_mins(1),
        "bounded: {:?}",
        began.elapsed()
    );
}
