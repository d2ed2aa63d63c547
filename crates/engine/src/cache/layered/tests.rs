//! The layers together, on paused time with layers that can be slow or down.

use parking_lot::Mutex;
use std::sync::atomic::AtomicBool;

use futures_util::future::{BoxFuture, FutureExt as _};

use wedcache_model::Position;

use super::super::memory::MemoryOptions;
use super::super::naive::{self, Model};
use super::*;

struct Fake {
    name: LayerName,
    model: Mutex<Model>,
    delay: Mutex<Duration>,
    down: AtomicBool,
}

impl Fake {
    fn new(name: LayerName) -> Arc<Self> {
        Arc::new(Self {
            name,
            model: Mutex::default(),
            delay: Mutex::default(),
            down: AtomicBool::new(false),
        })
    }

    fn slow(&self, delay: Duration) {
        *self.delay.lock() = delay;
    }

    async fn run<T>(&self, work: impl FnOnce(&mut Model) -> T) -> Result<T, LayerError> {
        let delay = *self.delay.lock();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if self.down.load(Ordering::Relaxed) {
            return Err(LayerError::Away);
        }
        let mut model = self.model.lock();
        Ok(work(&mut model))
    }

    fn holds(&self, key: &CacheKey) -> Option<Arc<Entry>> {
        self.model.lock().get(key)
    }
}

impl Layer for Fake {
    fn name(&self) -> LayerName {
        self.name
    }

    fn get<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Lookup> {
        async move {
            match self.run(|model| model.get(key)).await {
                Ok(found) => found.map_or(Lookup::Miss, Lookup::Hit),
                Err(error) => Lookup::Unavailable(error),
            }
        }
        .boxed()
    }

    fn put<'a>(&'a self, entry: &'a Arc<Entry>) -> BoxFuture<'a, Result<Put, LayerError>> {
        self.run(|model| model.put(entry)).boxed()
    }

    fn remove<'a>(
        &'a self,
        key: &'a CacheKey,
        not_newer_than: &'a Header,
    ) -> BoxFuture<'a, Result<(), LayerError>> {
        self.run(|model| {
            if let Some(held) = model.get(key) {
                let mut limit = Entry::clone(&held);
                limit.header = not_newer_than.clone();
                model.remove(&Arc::new(limit));
            }
        })
        .boxed()
    }
}

fn layers() -> (Layers, Arc<Fake>, Arc<Fake>) {
    let (disk, redis) = (Fake::new(LayerName::Disk), Fake::new(LayerName::Redis));
    let layers = Layers::of(
        Some(Memory::new(&MemoryOptions::default())),
        vec![Arc::clone(&disk) as _, Arc::clone(&redis) as _],
        None,
        LayeredOptions::default(),
    );
    (layers, disk, redis)
}

fn since(stamp: i64) -> impl Fn(&Header) -> bool + Sync {
    move |header| header.stamp >= Position(stamp)
}

fn names(outcomes: &[(LayerName, LookupOutcome)]) -> Vec<(LayerName, &'static str)> {
    let name = |outcome: &LookupOutcome| match outcome {
        LookupOutcome::Hit => "hit",
        LookupOutcome::Miss => "miss",
        LookupOutcome::Refused => "refused",
        LookupOutcome::Unavailable(error) => error.kind(),
    };
    outcomes
        .iter()
        .map(|(layer, outcome)| (*layer, name(outcome)))
        .collect()
}

use LayerName::{Disk as OnDisk, Memory as InMemory, Redis as InRedis};

