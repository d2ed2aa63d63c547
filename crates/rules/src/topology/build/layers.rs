//! The cache's layers.

use secrecy::SecretString;

use super::Build;
use crate::topology::problem::{Problem, Span};
use crate::topology::settings::{Breaker, Disk, Layers, Memory, Redis, RedisServer};
use crate::topology::shape::{DiskShape, LayersShape, RedisServerShape, RedisShape};
use crate::topology::units::{At, ByteSize, Connection, Lasting};

impl Build<'_> {
    pub(super) fn layers(&mut self, shape: LayersShape) -> Layers {
        let layers = Layers {
            memory: shape.memory.map(|memory| Memory {
                size: self.size(&memory.size, "the memory layer"),
            }),
            disk: shape.disk.map(|disk| self.disk(disk)),
            redis: shape.redis.and_then(|redis| self.redis(redis)),
        };
        let none = layers.memory.is_none() && layers.disk.is_none() && layers.redis.is_none();
        let section = self.parsed.root.get("layers");
        // A layer that could not be read still counts as a layer.
        if none && section.is_none_or(|section| section.entries().is_empty()) {
            let span = section.map_or(Span::default(), |section| section.span);
            self.report(
                Problem::new(span, "no layer: nothing is ever cached")
                    .expected("expected at least one of `memory`, `disk`, `redis`")
                    .warning(),
            );
        }
        if layers.disk.is_none() && layers.redis.is_none() && layers.memory.is_some() {
            let span = section.map_or(Span::default(), |section| section.span);
            self.report(
                Problem::new(
                    span,
                    "no durable layer: every restart buys its answers again",
                )
                .help("add `disk` or `redis`")
                .warning(),
            );
        }
        layers
    }

    fn disk(&mut self, shape: DiskShape) -> Disk {
        let path = self.resolve(&shape.path);
        if path.complete && path.text.is_empty() {
            self.report(
                Problem::new(shape.path.0.span, "an empty path").expected("expected a folder"),
            );
        }
        Disk {
            path: path.text.into(),
            cache_size: self.size(&shape.cache_size, "the page cache"),
            max_size: shape
                .max_size
                .map(|size| self.size(&size, "the disk layer")),
        }
    }

    fn redis(&mut self, shape: RedisShape) -> Option<Redis> {
        let server = match &shape.server {
            RedisServerShape::Single(address) => {
                self.redis_address(address).map(RedisServer::Single)
            }
            RedisServerShape::Cluster(nodes) => {
                let nodes: Vec<_> = nodes
                    .iter()
                    .filter_map(|node| self.redis_address(node))
                    .collect();
                (!nodes.is_empty()).then_some(RedisServer::Cluster(nodes))
            }
        };
        let connect_timeout = self.positive(&shape.connect_timeout, "a timeout");
        let response_timeout = self.positive(&shape.response_timeout, "a timeout");
        let lease_term = self.positive(&shape.lease_term, "a term");
        let breaker = self.breaker(&shape.breaker.failures, &shape.breaker.open_for);
        server.map(|server| Redis {
            server,
            connect_timeout,
            response_timeout,
            breaker,
            lease_term,
            key_prefix: shape.key_prefix,
        })
    }

    /// Returns the address; `None` if it is empty: a variable without a value switches the layer
    /// off.
    fn redis_address(&mut self, field: &Connection) -> Option<SecretString> {
        let address = self.resolve(field);
        if address.text.is_empty() {
            return None;
        }
        if address.complete {
            self.check_url(field, &address.text, &["redis", "rediss"]);
        }
        Some(address.text.into())
    }

    pub(super) fn breaker(&mut self, failures: &At<u32>, open_for: &At<Lasting>) -> Breaker {
        self.count(failures, "the breaker's failures");
        Breaker {
            failures: failures.value,
            open_for: self.positive(open_for, "the breaker's pause"),
        }
    }

    fn size(&mut self, size: &At<ByteSize>, what: &str) -> ByteSize {
        /// The least accepted size; a smaller one holds hardly one answer.
        const LEAST: ByteSize = ByteSize::kib(64);
        if size.value < LEAST {
            let message = format!("{what} cannot be as small as {}", size.value);
            self.report(
                Problem::new(size.span, message).expected(format!("expected at least {LEAST}")),
            );
        }
        size.value
    }
}
