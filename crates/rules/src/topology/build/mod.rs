//! From the shape to the [`Topology`]: resolves references, substitutes variables, and reports
//! everything that cannot be right.
//!
//! Every function here continues after a mistake with a stand-in, so that one run reports all
//! mistakes; the result is used only if nothing was reported.

mod cases;
mod catalog;
mod layers;
mod providers;
mod rules;
mod transport;

use std::collections::BTreeSet;
use std::time::Duration;

#[cfg(test)]
pub(super) use rules::KNOWN_CHANGES;

use super::env::{Form, Resolved, Variable, Variables, resolve, variables_in};
use super::problem::{Code, Problem, Severity, Span};
use super::settings::{Freshness, LagBound};
use super::shape::{FreshnessShape, LagShape, TopologyFile};
use super::tree::Parsed;
use super::units::{At, Connection, Lasting};
use super::{Deployment, Policy, Topology};

/// The state that all sections' checks share.
struct Build<'a> {
    text: &'a str,
    parsed: &'a Parsed,
    variables: Variables<'a>,
    problems: Vec<Problem>,
    named: BTreeSet<Variable>,
}

/// The result of checking a file.
pub(super) struct Built {
    /// The topology; `None` if there were problems other than warnings.
    pub(super) topology: Option<Topology>,
    pub(super) problems: Vec<Problem>,
    /// The variables that the file names, sorted.
    pub(super) variables: Vec<Variable>,
}

pub(super) fn build(
    text: &str,
    parsed: &Parsed,
    shape: TopologyFile,
    variables: Variables<'_>,
    problems: Vec<Problem>,
) -> Built {
    let mut build = Build {
        text,
        parsed,
        variables,
        problems,
        named: BTreeSet::new(),
    };
    build.require_sections();
    let topology = build.topology(shape);
    let failed = build
        .problems
        .iter()
        .any(|problem| problem.severity == Severity::Error);
    Built {
        topology: topology.filter(|_| !failed),
        problems: build.problems,
        variables: build.named.into_iter().collect(),
    }
}

