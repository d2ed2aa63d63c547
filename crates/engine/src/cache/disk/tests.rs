//! The disk layer against real folders: order of fills, kill -9, corruption, locks, bounds.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use proptest::prelude::*;

use wedcache_model::Timestamp;

use super::super::naive::{self, Step};
use super::*;

/// The variable that names the folder for the child, which is this test binary started again.
const CHILD_FOLDER: &str = "WEDCACHE_TEST_DISK_CHILD";

fn options(folder: &Path) -> DiskOptions {
    DiskOptions {
        reopen_after: Duration::from_millis(20),
        sweep_per_sec: 1_000_000,
        ..DiskOptions::new(folder.join("entries"))
    }
}

async fn open(folder: &Path) -> Disk {
    Disk::open(options(folder), Clock::mock(naive::NOW).0)
        .await
        .unwrap()
}

/// Polls until the condition holds, because nothing else signals the background's progress.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "not within 20 s: {what}");
        std::thread::yield_now();
    }
}

fn hit(lookup: Lookup) -> Option<Arc<Entry>> {
    match lookup {
        Lookup::Hit(entry) => Some(entry),
        Lookup::Miss => None,
        Lookup::Unavailable(error) => panic!("unavailable: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path()).await;
    for number in 0..50 {
        let put = disk.put(&naive::entry(number, 5, 0)).await.unwrap();
        assert_eq!(put, Put::Stored);
    }
    assert_eq!(
        disk.put(&naive::entry(7, 5, 0)).await.unwrap(),
        Put::KeptNewer
    );
    assert_eq!(
        disk.put(&naive::entry(7, 4, 9)).await.unwrap(),
        Put::KeptNewer
    );
    let limit = naive::entry(8, 4, 0);
    disk.remove(&limit.key, &limit.header).await.unwrap();
    assert!(hit(disk.get(&limit.key).await).is_some(), "it is newer");
    let limit = naive::entry(8, 5, 0);
    disk.remove(&limit.key, &limit.header).await.unwrap();
    disk.close().await;
    assert!(matches!(
        disk.put(&naive::entry(1, 9, 0)).await,
        Err(LayerError::Closed)
    ));

    let disk = open(folder.path()).await;
    assert!(!disk.was_rebuilt());
    for number in 0..50 {
        let held = hit(disk.get(&naive::key(number)).await);
        let want = (number != 8).then(|| naive::entry(number, 5, 0));
        assert_eq!(held, want, "key {number}");
    }
    eventually("a full count", || disk.stats().entries == Some(49));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writes_share_flushes() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path()).await;
    let entries: Vec<_> = (0..500).map(|number| naive::entry(number, 1, 0)).collect();
    let puts = futures_util::future::join_all(entries.iter().map(|entry| disk.put(entry))).await;
    assert!(puts.iter().all(|put| matches!(put, Ok(Put::Stored))));
    let stats = disk.stats();
    assert_eq!(stats.writes, 500);
    assert!(stats.flushes < 100, "{stats:?}");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(
        DiskOptions {
            queue: 4,
            ..options(folder.path())
        },
        Clock::mock(naive::NOW).0,
    )
    .await
    .unwrap();
    // All are polled once without yielding: the writer's thread cannot take 20 000 in between.
    let entries: Vec<_> = (0..20_000)
        .map(|number| naive::entry(number, 1, 0))
        .collect();
    let puts = futures_util::future::join_all(entries.iter().map(|entry| disk.put(entry))).await;
    let refused = puts
        .iter()
        .filter(|put| matches!(put, Err(LayerError::Overloaded { capacity: 4 })))
        .count();
    assert!(refused > 0);
    let stats = disk.stats();
    assert!(stats.failures.contains(&("overloaded", refused as u64)));
    assert_eq!(stats.trouble.map(|of| of.reason), Some("overloaded"));
    for (entry, put) in entries.iter().zip(&puts) {
        assert_eq!(put.is_ok(), hit(disk.get(&entry.key).await).is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_past_its_time_is_dropped_by_reads_and_by_the_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::mock(naive::NOW);
    let disk = Disk::open(
        DiskOptions {
            // Too slow to matter: the read has to remove the entry.
            sweep_per_sec: 1,
            ..options(folder.path())
        },
        clock.clone(),
    )
    .await
    .unwrap();
    for number in 0..300 {
        disk.put(&naive::entry(number, 1, 0)).await.unwrap();
    }
    let after = naive::entry(0, 1, 0).header.keep_until;
    hand.set(after);
    assert!(
        hit(disk.get_blocking(&naive::key(5))).is_some(),
        "the last moment"
    );
    hand.set(Timestamp(after.0 + 1));
    assert!(hit(disk.get_blocking(&naive::key(5))).is_none());
    eventually("the lazy removal", || disk.stats().expired >= 1);
    disk.close().await;

    let disk = Disk::open(options(folder.path()), clock).await.unwrap();
    eventually("an empty folder", || disk.stats().entries == Some(0));
    assert!(disk.stats().expired >= 298);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_bound_it_evicts() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(
        DiskOptions {
            max_bytes: 100 << 10,
            ..options(folder.path())
        },
        Clock::mock(naive::NOW).0,
    )
    .await
    .unwrap();
    for number in 0..200 {
        disk.put(&naive::entry_of_bytes(number, 1, 2 << 10))
            .await
            .unwrap();
    }
    eventually("room", || {
        let stats = disk.stats();
        stats.entries.is_some() && stats.entry_bytes <= 100 << 10
    });
    let stats = disk.stats();
    assert!(stats.evictions >= 140, "{stats:?}");
    let left = (0..200)
        .filter(|&number| hit(disk.get_blocking(&naive::key(number))).is_some())
        .count();
    assert_eq!(Some(left as u64), stats.entries);
    assert!(left > 30, "no more than needed: {left}");
}

#[tokio::test]
async fn a_folder_in_use_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).await;
    first.put(&naive::entry(1, 1, 0)).await.unwrap();
    let second = Disk::open(options(folder.path()), Clock::System).await;
    assert!(
        matches!(second, Err(DiskError::Locked { .. })),
        "{second:?}"
    );
    assert!(hit(first.get_blocking(&naive::key(1))).is_some());

    // A folder in use by a program that opens sled without our lock is refused, too.
    let foreign = tempfile::tempdir().unwrap();
    let db = sled::open(foreign.path().join("entries")).unwrap();
    let refused = Disk::open(options(foreign.path()), Clock::System).await;
    assert!(
        matches!(refused, Err(DiskError::Locked { .. })),
        "{refused:?}"
    );
    assert!(db.insert("still", "here").is_ok() && db.flush().is_ok());
}

#[tokio::test]
async fn a_lock_that_is_given_up_soon_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let beside = fs::File::create(folder.path().join("entries.lock")).unwrap();
    fs::create_dir(folder.path().join("entries")).unwrap();
    let inside = fs::File::create(folder.path().join("entries/db")).unwrap();
    beside.lock().unwrap();
    inside.lock().unwrap();
    let leaver = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(beside);
        std::thread::sleep(Duration::from_millis(100));
        drop(inside);
    });
    assert!(!open(folder.path()).await.was_rebuilt());
    leaver.join().unwrap();
}

