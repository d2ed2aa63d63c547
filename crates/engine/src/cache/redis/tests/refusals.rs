//! Servers that answer and refuse: no refusal is taken for a hit or a success, failures are
//! reported without secrets, and the layer works again when the refusals stop.

use std::fmt::Write as _;

use tracing::Level;

use wedcache_model::trouble::captured::Captured;

use super::fake::{Fake, Mood};
use super::*;

/// A pace at which the lines of a trouble follow each other as fast as the tick allows.
const FAST: Pace = Pace {
    every: Duration::from_mins(1),
    quiet: Duration::ZERO,
};

/// Reports whether a look-up fails, and whether all four kinds of writes fail (`Some(true)`), none
/// does (`Some(false)`) or only some do (`None`).
async fn fails(layer: &Redis) -> (bool, Option<bool>) {
    let (entry, ours) = (naive::entry(1, 1, 0), claim(1));
    let read = matches!(layer.get(&entry.key).await, Lookup::Unavailable(_));
    let writes = [
        layer.put(&entry).await.is_err(),
        layer.claim(&entry.key, &ours, None).await.is_err(),
        layer.remove(&entry.key, &entry.header).await.is_err(),
        layer.release(&entry.key, &ours).await.is_err(),
    ];
    let all = writes.iter().all(|failed| *failed == writes[0]);
    (read, all.then_some(writes[0]))
}

async fn until_it_fails(layer: &Redis, wanted: (bool, Option<bool>)) {
    let until = Instant::now() + Duration::from_secs(20);
    while fails(layer).await != wanted {
        assert!(Instant::now() < until, "{:?}", layer.stats());
        pause().await;
    }
}

/// Reads and writes until both work.
async fn works_again(layer: &Redis) {
    until_it_fails(layer, (false, Some(false))).await;
}

async fn refused_by(layer: &Redis, reason: &str) {
    eventually(reason, || failures(layer, reason) > 0).await;
    assert_eq!(layer.trouble().map(|trouble| trouble.reason), Some(reason));
}

#[tokio::test]
async fn a_refusal_by_any_code_of_the_table_is_told_once_and_is_over_when_it_stops() {
    for (reply, reason) in [
        ("-LOADING Redis is loading the dataset in memory", "loading"),
        ("-MASTERDOWN Link with MASTER is down", "masterdown"),
        ("-MOVED 42 127.0.0.1:6381", "moved"),
        ("-ASK 42 127.0.0.1:6381", "moved"),
        ("-TRYAGAIN Multiple keys request", "tryagain"),
        ("-CLUSTERDOWN The cluster is down", "clusterdown"),
        ("-MISCONF Redis is configured to save RDB", "misconf"),
        ("-NOREPLICAS Not enough good replicas", "noreplicas"),
        ("-BUSY Redis is busy running a script", "busy"),
        ("-NOAUTH Authentication required.", "noauth"),
        ("-UNBLOCKED force unblock", "readonly"),
        ("-EXECABORT Transaction discarded", "other"),
        ("-NEVERHEARD of it", "other"),
        ("-ERR unknown command", "other"),
        ("!9\r\n-OOM full", "other"),
        ("+OK", "protocol"),
        ("+QUEUED", "protocol"),
        (":7", "protocol"),
        ("*0", "protocol"),
        ("HTTP/1.1 400 Bad Request", "protocol"),
    ] {
        let (log, _guard) = Captured::begin(Level::INFO);
        let fake = Fake::start(Fake::refusing(&["GET", "EVALSHA"], reply));
        let layer = connected(RedisOptions {
            pace: FAST,
            ..options(fake.url())
        })
        .await;
        for _ in 0..30 {
            assert_eq!(fails(&layer).await, (true, Some(true)), "{reply}");
        }
        refused_by(&layer, reason).await;
        let told = log.lines_with(&["WARN", &format!("reason=\"{reason}\"")]);
        assert_eq!(told, 1, "{reply}:\n{}", log.text());
        fake.set(Mood::default());
        works_again(&layer).await;
        eventually("the end", || layer.trouble().is_none()).await;
        let over = log.lines_with(&["INFO", "over:", &format!("reason=\"{reason}\"")]);
        assert_eq!(over, 1, "{reply}:\n{}", log.text());
        assert_eq!(layer.stats().breaker, CircuitState::Closed);
    }
}

