use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::invalidation::{TagTable, TagTableOptions};
use crate::metrics::Metrics;
use crate::policy::PolicyInForce;

const DEMO: &str = include_str!("../../../../topologies/demo.yaml");

/// The part of a running program that follows its topology file.
struct Running {
    _folder: tempfile::TempDir,
    file: PathBuf,
    policies: Policies,
    reloader: Reloader,
}

impl Running {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.yaml");
        std::fs::write(&file, DEMO).unwrap();
        let loaded = topology::read("t.yaml", DEMO, Variables::Unresolved).unwrap();
        let policies = Policies {
            in_force: Arc::new(PolicyInForce::new(loaded.topology.policy.clone())),
            table: Arc::new(TagTable::new(TagTableOptions::default())),
            metrics: Arc::new(Metrics::new([])),
        };
        let reloader = Reloader::new(TopologyFile::of_file(&file), DEMO.to_owned(), &loaded);
        Self {
            _folder: folder,
            file,
            policies,
            reloader,
        }
    }

    fn read(&mut self, text: &str) -> Reading {
        std::fs::write(&self.file, text).unwrap();
        self.reloader.read(&self.policies)
    }
}

#[track_caller]
fn edited(old: &str, new: &str) -> String {
    assert!(DEMO.contains(old), "{old}");
    DEMO.replacen(old, new, 1)
}

fn applied(policy: &[&str], deployment: &[&str]) -> Reading {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Reading::Applied {
        policy: owned(policy),
        deployment: owned(deployment),
    }
}

#[test]
fn policy_is_applied_and_deployment_needs_a_restart() {
    let mut running = Running::new();
    let version = |running: &Running| running.policies.in_force.get().version.clone();
    assert_eq!(running.read(DEMO), applied(&[], &[]));
    let newer = edited("version: \"1\"", "version: \"2\"");
    assert_eq!(running.read(&newer), applied(&["version"], &[]));
    assert_eq!(version(&running), "2");
    let both = newer.replacen("poll_threads: 1", "poll_threads: 2", 1);
    let needs = applied(&[], &["kafka.poll_threads"]);
    assert_eq!(running.read(&both), needs);
    assert_eq!(running.read(&both), needs, "as long as it is so");
    let wrong = newer.replacen("version: \"2\"", "version: [3]", 1);
    assert!(matches!(running.read(&wrong), Reading::Refused(_)));
    assert_eq!(version(&running), "2");
    assert_eq!(running.read(DEMO), applied(&["version"], &[]));
    assert_eq!(version(&running), "1");
}

#[test]
fn another_model_needs_a_restart_and_so_does_a_policy_beside_it() {
    let mut running = Running::new();
    let model = edited("model: simulated-planner", "model: other");
    let needs = applied(&[], &["providers.simulator.simulator.model"]);
    assert_eq!(running.read(&model), needs);
    let both = model.replacen("ttl_jitter: 0.1", "ttl_jitter: 0.2", 1);
    let Reading::Refused(why) = running.read(&both) else {
        panic!("a policy for another model was applied");
    };
    // Not once for each of the seven cache types.
    assert_eq!(why.matches("needs a restart").count(), 1, "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_watched_file_that_cannot_be_read_is_reported_once() {
    let running = Running::new();
    let (_signal, signals) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let (metrics, file) = (Arc::clone(&running.policies.metrics), running.file);
    let runs = running
        .reloader
        .run(signals, true, running.policies, stop.clone());
    let runs = tokio::spawn(runs);
    let readings = |result| {
        let name = "wedcache_policy_readings_total";
        metrics.total(name, Some(("result", result)))
    };
    let a_while = || tokio::time::sleep(LOOK_EVERY * 10);
    a_while().await;
    assert!(readings("refused") + readings("unchanged") + readings("applied") < 0.5);
    std::fs::remove_file(&file).unwrap();
    a_while().await;
    assert!((readings("refused") - 1.0).abs() < 0.5);
    std::fs::write(&file, DEMO).unwrap();
    a_while().await;
    assert!((readings("unchanged") - 1.0).abs() < 0.5);
    std::fs::write(&file, edited("version: \"1\"", "version: \"2\"")).unwrap();
    a_while().await;
    assert!((readings("applied") - 1.0).abs() < 0.5);
    stop.cancel();
    runs.await.unwrap();
}