#[tokio::test]
async fn a_place_that_cannot_be_used_is_an_error_and_nothing_worse() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    let below = Disk::open(DiskOptions::new(file.join("x")), Clock::System).await;
    assert!(matches!(below, Err(DiskError::Io { .. })), "{below:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_folder_is_put_aside_and_rebuilt() {
    for damage in ["db", "conf", "all", "a file"] {
        let folder = tempfile::tempdir().unwrap();
        fill_and_close(folder.path()).await;
        for round in 1..=4 {
            corrupt(&folder.path().join("entries"), damage);
            let disk = open(folder.path()).await;
            eventually("the first round", || disk.stats().entries.is_some());
            let stats = disk.stats();
            assert!(disk.was_rebuilt(), "{damage}, round {round}: {stats:?}");
            assert_eq!(stats.entries, Some(0), "{damage}");
            assert_eq!(hit(disk.get_blocking(&naive::key(3))), None, "{damage}");
            drop(disk);
            fill_and_close(folder.path()).await;
            let aside = fs::read_dir(folder.path())
                .unwrap()
                .filter(|file| {
                    let name = file.as_ref().unwrap().file_name();
                    name.to_string_lossy().starts_with("entries.quarantine-")
                })
                .count();
            assert_eq!(aside, round.min(2), "{damage}");
        }
    }
}

