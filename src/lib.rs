//! wedcache answers AI queries from Kafka out of a layered cache, and forgets an answer the
//! moment the facts under it change.
//!
//! ```text
//!  queries ──▶ decode ─▶ key ─▶ memory ─▶ disk (sled) ─▶ redis ─▶ single flight ─▶ AI provider
//!                                  │ hit (judged by the tag table)      │ fill (stamped)
//!                                  ▼                                    ▼
//!                         answers, metrics                     all layers, then the answer
//!  vendor changes  ┐
//!  wedding updates ┴▶ rules ─▶ invalidation log (1 partition) ─▶ every instance's tag table
//!  anything unreadable ─▶ dead letters
//! ```
//!
//! # The crates
//! ```text
//!  wedcache-lab ─▶ wedcache (app, pipeline, cli, api, demo) ─▶ kafka ──┐
//!                     │                                               ├─▶ rules ─▶ model
//!                     └─▶ driver ─▶ engine ─▶ codec ─▶ outbound       │
//!                                      └──────────────────────────────┘
//! ```
//! In reading order, each under its name here:
//! 1. `crates/model`: [`model`]: what everything is made of, as plain values: events, keys, tags,
//!    entries; [`clock`], [`backoff`]; [`trouble`]: when a failure that lasts is worth a log line;
//!    [`failpoint`]: the points at which proofs stop a process in order to kill it.
//! 2. `crates/codec`: [`codec`]: bytes ⇄ events in three formats. `crates/outbound`: [`outbound`]:
//!    the HTTP clients of [`codec`] and [`ai`] and their TLS.
//! 3. `crates/rules`: [`topology`]: the YAML file, validated: its deployment, which is fixed, and its
//!    policy. [`invalidation`]: rules → planned invalidations (pure); the log's events; the tag table
//!    that judges.
//! 4. `crates/engine`, in which there is no Kafka: [`observe`]: events for whoever watches;
//!    [`metrics`]: Prometheus, one of the observers; [`cache`]: memory, disk and Redis behind one
//!    trait; [`ai`]: the providers; [`policy`]: the policy in force; [`resolver`]: a query through
//!    the layers to a flight, where the promises meet; [`stages`]: the cores of the stages;
//!    [`health`], [`alerts`].
//! 5. `crates/kafka`: [`kafka`]: members of consumer groups, producers, log reader, admin.
//!    `crates/broker`: [`broker`]: a broker in memory for `demo` and tests. `crates/rdkafka-ext`: what
//!    rdkafka does not wrap of librdkafka.
//! 6. `crates/driver`: [`driver`]: a fleet without Kafka on stopped time, for `wedcache test` and
//!    proofs; [`checker`]: answers against the log.
//! 7. `src`, the program: [`pipeline`]: the stages on Kafka; [`app`]: all of it put together, its start
//!    and its drain; [`cli`], [`api`], [`telemetry`], [`shutdown`]: the outside; [`demo`]: all of it in
//!    one process, with a season that asks and changes.
//! 8. `crates/lab`: a program of its own over this library: benchmarks, and a year on [`driver`].
//!
//! Arrows run one way, and Cargo holds them; those within a crate are held by
//! `tests/it/architecture.rs`.
//!
//! # Invariants
//! 1. An answer shared between couples is made only from what its key says ([`resolver`] builds
//!    prompts of shared types from the key and the question alone).
//! 2. No lookup serves an answer that an invalidation older than the lookup's view forbids:
//!    [`invalidation::TagTable::judge`] on every read from every layer.
//! 3. A paid answer is not bought twice: one flight a key in a process, one lease a key between
//!    processes ([`cache::lease`]), durable before it is published.
//! 4. No input is lost, none blocks the others: [`kafka::offsets`], dead letters, widening.
//! 5. A broken layer degrades the lookup, never the query.
//!
//! # Words
//! - **answer**: the record that a query is answered with; **entry**: an answer as it is stored.
//! - **key**: what a question is, whoever asks it; **tag**: a fact that an entry depends on.
//! - **invalidation**: a record of the log that *purges* (never served again) or *refreshes* (served
//!   as stale while one call renews it) all entries with a tag.
//! - **stamp**: the log's position at which an entry's call began; **view**: the position up to
//!   which a lookup knew the log. An entry is judged by what stands between the two.
//! - **flight**: one call for a key; its **leader** makes it, its **waiters** share the answer; it is
//!   **joinable** until it has a result. A **lease** makes one flight of those of all instances.
//! - **widen**: to invalidate more where a change cannot be read; **park**: to let a record wait for
//!   its schema; **progress**: the offset below which all changes are judged, in the log.
//! - **hold**: a record that waits on purpose and does not count as stuck; **owed**: a refresh that
//!   is held back, with whose change the offset stays uncommitted.
//! - **dead letter**: a record that cannot be used, in a topic of its own with the reason.
//! - **policy**: what decides about answers, replaced while the program runs; **deployment**:
//!   addresses, threads and sizes.
//!
//! # Deliberately absent
//! Transactions of Kafka (ids make duplicates recognisable instead), wall clocks in validity (the
//! log's offsets are the clock), scans of keys to invalidate, similarity search over questions.

pub use wedcache_broker as broker;
pub use wedcache_codec as codec;
pub use wedcache_driver::{self as driver, checker};
pub use wedcache_engine::{
    ai, alerts, cache, circuit, health, metrics, observe, policy, resolver, stages,
};
pub use wedcache_kafka as kafka;
pub use wedcache_model::{self as model, backoff, clock, failpoint, trouble};
pub use wedcache_outbound as outbound;
pub use wedcache_rules::{invalidation, topology};

pub mod api;
pub mod app;
pub mod cli;
pub mod demo;
pub mod pipeline;
pub mod shutdown;
pub mod telemetry;
pub mod topics;
