//! Opens a topology's layers. A layer that does not open is left out with an error in the log: the
//! instance starts without it.

use secrecy::ExposeSecret;

use crate::cache::{
    BreakerOptions, Disk, DiskOptions, LayeredOptions, Layers, Memory, MemoryOptions, Redis,
    RedisOptions,
};
use crate::clock::Clock;
use crate::health::{Component, Health};
use crate::model::Form;
use crate::topology::settings::{self, RedisServer};

/// Opens the layers; `form` is the form in which answers are written.
pub async fn open(
    settings: &settings::Layers,
    form: Form,
    clock: &Clock,
    health: &Health,
) -> Layers {
    let memory = settings.memory.map(|memory| {
        Memory::new(&MemoryOptions {
            max_bytes: memory.size.0,
            form,
        })
    });
    let disk = match &settings.disk {
        Some(disk) => open_disk(disk, clock, health).await,
        None => None,
    };
    let redis = settings
        .redis
        .as_ref()
        .and_then(|redis| start_redis(redis, clock, health));
    Layers::new(memory, disk, redis, LayeredOptions::default())
}

async fn open_disk(settings: &settings::Disk, clock: &Clock, health: &Health) -> Option<Disk> {
    let defaults = DiskOptions::new(&settings.path);
    let options = DiskOptions {
        page_cache_bytes: settings.cache_size.0,
        max_bytes: settings.max_size.map_or(defaults.max_bytes, |size| size.0),
        ..defaults
    };
    match Disk::open(options, clock.clone()).await {
        Ok(disk) => {
            if disk.was_rebuilt() {
                tracing::warn!(path = %settings.path.display(), "the disk layer was corrupt: set aside and rebuilt");
            }
            Some(disk)
        }
        Err(error) => {
            let path = settings.path.display();
            tracing::error!(%path, %error, "going on without the disk layer");
            let why = format!("the folder did not open at the start: {error}");
            health.degraded(Component::Disk, None, &why);
            None
        }
    }
}

fn start_redis(settings: &settings::Redis, clock: &Clock, health: &Health) -> Option<Redis> {
    let options = redis_options(settings);
    match Redis::start(options, clock.clone()) {
        Ok(redis) => Some(redis),
        Err(error) => {
            tracing::error!(%error, "going on without Redis");
            health.degraded(Component::Redis, None, &error.to_string());
            None
        }
    }
}

/// Returns the options of the Redis layer.
pub fn redis_options(settings: &settings::Redis) -> RedisOptions {
    let (urls, cluster) = match &settings.server {
        RedisServer::Single(url) => (vec![url.clone()], false),
        RedisServer::Cluster(urls) => (urls.clone(), true),
    };
    let first = urls
        .first()
        .map(|url| url.expose_secret().to_owned())
        .unwrap_or_default();
    RedisOptions {
        urls,
        cluster,
        key_prefix: settings.key_prefix.clone(),
        connect_timeout: settings.connect_timeout,
        response_timeout: settings.response_timeout,
        breaker: BreakerOptions {
            failures: settings.breaker.failures,
            open_for: settings.breaker.open_for,
        },
        lease_term: settings.lease_term,
        ..RedisOptions::new(first)
    }
}