async fn fill_and_close(folder: &Path) {
    // Waits for the layer of the previous round, which is still closing.
    let disk = Disk::open(options(folder), Clock::mock(naive::NOW).0);
    let disk = disk.await.unwrap();
    for number in 0..200 {
        disk.put(&naive::entry_of_bytes(number, 1, 3000))
            .await
            .unwrap();
    }
    disk.close().await;
}

fn corrupt(entries: &Path, damage: &str) {
    if damage == "a file" {
        fs::remove_dir_all(entries).unwrap();
        fs::write(entries, "garbage").unwrap();
        return;
    }
    let mut hurt = 0;
    for file in fs::read_dir(entries).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_file() && (damage == "all" || name.starts_with(damage)) {
            let mut random = fastrand::Rng::with_seed(7);
            let len = fs::metadata(&path).unwrap().len();
            let garbage: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
                .take(usize::try_from(len).unwrap())
                .collect();
            fs::write(&path, garbage).unwrap();
            hurt += 1;
        }
    }
    assert!(hurt > 0, "nothing to damage by the name of {damage}");
}

/// Checks random damage: whatever sled makes of it, no wrong entry comes back and the layer works.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_damaged_in_places_never_gives_a_wrong_entry() {
    for seed in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        fill_and_close(folder.path()).await;
        let path = folder.path().join("entries/db");
        let mut bytes = fs::read(&path).unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        if seed % 3 == 0 {
            bytes.truncate(random.usize(..bytes.len()));
        }
        for _ in 0..20 {
            let at = random.usize(..bytes.len());
            bytes[at] ^= random.u8(1..);
        }
        fs::write(&path, bytes).unwrap();

        let disk = open(folder.path()).await;
        for number in 0..200 {
            if let Lookup::Hit(entry) = disk.get_blocking(&naive::key(number)) {
                assert_eq!(entry, naive::entry_of_bytes(number, 1, 3000), "seed {seed}");
            }
        }
        let until = Instant::now() + Duration::from_secs(20);
        while disk.put(&naive::entry(1, 2, 0)).await.is_err() {
            assert!(Instant::now() < until, "seed {seed}");
        }
        disk.close().await;
        let disk = open(folder.path()).await;
        assert!(
            hit(disk.get_blocking(&naive::key(1))).is_some(),
            "seed {seed}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn corruption_met_at_run_time_is_put_aside_while_the_layer_lives() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path()).await;
    disk.put(&naive::entry(1, 1, 0)).await.unwrap();
    disk.shared.corrupt.store(true, Ordering::Relaxed);
    eventually("the rebuild", || disk.was_rebuilt());
    eventually("an empty store", || {
        matches!(disk.get_blocking(&naive::key(1)), Lookup::Miss)
    });
    let until = Instant::now() + Duration::from_secs(20);
    while disk.put(&naive::entry(1, 2, 0)).await.is_err() {
        assert!(Instant::now() < until);
    }
    assert!(hit(disk.get_blocking(&naive::key(1))).is_some());
}

