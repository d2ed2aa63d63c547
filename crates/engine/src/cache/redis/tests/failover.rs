//! Tests of servers that are no longer the right ones while their connections stay open.

use std::net::TcpListener;
use std::sync::atomic::AtomicU16;

use super::fake::{Fake, Mood};
use super::*;

/// An address that stays while the server behind it changes; open connections stay with their
/// server.
struct StableAddress {
    port: u16,
    leads_to: Arc<AtomicU16>,
}

impl StableAddress {
    fn of(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let leads_to = Arc::new(AtomicU16::new(server.port));
        let target = Arc::clone(&leads_to);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = ("127.0.0.1", target.load(Ordering::Relaxed));
                let Ok(server) = std::net::TcpStream::connect(server) else {
                    continue;
                };
                for (mut from, mut to) in [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server, client),
                ] {
                    std::thread::spawn(move || {
                        // Either side closing ends both.
                        std::io::copy(&mut from, &mut to).ok();
                        to.shutdown(std::net::Shutdown::Both).ok();
                    });
                }
            }
        });
        Self { port, leads_to }
    }

    fn lead_to(&self, server: &Server) {
        self.leads_to.store(server.port, Ordering::Relaxed);
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

fn replicate(replica: &Server, primary: &Server) {
    let port = primary.port.to_string();
    let _: Value = replica.command(&["REPLICAOF", "127.0.0.1", &port]);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_stable_address_the_new_primary_is_found() {
    let (old, new) = (Server::start(), Server::start());
    let address = StableAddress::of(&old);
    let layer = connected(options(address.url())).await;
    let before = naive::entry(1, 1, 0);
    layer.put(&before).await.unwrap();
    replicate(&new, &old);
    eventually("replication", || new.command::<u64>(&["DBSIZE"]) == 1).await;

    let _: Value = new.command(&["REPLICAOF", "NO", "ONE"]);
    replicate(&old, &new);
    address.lead_to(&new);
    let (after, ours) = (naive::entry(2, 1, 0), claim(1));
    fill_again(&layer, &after).await;
    let claimed = layer.claim(&after.key, &ours, None).await.unwrap();
    assert_eq!(claimed, Claimed::Ours);
    assert!(failures(&layer, "readonly") >= 1);
    assert_eq!(
        new.command::<u64>(&["DBSIZE"]),
        3,
        "two entries and a claim"
    );
    assert_eq!(hit(layer.get(&before.key).await), Some(before));
    assert!(layer.available());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_serves_its_hits_until_it_is_promoted() {
    let (primary, replica) = (Server::start(), Server::start());
    let layer = connected(options(primary.url())).await;
    let entry = naive::entry(1, 1, 0);
    layer.put(&entry).await.unwrap();
    replicate(&replica, &primary);
    let layer = connected(options(replica.url())).await;
    eventually("replication", || replica.command::<u64>(&["DBSIZE"]) == 1).await;
    for number in 0..50 {
        assert!(layer.put(&naive::entry(number, 9, 0)).await.is_err());
        assert!(layer.claim(&entry.key, &claim(1), None).await.is_err());
        assert_eq!(hit(layer.get(&entry.key).await), Some(Arc::clone(&entry)));
    }
    let trouble = layer.trouble().unwrap();
    assert_eq!((trouble.reason, trouble.down), ("readonly", false));
    assert!(!layer.available(), "no lease can be had");
    let _: Value = replica.command(&["REPLICAOF", "NO", "ONE"]);
    fill_again(&layer, &naive::entry(2, 9, 0)).await;
    assert!(layer.available());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_has_lost_its_primary_is_left_for_the_new_server() {
    let (primary, replica) = (
        Server::start(),
        Server::start_with(&["--replica-serve-stale-data", "no"]),
    );
    let address = StableAddress::of(&replica);
    let layer = connected(options(address.url())).await;
    layer.put(&naive::entry(1, 1, 0)).await.unwrap();
    let nobody = {
        let mut gone = Server::start();
        gone.kill();
        gone
    };
    replicate(&replica, &nobody);
    eventually("the refusal", || {
        let lookup = layer.get(&naive::key(1)).now_or_never();
        drop(lookup);
        failures(&layer, "masterdown") > 0
    })
    .await;
    address.lead_to(&primary);
    fill_again(&layer, &naive::entry(2, 1, 0)).await;
    assert!(
        hit(layer.get(&naive::key(1)).await).is_none(),
        "another server"
    );
}

/// The connection of an old server is kept until there is another one, and is not replaced more
/// often than the pauses allow.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_server_is_left_at_once_and_a_lasting_refusal_is_no_storm() {
    let fake = Fake::start(Mood {
        keeps: true,
        ..Fake::refusing(&["EVALSHA"], "-READONLY You can't write")
    });
    let layer = connected(RedisOptions {
        reconnect_after: (Duration::from_millis(20), Duration::from_millis(200)),
        ..options(fake.url())
    })
    .await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert!(layer.put(&naive::entry(1, 1, 0)).await.is_err());
        assert!(
            hit(layer.get(&naive::key(1)).await).is_none(),
            "reads go on"
        );
    }
    let connections = fake.connections();
    assert!((3..16).contains(&connections), "{connections}");
    fake.set(Mood::default());
    fill_again(&layer, &naive::entry(1, 1, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_the_new_primary_does_not_know_are_loaded_again() {
    let (old, new) = (Server::start(), Server::start());
    let address = StableAddress::of(&old);
    let layer = connected(options(address.url())).await;
    layer.put(&naive::entry(1, 1, 0)).await.unwrap();
    address.lead_to(&new);
    let _: Value = old.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    fill_again(&layer, &naive::entry(1, 2, 0)).await;
    assert_eq!(new.command::<u64>(&["DBSIZE"]), 1);
    assert_eq!(failures(&layer, "noscript"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_primary_dies_goes_on_with_its_replica() {
    let mut nodes = [(); 6].map(|()| {
        Server::start_with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "500"])
    });
    let addresses = nodes
        .each_ref()
        .map(|node| format!("127.0.0.1:{}", node.port));
    let made = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&addresses)
        .args(["--cluster-replicas", "1", "--cluster-yes"])
        .output()
        .expect("this test needs redis-cli");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stdout)
    );
    let layer = connected(RedisOptions {
        cluster: true,
        urls: nodes.iter().map(|node| node.url().into()).collect(),
        ..options(String::new())
    })
    .await;
    for number in 0..30 {
        fill_again(&layer, &naive::entry(number, 1, 0)).await;
    }
    let replication = |node: &Server| node.command::<String>(&["INFO", "replication"]);
    let in_sync = |node: &&Server| replication(node).contains("master_link_status:up");
    eventually("replicas", || nodes.iter().filter(in_sync).count() == 3).await;
    let primary = |node: &&mut Server| replication(node).contains("role:master");
    nodes.iter_mut().find(primary).unwrap().kill();
    for number in 0..30 {
        fill_again(&layer, &naive::entry(number, 2, 0)).await;
    }
    let ours = claim(1);
    for number in 0..30 {
        let key = naive::key(number);
        assert_eq!(hit(layer.get(&key).await), Some(naive::entry(number, 2, 0)));
        assert_eq!(layer.claim(&key, &ours, None).await.unwrap(), Claimed::Ours);
    }
}