#[test]
fn any_reply_that_is_none_is_no_hit_and_no_success_and_leaves_when_it_stops() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let code = prop_oneof![
        "[A-Z]{1,12}",
        prop::sample::select(vec!["READONLY", "MOVED", "NOSCRIPT", "LOADING", "ERR"])
            .prop_map(str::to_owned),
    ];
    let of = prop::sample::select(vec![
        &["GET"][..],
        &["EVALSHA", "SCRIPT"],
        &["GET", "EVALSHA", "SCRIPT"],
        &["PING"],
        &["*"],
    ]);
    let refusal = (of, code, "[ -~]{0,60}", any::<bool>());
    proptest!(ProptestConfig::with_cases(64), |((of, code, text, at_start) in refusal)| {
        runtime.block_on(async {
            let fake = Fake::start(Mood::default());
            let refusing = || fake.set(Fake::refusing(of, &format!("-{code} {text}")));
            if at_start {
                refusing();
            }
            let quick = RedisOptions {
                breaker: BreakerOptions { failures: 3, open_for: Duration::from_millis(5) },
                ..options(fake.url())
            };
            let layer = Redis::start(quick, Clock::mock(naive::NOW).0).unwrap();
            if !at_start {
                eventually("a connection", || layer.is_connected()).await;
                refusing();
            }
            let greets = of.contains(&"PING") || of.contains(&"*");
            if at_start && greets && code != "NOPERM" {
                eventually("a refusal", || layer.trouble().is_some()).await;
            } else {
                eventually("a connection", || layer.is_connected()).await;
            }
            let refused = |command| of.contains(&command) || of.contains(&"*");
            for _ in 0..8 {
                let (read, writes) = fails(&layer).await;
                prop_assert!(read || !refused("GET"));
                prop_assert!(writes == Some(true) || !refused("EVALSHA"));
            }
            fake.set(Mood::default());
            works_again(&layer).await;
            Ok(())
        })?;
    });
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_or_does_not_speak_redis_is_told() {
    let nobody = {
        let mut server = Server::start();
        server.kill();
        server.url()
    };
    let mute = Fake::start(Mood {
        turned_away: Some(Vec::new()),
        ..Mood::default()
    });
    let http = Fake::start(Mood {
        turned_away: Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ..Mood::default()
    });
    let other = Fake::start(Fake::refusing(&["PING"], "+HELLO"));
    let full = Fake::start(Mood {
        turned_away: Some(b"-ERR max number of clients reached\r\n".to_vec()),
        ..Mood::default()
    });
    for (url, reason) in [
        (nobody, "connection"),
        (mute.url(), "connection"),
        (http.url(), "protocol"),
        (other.url(), "protocol"),
        (full.url(), "max_clients"),
        (full.url().replace("//", "//me:s3cret@"), "max_clients"),
    ] {
        let (log, _guard) = Captured::begin(Level::TRACE);
        let layer = Redis::start(options(url), Clock::mock(naive::NOW).0).unwrap();
        eventually(reason, || failures(&layer, reason) > 3).await;
        let told = log.lines_with(&["WARN", &format!("reason=\"{reason}\"")]);
        assert_eq!(told, 1, "{}", log.text());
        assert!(!log.text().contains("s3cret"));
        assert!(layer.trouble().is_some_and(|trouble| trouble.down));
    }
}

#[tokio::test]
async fn a_refused_login_says_why_and_shows_no_secret() {
    let users = "--user default off --user me on >s3cret +@all ~*";
    let server = Server::start_with(&users.split(' ').collect::<Vec<_>>());
    for (userinfo, reason) in [
        ("", "noauth"),
        ("me:wr0ng@", "wrongpass"),
        (":s3cret@", "wrongpass"),
        ("nobody:s3cret@", "wrongpass"),
    ] {
        let (log, _guard) = Captured::begin(Level::TRACE);
        let url = server.url().replace("//", &format!("//{userinfo}"));
        for protocol in ["", "?protocol=resp3"] {
            let layer = Redis::start(
                options(format!("{url}{protocol}")),
                Clock::mock(naive::NOW).0,
            )
            .unwrap();
            refused_by(&layer, reason).await;
            assert_eq!(fails(&layer).await, (true, Some(true)));
            let mut shown = log.text();
            write!(shown, "{layer:?} {:?}", layer.stats()).unwrap();
            assert!(
                !shown.contains("wr0ng") && !shown.contains("s3cret"),
                "{shown}"
            );
            let trouble = layer.trouble().unwrap();
            assert!(trouble.down && trouble.detail.contains(&server.port.to_string()));
        }
    }
    let url = server.url().replace("//", "//me:s3cret@");
    works_again(&connected(options(url)).await).await;
}

