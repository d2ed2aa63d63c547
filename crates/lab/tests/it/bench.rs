//! Every scenario of `wedcache-lab` on the embedded broker, far too small for meaningful figures:
//! each runs, its counts are right, and no error is counted.

use assert_cmd::Command;
use serde_json::Value;

/// Runs a scenario; returns its report.
#[track_caller]
fn bench(arguments: &str) -> Value {
    let done = Command::cargo_bin("wedcache-lab")
        .unwrap()
        .args(arguments.split_ascii_whitespace())
        .arg("--json")
        .assert()
        .success();
    serde_json::from_slice(&done.get_output().stdout).unwrap()
}

#[track_caller]
fn number(report: &Value, pointer: &str) -> f64 {
    let found = report.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number at {pointer} of {report:#}"))
}

#[track_caller]
fn check(report: &Value, pointer: &str, wanted: f64) {
    let found = number(report, pointer);
    assert!(
        (found - wanted).abs() < f64::EPSILON,
        "{pointer} is {found} instead of {wanted}: {report:#}"
    );
}

#[track_caller]
fn positive(report: &Value, pointers: &[&str]) {
    for pointer in pointers {
        assert!(number(report, pointer) > 0.0, "{pointer} of {report:#}");
    }
}

#[test]
fn hits_are_measured_for_every_format_and_poll_thread_beside_the_same_bare_loop() {
    let report =
        bench("hits --records 2000 --keys 10 --rounds 1 --poll-threads 1,2 --format json,avro");
    for format in 0..2 {
        for (contestant, name) in [
            "wedcache, 1 poll thread(s)",
            "wedcache, 2 poll thread(s)",
            "bare loop, 1 poll thread(s)",
            "bare loop, 2 poll thread(s)",
        ]
        .into_iter()
        .enumerate()
        {
            let at = format!("/formats/{format}/contestants/{contestant}");
            assert_eq!(report.pointer(&format!("{at}/name")).unwrap(), name);
            // The bare loop may have finished between two looks.
            if contestant < 2 {
                positive(&report, &[&format!("{at}/hits_per_sec/median")]);
            }
            check(&report, &format!("{at}/rounds/0/not_hits"), 0.0);
            check(&report, &format!("{at}/rounds/0/metrics_lost"), 0.0);
        }
    }
}

#[test]
fn misses_are_among_the_hits_and_not_in_their_rate() {
    let report = bench("mixed --records 2000 --keys 10 --rounds 1 --miss-one-in 20 --miss-ms 100");
    check(&report, "/contestants/0/rounds/0/not_hits", 0.0);
    let misses = number(&report, "/contestants/1/rounds/0/not_hits");
    assert!((1.0..=100.0).contains(&misses), "{misses}");
    positive(&report, &["/contestants/1/hits_per_sec/median"]);
}

#[test]
fn latencies_are_those_of_all_that_was_asked_in_the_measured_time() {
    let report = bench("latency --rate 200 --secs 1 --warm-up-secs 1 --keys 10 --rounds 1");
    for contestant in 0..2 {
        let at = format!("/contestants/{contestant}/rounds/0/driven");
        check(&report, &format!("{at}/asked"), 200.0);
        check(&report, &format!("{at}/unanswered"), 0.0);
        check(&report, &format!("{at}/hits/count"), 200.0);
    }
    positive(&report, &["/contestants/0/p99/ratio/median"]);
    check(&report, "/contestants/0/rounds/0/not_hits", 0.0);
}

#[test]
fn hits_beside_misses_are_told_from_them() {
    let report = bench(
        "latency-mixed --rate 180 --misses 10 --miss-ms 500 --secs 1 --warm-up-secs 1 --keys 10 \
         --rounds 1",
    );
    let driven = "/contestants/0/rounds/0/driven";
    check(&report, &format!("{driven}/hits/count"), 180.0);
    check(&report, &format!("{driven}/misses/count"), 20.0);
    assert!(number(&report, &format!("{driven}/misses/p50_ms")) >= 500.0);
    positive(&report, &["/contestants/0/rounds/0/calls_in_flight"]);
    check(&report, "/contestants/1/rounds/0/driven/hits/count", 180.0);
}

#[test]
fn a_backlog_is_answered_without_losing_the_partitions() {
    let report = bench("backlog --records 3000 --keys 10");
    positive(
        &report,
        &[
            "/wedcache/answers_per_sec",
            "/wedcache/resident_peak_bytes",
            "/bare/answers_per_sec",
            "/rate_ratio",
            "/ready_secs",
        ],
    );
    for nothing in ["/revoked", "/lost", "/memory_evictions"] {
        check(&report, nothing, 0.0);
    }
}

#[test]
fn the_disk_is_back_with_all_that_was_acknowledged_before_the_kill() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("bench");
    let report = bench(&format!(
        "disk --entries 3000 --answer-bytes 500 --page-cache-mib 16 --churn 1 --dir {}",
        dir.display()
    ));
    assert!(!dir.exists(), "the folder is removed");
    positive(
        &report,
        &[
            "/read/hits_per_sec",
            "/ready_after_stop_secs",
            "/ready_after_kill_secs",
            "/acknowledged_before_kill",
            "/folder_bytes/0",
            "/folder_bytes/1",
        ],
    );
    check(&report, "/read/not_found", 0.0);
    for lost in [
        "/after_stop/older",
        "/after_stop/gone",
        "/after_kill/older",
        "/after_kill/gone",
        "/after_churn/gone",
    ] {
        check(&report, lost, 0.0);
    }
}

#[test]
fn a_change_leaves_no_answer_of_before_it_however_many_there_are() {
    let report = bench("invalidate --answers 50,2000 --answer-bytes 200 --rate 200 --changes 2");
    for run in 0..2 {
        check(&report, &format!("/runs/{run}/still_good"), 0.0);
        positive(
            &report,
            &[
                &format!("/runs/{run}/refused_after_ms/median"),
                &format!("/runs/{run}/judge_valid_nanos/median"),
            ],
        );
    }
    positive(&report, &["/apply_micros"]);
}

#[test]
fn redis_is_measured_by_how_much_is_on_its_way_at_once() {
    let Some(address) = std::env::var("WEDCACHE_TEST_REDIS")
        .ok()
        .filter(|address| !address.is_empty())
    else {
        eprintln!("SKIPPED: WEDCACHE_TEST_REDIS is not set; scripts/test starts Redis");
        return;
    };
    let report = bench(&format!(
        "redis --redis {address} --entries 200 --concurrency 1,64 --secs 1"
    ));
    for run in 0..2 {
        positive(&report, &[&format!("/runs/{run}/hits_per_sec")]);
        check(&report, &format!("/runs/{run}/not_found"), 0.0);
    }
}

#[test]
fn a_redis_that_is_not_there_is_told_of() {
    let failed = Command::cargo_bin("wedcache-lab")
        .unwrap()
        .args(["redis", "--redis", "redis://127.0.0.1:9"])
        .assert()
        .failure();
    let said = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(said.contains("does not answer"), "{said}");
}
