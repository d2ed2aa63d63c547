//! Kafka, registry, topics and the HTTP server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use wedcache_model::Catalog;

use super::Build;
use crate::topology::env::{Form, variables_in};
use crate::topology::problem::Problem;
use crate::topology::settings::{
    Format, Kafka, Registry, RegistryAuth, Role, Server, Topic, Topics,
};
use crate::topology::shape::{
    InputTopicShape, KafkaShape, OutputTopicShape, RegistryAuthShape, RegistryShape, ServerShape,
    TopicsShape,
};
use crate::topology::units::{At, ByteSize, Connection, Lasting};

/// librdkafka settings on which wedcache's guarantees rest, with the field that sets them, if there
/// is one.
const OWN_PROPERTIES: [(&str, &str); 13] = [
    ("bootstrap.servers", "kafka.bootstrap_servers"),
    ("metadata.broker.list", "kafka.bootstrap_servers"),
    ("client.id", "kafka.client_id"),
    ("group.id", "kafka.groups"),
    ("group.instance.id", "kafka.instance_id"),
    ("session.timeout.ms", "kafka.session_timeout"),
    ("partition.assignment.strategy", "kafka.assignment"),
    ("enable.auto.commit", ""),
    ("enable.auto.offset.store", ""),
    ("enable.partition.eof", ""),
    ("enable.idempotence", ""),
    ("acks", ""),
    ("partitioner", ""),
];

/// The shortest session timeout that a broker accepts by default (`group.min.session.timeout.ms`).
const LEAST_SESSION: Duration = Duration::from_secs(6);