#[tokio::test(start_paused = true)]
async fn a_hit_below_is_copied_upward() {
    let (layers, disk, redis) = layers();
    let entry = naive::entry(1, 5, 0);
    redis.put(&entry).await.unwrap();
    let found = layers.get_slow(&entry.key, &since(0)).await;
    assert_eq!(found.hit.unwrap().layer, InRedis);
    assert_eq!(names(&found.outcomes), [(OnDisk, "miss"), (InRedis, "hit")]);
    assert_eq!(layers.memory_hit(&entry.key), Some(Arc::clone(&entry)));
    layers.close().await;
    assert_eq!(disk.holds(&entry.key), Some(Arc::clone(&entry)));

    redis.down.store(true, Ordering::Relaxed);
    let found = layers.get_slow(&entry.key, &since(0)).await;
    assert_eq!(
        names(&found.outcomes),
        [(OnDisk, "hit")],
        "redis is not asked"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_on_disk_may_be_newer_in_redis() {
    let (layers, disk, redis) = layers();
    let (old, new) = (naive::entry(1, 3, 0), naive::entry(1, 7, 0));
    disk.put(&old).await.unwrap();
    redis.put(&new).await.unwrap();
    let found = layers.get_slow(&old.key, &since(5)).await;
    assert_eq!(found.hit.unwrap().entry, new);
    assert_eq!(found.refused.len(), 1);
    assert_eq!(
        names(&found.outcomes),
        [(OnDisk, "refused"), (InRedis, "hit")]
    );
    layers.close().await;
    assert_eq!(disk.holds(&old.key), Some(new));
}

#[tokio::test(start_paused = true)]
async fn refused_entries_are_returned_newest_first_and_not_copied() {
    let (layers, disk, redis) = layers();
    disk.put(&naive::entry(1, 3, 0)).await.unwrap();
    redis.put(&naive::entry(1, 4, 0)).await.unwrap();
    let found = layers.get_slow(&naive::key(1), &since(9)).await;
    assert!(found.hit.is_none());
    let stamps: Vec<_> = found
        .refused
        .iter()
        .map(|hit| (hit.layer, hit.entry.header.stamp.0))
        .collect();
    assert_eq!(stamps, [(InRedis, 4), (OnDisk, 3)]);
    layers.close().await;
    assert!(layers.memory_hit(&naive::key(1)).is_none());
    assert_eq!(disk.holds(&naive::key(1)).unwrap().header.stamp.0, 3);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_down_costs_only_its_hits() {
    let (layers, disk, redis) = layers();
    disk.down.store(true, Ordering::Relaxed);
    redis.put(&naive::entry(1, 3, 0)).await.unwrap();
    let found = layers.get_slow(&naive::key(1), &since(0)).await;
    assert_eq!(names(&found.outcomes), [(OnDisk, "away"), (InRedis, "hit")]);
    let filled = layers.fill(naive::entry(2, 3, 0)).await;
    assert!(filled.durable, "{filled:?}");
    assert_eq!(filled.stored_in, [InMemory, InRedis]);
    assert_eq!(filled.errors.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_layer_does_not_hold_a_fill_that_the_other_has_acknowledged() {
    let (layers, _, redis) = layers();
    redis.slow(Duration::from_millis(300));
    let began = Instant::now();
    let filled = layers.fill(naive::entry(1, 3, 0)).await;
    assert!(began.elapsed() <= Duration::from_millis(6), "{filled:?}");
    assert!(filled.durable);
    assert_eq!(filled.pending, [InRedis]);
    assert_eq!(layers.stats().writes_in_flight, 1);
    layers.close().await;
    assert!(redis.holds(&naive::key(1)).is_some(), "it went on");
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_nobody_acknowledges_is_in_memory_and_not_durable() {
    let (layers, disk, redis) = layers();
    disk.down.store(true, Ordering::Relaxed);
    redis.slow(Duration::from_secs(10));
    let began = Instant::now();
    let filled = layers.fill(naive::entry(1, 3, 0)).await;
    assert_eq!(began.elapsed(), LayeredOptions::default().fill_wait);
    assert!(!filled.durable);
    assert_eq!(filled.pending, [InRedis]);
    assert!(layers.memory_hit(&naive::key(1)).is_some());

    redis.down.store(true, Ordering::Relaxed);
    redis.slow(Duration::ZERO);
    let began = Instant::now();
    assert!(!layers.fill(naive::entry(2, 3, 0)).await.durable);
    assert_eq!(
        began.elapsed(),
        Duration::ZERO,
        "all have failed: no waiting"
    );
    layers.close().await;
    assert_eq!(layers.stats().late_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn an_older_fill_is_acknowledged_by_the_newer_one() {
    let (layers, ..) = layers();
    layers.fill(naive::entry(1, 3, 0)).await;
    let filled = layers.fill(naive::entry(1, 2, 0)).await;
    assert!(filled.durable);
    assert_eq!(filled.kept_newer_in, [InMemory, OnDisk, InRedis]);
    assert_eq!(layers.memory_hit(&naive::key(1)).unwrap().header.stamp.0, 3);
}

#[tokio::test(start_paused = true)]
async fn writes_on_their_way_are_bounded() {
    let (disk, redis) = (Fake::new(OnDisk), Fake::new(InRedis));
    let options = LayeredOptions {
        max_writes: 2,
        ..LayeredOptions::default()
    };
    let durable: Vec<Arc<dyn Layer>> = vec![Arc::clone(&disk) as _, Arc::clone(&redis) as _];
    let layers = Layers::of(None, durable, None, options);
    disk.slow(Duration::from_mins(1));
    redis.put(&naive::entry(9, 1, 0)).await.unwrap();
    // Each fill leaves its write to the disk in flight.
    layers.fill(naive::entry(1, 1, 0)).await;
    layers.fill(naive::entry(2, 1, 0)).await;
    assert_eq!(layers.stats().writes_in_flight, 2);

    let found = {
        disk.slow(Duration::ZERO);
        layers.get_slow(&naive::key(9), &since(0)).await
    };
    assert!(found.hit.is_some());
    assert_eq!(layers.stats().backfills_left_out, 1);

    // The disk is stalled; Redis has room of its own.
    let filled = layers.fill(naive::entry(3, 1, 0)).await;
    assert_eq!(filled.stored_in, [InRedis]);
    assert_eq!(filled.errors.len(), 1);
    assert_eq!(filled.errors[0].1.kind(), "overloaded");
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_has_no_room_does_not_hold_up_the_write_to_another() {
    let (disk, redis) = (Fake::new(OnDisk), Fake::new(InRedis));
    let options = LayeredOptions {
        max_writes: 1,
        ..LayeredOptions::default()
    };
    let durable: Vec<Arc<dyn Layer>> = vec![Arc::clone(&disk) as _, Arc::clone(&redis) as _];
    let layers = Layers::of(None, durable, None, options);
    disk.slow(Duration::from_mins(1));
    layers.fill(naive::entry(1, 1, 0)).await;
    let fill = layers.fill(naive::entry(2, 1, 0));
    let soon = tokio::time::timeout(Duration::from_millis(1), fill).await;
    assert!(soon.is_err(), "the fill waits for the disk");
    assert!(redis.holds(&naive::key(2)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_burst_waits_for_room_as_long_as_the_layer_works() {
    let disk = Fake::new(OnDisk);
    let options = LayeredOptions {
        max_writes: 2,
        ..LayeredOptions::default()
    };
    let layers = Arc::new(Layers::of(
        None,
        vec![Arc::clone(&disk) as _],
        None,
        options,
    ));
    disk.slow(Duration::from_millis(500));
    let fills = (0..200).map(|n| {
        let layers = Arc::clone(&layers);
        async move { layers.fill(naive::entry(n, 1, 0)).await }
    });
    let began = Instant::now();
    let filled = join_all(fills).await;
    assert!(filled.iter().all(|of| of.durable && of.errors.is_empty()));
    assert_eq!(began.elapsed(), Duration::from_secs(50));
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_stands_still_is_waited_for_once() {
    let disk = Fake::new(OnDisk);
    let options = LayeredOptions {
        max_writes: 2,
        ..LayeredOptions::default()
    };
    let layers = Layers::of(None, vec![Arc::clone(&disk) as _], None, options);
    disk.slow(Duration::from_mins(10));
    let began = Instant::now();
    for n in 0..100 {
        let filled = layers.fill(naive::entry(n, 1, 0)).await;
        assert!(!filled.durable);
        assert_eq!(began.elapsed(), options.fill_wait, "{n}");
    }
    // The stalled writes are stored at last, and fills are durable again.
    disk.slow(Duration::ZERO);
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert!(layers.fill(naive::entry(7, 2, 0)).await.durable);
}

#[tokio::test(start_paused = true)]
async fn remove_spares_what_is_newer() {
    let (layers, disk, redis) = layers();
    layers.fill(naive::entry(1, 3, 0)).await;
    redis.put(&naive::entry(1, 5, 0)).await.unwrap();
    let limit = naive::entry(1, 4, 0);
    assert!(layers.remove(&limit.key, &limit.header).await.is_empty());
    assert!(layers.memory_hit(&limit.key).is_none() && disk.holds(&limit.key).is_none());
    assert!(redis.holds(&limit.key).is_some());
}

#[tokio::test]
async fn without_any_layer_everything_is_a_miss() {
    let layers = Layers::new(None, None, None, LayeredOptions::default());
    assert!(!layers.has_durable());
    let filled = layers.fill(naive::entry(1, 1, 0)).await;
    assert!(!filled.durable && filled.stored_in.is_empty());
    let found = layers.get_slow(&naive::key(1), &since(0)).await;
    assert!(found.hit.is_none() && found.outcomes.is_empty());
    layers.close().await;
}