/// The child process of `everything_acknowledged_survives_kill_9`, not a test of its own.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "how a test talks to its child")]
    let Ok(folder) = std::env::var(CHILD_FOLDER) else {
        return;
    };
    let disk = Disk::open(options(Path::new(&folder)), Clock::mock(naive::NOW).0)
        .await
        .unwrap();
    for round in 0.. {
        let entries: Vec<_> = (0..16)
            .map(|number| naive::entry(number, round, 0))
            .collect();
        for put in futures_util::future::join_all(entries.iter().map(|e| disk.put(e))).await {
            put.unwrap();
        }
        // Standard error, because the test harness does not capture a raw handle to it.
        writeln!(std::io::stderr(), "acknowledged {round}").unwrap();
    }
}

#[test]
fn everything_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for rounds in [1, 20, 150] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("cache::disk::tests::child_that_writes_until_it_is_killed")
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let acknowledged = |line: std::io::Result<String>| -> Option<i64> {
            line.unwrap().strip_prefix("acknowledged ")?.parse().ok()
        };
        let mut last = -1;
        while last < rounds {
            last = lines.find_map(acknowledged).expect("the child lives");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Acknowledgements that the child wrote before it died count too.
        last = lines.filter_map(acknowledged).last().unwrap_or(last);

        runtime.block_on(async {
            let disk = open(folder.path()).await;
            assert!(!disk.was_rebuilt());
            for number in 0..16 {
                let held = hit(disk.get_blocking(&naive::key(number))).unwrap();
                let stamp = held.header.stamp.0;
                assert!(stamp >= last, "key {number}: {stamp} after {last}");
            }
            let limit = naive::entry(0, i64::MAX, 0);
            for number in 0..16 {
                disk.remove(&naive::key(number), &limit.header)
                    .await
                    .unwrap();
            }
            disk.close().await;
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn disk_does_what_the_naive_model_does(steps in naive::steps(60)) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut disk, mut model) = (open(folder.path()).await, naive::Model::default());
            for (number, step) in steps.into_iter().enumerate() {
                if number % 20 == 19 {
                    disk.close().await;
                    disk = open(folder.path()).await;
                }
                match step {
                    Step::Put(entry) => {
                        prop_assert_eq!(disk.put(&entry).await.unwrap(), model.put(&entry));
                    }
                    Step::Remove(entry) => {
                        disk.remove(&entry.key, &entry.header).await.unwrap();
                        model.remove(&entry);
                    }
                    Step::Get(key) => prop_assert_eq!(hit(disk.get(&key).await), model.get(&key)),
                }
            }
            Ok(())
        })?;
    }
}

/// A file takes the place of the folder's parent; even root cannot write below a file.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_does_not_open_again_is_a_trouble_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().join("parent");
    let pace = Pace {
        quiet: Duration::ZERO,
        ..Pace::default()
    };
    let disk = Disk::open(
        DiskOptions {
            pace,
            ..options(&parent)
        },
        Clock::mock(naive::NOW).0,
    )
    .await
    .unwrap();
    let entry = naive::entry(1, 1, 0);
    disk.put(&entry).await.unwrap();
    assert_eq!(disk.trouble(), None);
    fs::remove_dir_all(&parent).unwrap();
    fs::write(&parent, "in the way").unwrap();
    disk.shared.corrupt.store(true, Ordering::Relaxed);
    eventually("the refusal", || disk.trouble().is_some());
    let trouble = disk.trouble().unwrap();
    assert_eq!((trouble.reason, trouble.down), ("io", true), "{trouble:?}");
    assert!(trouble.detail.contains("parent/entries"), "{trouble:?}");
    assert!(disk.put(&entry).await.is_err());
    fs::remove_file(&parent).unwrap();
    eventually("the end", || disk.trouble().is_none());
    assert_eq!(disk.put(&entry).await.unwrap(), Put::Stored);
}