impl Build<'_> {
    /// Builds the topology; `None` only if a required section is missing or unreadable, which has
    /// been reported.
    fn topology(&mut self, shape: TopologyFile) -> Option<Topology> {
        let kafka = shape
            .kafka
            .map(|of| self.of(Code::Kafka, |build| build.kafka(of)));
        let registry = shape
            .registry
            .and_then(|of| self.of(Code::Registry, |build| build.registry(of)));
        let vendors = shape.vendors.unwrap_or_default();
        let vendors = self.of(Code::Catalog, |build| build.vendors(vendors));
        let providers = shape.providers.unwrap_or_default();
        let providers = self.of(Code::Providers, |build| build.providers(providers));
        let prices = self.of(Code::Prices, |build| build.prices(shape.prices, &providers));
        let types = shape.cache_types.unwrap_or_default();
        let (types, generation) = self.of(Code::CacheTypes, |build| {
            build.cache_types(types, &providers)
        });
        let tables = catalog::TableShapes {
            markets: shape.markets,
            seasons: shape.seasons,
            guest_bands: shape.guest_bands,
            nearness: shape.nearness,
            ttl_jitter: shape.ttl_jitter,
            vendor_id_pattern: shape.vendor_id_pattern,
            id_case: shape.id_case,
        };
        let (catalog, capacity_factors) = self.of(Code::Catalog, |build| {
            build.catalog(types, tables, &vendors)
        });
        let topics = shape
            .topics
            .map(|of| self.of(Code::Topics, |build| build.topics(of, &catalog)));
        let layers = shape
            .layers
            .map(|of| self.of(Code::Layers, |build| build.layers(of)));
        let rules = shape.rules.unwrap_or_default();
        let rules = self.of(Code::Rules, |build| build.rules(&rules, &catalog));
        let session = kafka.as_ref().map(|kafka| kafka.session_timeout);
        let freshness = self.of(Code::Freshness, |build| {
            build.freshness(&shape.freshness, session)
        });
        let server = self.of(Code::Server, |build| build.server(&shape.server));
        let cases = self.of(Code::Tests, |build| {
            build.cases(shape.tests, &catalog, &rules)
        });
        self.of(Code::Providers, |build| {
            build.check_use(&generation, &providers);
        });
        let (start_barrier_timeout, freshness) = freshness;
        Some(Topology {
            name: self.plain_name(shape.name?),
            deployment: Deployment {
                kafka: kafka?,
                registry,
                topics: topics?,
                layers: layers?,
                providers,
                server,
                start_barrier_timeout,
            },
            policy: Policy {
                version: shape.version?.value,
                catalog: catalog.into(),
                generation,
                vendors,
                capacity_factors,
                prices: prices.into(),
                rules,
                freshness,
            },
            cases,
        })
    }

    /// Checks a part of the file; problems that have no specific code yet get `code`.
    fn of<T>(&mut self, code: Code, check: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.problems.len();
        let checked = check(self);
        for problem in &mut self.problems[before..] {
            if problem.code == Code::InvalidValue {
                problem.code = code;
            }
        }
        checked
    }

    /// Reports required sections that are missing; unreadable ones are not missing.
    fn require_sections(&mut self) {
        const REQUIRED: [&str; 11] = [
            "name",
            "version",
            "kafka",
            "topics",
            "cache_types",
            "seasons",
            "guest_bands",
            "vendors",
            "layers",
            "providers",
            "rules",
        ];
        let missing: Vec<_> = REQUIRED
            .into_iter()
            .filter(|name| self.parsed.root.get(name).is_none())
            .filter(|name| !self.parsed.broken.iter().any(|broken| broken == name))
            .map(|name| format!("`{name}`"))
            .collect();
        if !missing.is_empty() {
            let many = if missing.len() == 1 {
                "the section"
            } else {
                "the sections"
            };
            let message = format!("{many} {} must be given", missing.join(", "));
            self.report(Problem::new(Span::default(), message).code(Code::MissingField));
        }
    }

    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Returns the names in a section, decoded or not; `None` if its syntax is broken, so that
    /// references into it cannot be judged.
    fn names(&self, section: &str) -> Option<Vec<String>> {
        if self.parsed.broken.iter().any(|broken| broken == section) {
            return None;
        }
        let node = self.parsed.root.get(section)?;
        Some(
            node.entries()
                .iter()
                .map(|entry| entry.name().to_owned())
                .collect(),
        )
    }

    /// Reports a name that is not in a section.
    fn refer(&mut self, name: &At<String>, section: &str, what: &str) {
        let Some(known) = self.names(section) else {
            return;
        };
        if known.iter().all(|known| *known != **name) {
            let message = format!("there is no {what} `{}`", name.value);
            let problem = Problem::new(name.span, message)
                .code(Code::UnknownName)
                .help(format!("{what}s are defined under `{section}`"))
                .choices(name, known.iter().map(String::as_str));
            self.report(problem);
        }
    }

    /// Resolves a field of one line.
    fn resolve(&mut self, field: &Connection) -> Resolved {
        self.resolve_as(field, Form::Line)
    }

    /// Resolves a field that is sent in an HTTP header.
    fn resolve_header(&mut self, field: &Connection) -> Resolved {
        self.resolve_as(field, Form::Header)
    }

    fn resolve_as(&mut self, field: &Connection, form: Form) -> Resolved {
        self.named.extend(variables_in(field));
        resolve(field, self.variables, form, &mut self.problems)
    }

    fn plain_name(&mut self, name: At<String>) -> String {
        if name.trim().is_empty() {
            self.report(Problem::new(name.span, "an empty name").expected("expected a name"));
        }
        name.value
    }

    /// Checks that a time span is not zero.
    fn positive(&mut self, span: &At<Lasting>, what: &str) -> Duration {
        if span.value.0.is_zero() {
            let message = format!("{what} cannot be zero");
            self.report(Problem::new(span.span, message).expected("expected more than 0s"));
        }
        span.value.0
    }

    /// Checks that a count is not zero.
    fn count<T: Copy + Into<u64>>(&mut self, number: &At<T>, what: &str) -> usize {
        let value: u64 = number.value.into();
        if value == 0 {
            let message = format!("{what} cannot be 0");
            self.report(Problem::new(number.span, message).expected("expected at least 1"));
        }
        usize::try_from(value).unwrap_or(usize::MAX)
    }

    fn factor(&mut self, number: &At<f64>, what: &str) -> f64 {
        if !number.is_finite() || number.value <= 0.0 || number.value > 100.0 {
            let message = format!("{what} cannot be {}", number.value);
            self.report(
                Problem::new(number.span, message).expected("expected above 0, at most 100"),
            );
            return 1.0;
        }
        number.value
    }

    fn share(&mut self, number: &At<f64>, what: &str) -> f64 {
        if !(0.0..=1.0).contains(&number.value) {
            let message = format!("{what} cannot be {}", number.value);
            self.report(
                Problem::new(number.span, message)
                    .expected("expected a share from 0 to 1, such as 0.25 for 25 %"),
            );
            return 0.0;
        }
        number.value
    }

    /// Checks the section `freshness`; the first part is the start barrier's timeout.
    fn freshness(
        &mut self,
        shape: &FreshnessShape,
        session: Option<Duration>,
    ) -> (Duration, Freshness) {
        let barrier = self.positive(&shape.start_barrier_timeout, "the start barrier's timeout");
        if let Some(session) = session
            && barrier <= session
        {
            self.report(
                Problem::new(
                    shape.start_barrier_timeout.span,
                    "the start barrier must outlast the session timeout",
                )
                .expected(format!(
                    "expected more than {}, `kafka.session_timeout`",
                    humantime::format_duration(session)
                ))
                .help("a member that died keeps its partitions for the session timeout; only after it are its changes judged"),
            );
        }
        let freshness = Freshness {
            max_invalidation_lag: self.lag(&shape.max_invalidation_lag),
            max_rules_lag: self.lag(&shape.max_rules_lag),
            widen_refresh_interval: self.positive(&shape.widen_refresh_interval, "the interval"),
        };
        (barrier, freshness)
    }

    fn lag(&mut self, shape: &LagShape) -> LagBound {
        LagBound {
            bound: self.positive(&shape.lag, "a lag's bound"),
            then: shape.then,
        }
    }
}