impl Build<'_> {
    pub(super) fn kafka(&mut self, shape: KafkaShape) -> Kafka {
        let servers = self.resolve(&shape.bootstrap_servers);
        if servers.complete {
            self.check_servers(&shape.bootstrap_servers, &servers.text);
        }
        let session_timeout = self.positive(&shape.session_timeout, "the session timeout");
        if session_timeout < LEAST_SESSION {
            self.report(
                Problem::new(
                    shape.session_timeout.span,
                    "brokers refuse so short a session by default",
                )
                .expected("expected at least 6s")
                .help("brokers allow less only where `group.min.session.timeout.ms` is lowered")
                .warning(),
            );
        }
        let instance_id = shape
            .instance_id
            .map(|id| self.resolve(&id).text)
            .filter(|id| !id.is_empty());
        Kafka {
            bootstrap_servers: servers.text,
            bootstrap_variables: variables_in(&shape.bootstrap_servers)
                .map(|of| of.name)
                .collect(),
            client_id: shape.client_id,
            queries_group: shape.groups.queries,
            rules_group: shape.groups.rules,
            instance_id,
            session_timeout,
            assignment: shape.assignment,
            poll_threads: self.count(&shape.poll_threads, "the number of poll threads"),
            max_in_flight_records: self.count(&shape.in_flight.records, "the records in flight"),
            max_in_flight_bytes: shape.in_flight.bytes,
            drain_deadline: shape.drain_deadline.0,
            commit_interval: self.positive(&shape.commit_interval, "the commit interval"),
            watchdog_age: self.positive(&shape.watchdog, "the watchdog's age"),
            properties: self.properties(shape.properties.0),
        }
    }

    fn properties(
        &mut self,
        shape: Vec<(At<String>, Connection)>,
    ) -> BTreeMap<String, secrecy::SecretString> {
        let mut properties = BTreeMap::new();
        for (name, value) in shape {
            if let Some((_, field)) = OWN_PROPERTIES.iter().find(|(own, _)| *own == *name) {
                let help = if field.is_empty() {
                    "what wedcache promises rests on it".to_owned()
                } else {
                    format!("set `{field}` instead")
                };
                let message = format!("`{}` is set by wedcache itself", name.value);
                self.report(Problem::new(name.span, message).help(help));
            }
            // Certificates and keys in PEM have many lines.
            let form = if name.ends_with(".pem") {
                Form::Lines
            } else {
                Form::Line
            };
            let value = self.resolve_as(&value, form).text;
            properties.insert(name.value, value.into());
        }
        properties
    }

    fn check_servers(&mut self, field: &Connection, servers: &str) {
        for server in servers.split(',').map(str::trim) {
            let good = server.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty()
                    && !host.contains('/')
                    && port.parse::<u16>().is_ok_and(|port| port > 0)
            });
            if !good {
                let message = format!("`{server}` is not the address of a broker");
                self.report(
                    Problem::new(field.0.span, message)
                        .expected("expected `host:port`, several separated by commas"),
                );
            }
        }
    }

    /// Returns the registry; `None` if all addresses are empty: a variable without a value switches
    /// it off.
    pub(super) fn registry(&mut self, shape: RegistryShape) -> Option<Registry> {
        let mut urls = Vec::new();
        for field in &shape.urls {
            let url = self.resolve(field);
            if !url.text.is_empty() {
                if url.complete {
                    self.check_url(field, &url.text, &["http", "https"]);
                }
                urls.push(url.text.trim_end_matches('/').to_owned());
            }
        }
        let auth = shape.auth.map(|auth| match auth {
            RegistryAuthShape::Basic(basic) => RegistryAuth::Basic {
                user: self.resolve(&basic.user).text,
                password: self.resolve(&basic.password).text.into(),
            },
            RegistryAuthShape::Bearer(token) => {
                RegistryAuth::Bearer(self.resolve_header(&token).text.into())
            }
        });
        (!urls.is_empty()).then_some(Registry { urls, auth })
    }

    /// Checks an address. The problem never shows the address, which may contain a password.
    pub(super) fn check_url(&mut self, field: &Connection, url: &str, schemes: &[&str]) {
        let good = url.split_once("://").is_some_and(|(scheme, rest)| {
            let host = rest.split(['/', '?']).next().unwrap_or_default();
            let host = host.rsplit('@').next().unwrap_or_default();
            let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
            schemes.contains(&scheme)
                && !host.is_empty()
                && !host.starts_with(':')
                && !url.contains(char::is_whitespace)
                && (port.ends_with(']') || port.parse::<u16>().is_ok())
        });
        if !good {
            let schemes: Vec<_> = schemes
                .iter()
                .map(|scheme| format!("`{scheme}://host:port`"))
                .collect();
            self.report(
                Problem::new(field.0.span, "this is not an address")
                    .expected(format!("expected {}", schemes.join(" or "))),
            );
        }
    }

    pub(super) fn topics(&mut self, shape: TopicsShape, catalog: &Catalog) -> Topics {
        let largest = [
            &shape.queries,
            &shape.vendor_changes,
            &shape.wedding_updates,
        ]
        .map(|input| input.max_bytes.value)
        .into_iter()
        .max()
        .unwrap_or(ByteSize(0));
        if shape.dead_letters.max_bytes.value <= largest {
            self.report(
                Problem::new(shape.dead_letters.max_bytes.span, "dead letters must hold larger records than the inputs")
                    .expected(format!("expected more than {largest}"))
                    .help("a value that is too large is dead-lettered as a whole, with its reason beside it"),
            );
        }
        self.check_log_retention(&shape.invalidations.retention, catalog);
        let copies = self.replication_factor(&shape.replication_factor);
        let dead = shape.dead_letters;
        let log = shape.invalidations;
        let one = At {
            value: 1,
            span: log.name.span,
        };
        let or = |own: Option<At<u16>>| own.unwrap_or_else(|| copies.clone());
        let topics = Topics {
            queries: self.input(Role::Queries, shape.queries, or),
            vendor_changes: self.input(Role::VendorChanges, shape.vendor_changes, or),
            wedding_updates: self.input(Role::WeddingUpdates, shape.wedding_updates, or),
            answers: self.output(Role::Answers, shape.answers, or),
            metrics: self.output(Role::Metrics, shape.metrics, or),
            invalidations: self.topic(
                Role::Invalidations,
                log.name,
                (one, or(log.replication_factor)),
                &log.retention,
            ),
            alerts: self.output(Role::Alerts, shape.alerts, or),
            audit: self.output(Role::Audit, shape.audit, or),
            dead_letters: Topic {
                max_bytes: Some(dead.max_bytes.value),
                ..self.topic(
                    Role::DeadLetters,
                    dead.name,
                    (dead.partitions, or(dead.replication_factor)),
                    &dead.retention,
                )
            },
        };
        self.check_topic_names();
        topics
    }

    /// Returns the factor of topics that have none of their own; 1 if the value is not a number.
    fn replication_factor(&mut self, field: &Connection) -> At<u16> {
        let resolved = self.resolve(field);
        let value = resolved.text.trim().parse().ok().filter(|value| *value > 0);
        if value.is_none() && resolved.complete {
            let message = format!("`{}` is not a number of copies", resolved.text);
            let most = u16::MAX;
            self.report(
                Problem::new(field.0.span, message)
                    .expected(format!("expected a whole number from 1 to {most}")),
            );
        }
        At {
            value: value.unwrap_or(1),
            span: field.0.span,
        }
    }

    fn input(
        &mut self,
        role: Role,
        shape: InputTopicShape,
        or: impl Fn(Option<At<u16>>) -> At<u16>,
    ) -> Topic {
        let copies = (shape.partitions, or(shape.replication_factor));
        Topic {
            max_bytes: Some(shape.max_bytes.value),
            ..self.topic(role, shape.name, copies, &shape.retention)
        }
    }

    fn output(
        &mut self,
        role: Role,
        shape: OutputTopicShape,
        or: impl Fn(Option<At<u16>>) -> At<u16>,
    ) -> Topic {
        if shape.format.value == Format::Confluent && self.parsed.root.get("registry").is_none() {
            self.report(
                Problem::new(shape.format.span, "`confluent` needs the schema registry")
                    .help("add a `registry` section, or write `avro`, which needs none"),
            );
        }
        let copies = (shape.partitions, or(shape.replication_factor));
        Topic {
            format: Some(shape.format.value),
            ..self.topic(role, shape.name, copies, &shape.retention)
        }
    }

    fn topic(
        &mut self,
        role: Role,
        name: At<String>,
        (partitions, replication_factor): (At<u16>, At<u16>),
        retention: &At<Lasting>,
    ) -> Topic {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let whole = (1..=249).contains(&name.len()) && !matches!(name.as_str(), "." | "..");
        if !whole || !name.chars().all(legal) {
            let message = format!("`{}` cannot be a topic's name", name.value);
            self.report(
                Problem::new(name.span, message)
                    .expected("expected up to 249 letters, digits, `.`, `_` and `-`"),
            );
        }
        self.count(&partitions, "the number of partitions");
        self.count(&replication_factor, "the replication factor");
        Topic {
            role,
            name: name.value.into(),
            partitions: partitions.value,
            replication_factor: replication_factor.value,
            retention: self.positive(retention, "the retention"),
            max_bytes: None,
            format: None,
        }
    }

    fn check_log_retention(&mut self, retention: &At<Lasting>, catalog: &Catalog) {
        let life = catalog.longest_life();
        if retention.value.0 < life {
            // Rounded up to whole hours, because a value like 2day 1h 12m is hard to read.
            let hours = life.as_secs().div_ceil(3600);
            self.report(
                Problem::new(retention.span, "invalidations would be forgotten while entries that they forbid still live")
                    .expected(format!("expected at least {hours}h"))
                    .help("the longest TTL × the highest season and nearness factors + stale window + stale-if-error"),
            );
        }
    }

    fn check_topic_names(&mut self) {
        let Some(topics) = self.parsed.root.get("topics") else {
            return;
        };
        let mut seen: Vec<(&str, crate::topology::problem::Span)> = Vec::new();
        let mut found = Vec::new();
        for entry in topics.entries() {
            let Some(name) = entry.value.get("name") else {
                continue;
            };
            match seen.iter().find(|(other, _)| *other == name.raw) {
                Some((_, first)) => found.push(
                    Problem::new(name.span, format!("two topics are called `{}`", name.raw))
                        .also(*first, "the other one")
                        .help("every role has a topic of its own"),
                ),
                None => seen.push((&name.raw, name.span)),
            }
        }
        self.problems.extend(found);
    }

    pub(super) fn server(&mut self, shape: &ServerShape) -> Server {
        let listen = self.resolve(&shape.listen);
        let fallback = SocketAddr::from(([127, 0, 0, 1], 9464));
        let address = listen.text.parse();
        if listen.complete && address.is_err() {
            let message = format!("`{}` is not an address to listen on", listen.text);
            self.report(Problem::new(shape.listen.0.span, message).expected(
                "expected an IP address and a port, such as `127.0.0.1:9464` or `[::]:9464`",
            ));
        }
        Server {
            listen: address.unwrap_or(fallback),
        }
    }
}