/// Some servers have no AUTH and quote commands that they do not know.
#[tokio::test]
async fn a_password_that_the_server_repeats_is_not_shown() {
    let (log, _guard) = Captured::begin(Level::TRACE);
    let reply = "-ERR unknown command 'X', with args beginning with: 'me' 's3cret'";
    let fake = Fake::start(Fake::refusing(&["*"], reply));
    let url = fake.url().replace("//", "//me:s3cret@");
    let layer = Redis::start(options(url), Clock::mock(naive::NOW).0).unwrap();
    eventually("a failure", || layer.trouble().is_some()).await;
    let shown = format!("{} {:?} {layer:?}", log.text(), layer.stats());
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn a_full_server_still_serves_its_hits() {
    let server = Server::start_with(&["--maxmemory-policy", "noeviction"]);
    let layer = connected(options(server.url())).await;
    let entry = naive::entry(7, 1, 0);
    layer.put(&entry).await.unwrap();
    let _: Value = server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..20 {
        assert!(layer.put(&naive::entry(8, 1, 0)).await.is_err());
        assert_eq!(hit(layer.get(&entry.key).await), Some(Arc::clone(&entry)));
    }
    refused_by(&layer, "oom").await;
    assert!(layer.trouble().is_some_and(|trouble| !trouble.down));
    assert!(!layer.available(), "no lease can be had");
    assert_eq!(layer.stats().connects, 1, "any connection would meet that");
    let _: Value = server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    works_again(&layer).await;
    assert!(layer.available());
}

#[tokio::test]
async fn a_right_that_is_taken_away_costs_what_it_was_for() {
    let server = Server::start();
    let rights = |rights: &[&str]| -> Value {
        server.command(&[&["ACL", "SETUSER", "me", "on", ">pw", "~*"], rights].concat())
    };
    let least = "+get +evalsha +script|load +getrange +set +del";
    let least: Vec<_> = ["-@all"].into_iter().chain(least.split(' ')).collect();
    rights(&least);
    // A user without the right to PING works, too.
    let layer = connected(options(server.url().replace("//", "//me:pw@"))).await;
    works_again(&layer).await;
    for (taken, lost) in [
        ("-evalsha", (false, Some(true))),
        // The commands inside scripts are checked, too; a script that finds nothing to do succeeds.
        ("-set", (false, None)),
        ("-get", (true, None)),
    ] {
        rights(&[taken]);
        // The layer counts as down only when the breaker of the reads has opened.
        for _ in 0..3 {
            until_it_fails(&layer, lost).await;
        }
        refused_by(&layer, "noperm").await;
        assert_eq!(layer.trouble().unwrap().down, lost.0);
        rights(&least);
        works_again(&layer).await;
    }
    let _: Value = server.command(&["ACL", "DELUSER", "me"]);
    until_it_fails(&layer, (true, Some(true))).await;
    eventually("a refused login", || failures(&layer, "wrongpass") > 0).await;
    rights(&least);
    works_again(&layer).await;
}

#[tokio::test]
async fn a_primary_without_replicas_and_one_held_by_a_script_recover() {
    let server = Server::start_with(&["--min-replicas-to-write", "1"]);
    let layer = connected(options(server.url())).await;
    for _ in 0..5 {
        assert!(layer.put(&naive::entry(1, 1, 0)).await.is_err());
    }
    refused_by(&layer, "noreplicas").await;
    assert!(hit(layer.get(&naive::key(1)).await).is_none());
    let _: Value = server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    works_again(&layer).await;

    let _: Value = server.command(&["CONFIG", "SET", "busy-reply-threshold", "1"]);
    let url = server.url();
    let script = std::thread::spawn(move || {
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let forever = redis::cmd("EVAL")
            .arg("while true do end")
            .arg(0)
            .to_owned();
        forever.query::<Value>(&mut connection)
    });
    let until = Instant::now() + Duration::from_secs(20);
    while failures(&layer, "busy") == 0 {
        assert!(Instant::now() < until);
        fails(&layer).await;
    }
    let _: Value = server.command(&["SCRIPT", "KILL"]);
    assert!(script.join().unwrap().is_err());
    works_again(&layer).await;
}

#[tokio::test]
async fn no_connection_left_is_told_as_that() {
    let server = Server::start();
    let held = redis::Client::open(server.url()).unwrap();
    let mut held = held.get_connection().unwrap();
    let _: Value = redis::cmd("CONFIG")
        .arg(&["SET", "maxclients", "1"])
        .query(&mut held)
        .unwrap();
    let layer = Redis::start(options(server.url()), Clock::mock(naive::NOW).0).unwrap();
    refused_by(&layer, "max_clients").await;
    drop(held);
    works_again(&layer).await;
}

#[tokio::test]
async fn one_node_of_a_cluster_is_told_from_a_server_of_its_own() {
    let server = Server::start_with(&["--cluster-enabled", "yes"]);
    let layer = connected(options(server.url())).await;
    for _ in 0..5 {
        assert_eq!(fails(&layer).await, (true, Some(true)));
    }
    refused_by(&layer, "clusterdown").await;
    // A single server is distinguished from a cluster.
    let server = Server::start();
    let layer = Redis::start(
        RedisOptions {
            cluster: true,
            ..options(server.url())
        },
        Clock::mock(naive::NOW).0,
    )
    .unwrap();
    eventually("a failure", || layer.trouble().is_some()).await;
    let detail = layer.trouble().unwrap().detail;
    assert!(detail.contains("cluster support disabled"), "{detail}");
}

#[tokio::test]
async fn what_a_cluster_refuses_is_told_with_its_reason() {
    let locked = Server::start_with(&["--cluster-enabled", "yes", "--requirepass", "s3cret"]);
    for (userinfo, reason) in [("", "noauth"), (":wr0ng@", "wrongpass")] {
        let (log, _guard) = Captured::begin(Level::TRACE);
        let layer = Redis::start(
            RedisOptions {
                cluster: true,
                ..options(locked.url().replace("//", &format!("//{userinfo}")))
            },
            Clock::mock(naive::NOW).0,
        )
        .unwrap();
        refused_by(&layer, reason).await;
        let shown = format!("{} {:?} {layer:?}", log.text(), layer.stats());
        assert!(
            !shown.contains("s3cret") && !shown.contains("wr0ng"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_single_late_reply_is_counted_and_many_are_told() {
    let (log, _guard) = Captured::begin(Level::INFO);
    let server = Server::start();
    let layer = connected(RedisOptions {
        response_timeout: Duration::from_millis(40),
        ..options(server.url())
    })
    .await;
    works_again(&layer).await;
    let counted = failures(&layer, "timeout");
    let _: Value = server.command(&["CLIENT", "PAUSE", "1000", "ALL"]);
    assert!(matches!(
        layer.get(&naive::key(1)).await,
        Lookup::Unavailable(_)
    ));
    assert_eq!(failures(&layer, "timeout"), counted + 1);
    assert_eq!(log.lines_with(&["WARN"]), 0, "{}", log.text());
    while failures(&layer, "timeout") < counted + 3 {
        layer.get(&naive::key(1)).await;
    }
    assert_eq!(
        log.lines_with(&["WARN", "reason=\"timeout\""]),
        1,
        "{}",
        log.text()
    );
    works_again(&layer).await;
}

#[tokio::test]
async fn another_version_s_values_are_counted_and_told_once() {
    let (log, _guard) = Captured::begin(Level::INFO);
    let server = Server::start();
    let layer = connected(options(server.url())).await;
    let (key, ours) = (naive::key(1), claim(1));
    let _: Value = server.command(&["SET", &layer.server_key(&key), "\u{2}another form"]);
    let _: Value = server.command(&["SET", &layer.lease_key(&key), "\u{2}another form"]);
    for _ in 0..10 {
        assert!(hit(layer.get(&key).await).is_none());
        assert!(layer.claim(&key, &ours, None).await.is_err());
    }
    assert_eq!(failures(&layer, "unreadable"), 20);
    assert_eq!(log.lines_with(&["WARN"]), 1, "{}", log.text());
    assert_eq!(layer.stats().breaker, CircuitState::Closed);
}
