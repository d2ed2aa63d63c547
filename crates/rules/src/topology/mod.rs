//! The topology file: YAML shape → validated [`Topology`], diagnostics, test cases.
//!
//! ```text
//! text ─▶ tree (positions) ─▶ decode (serde, all mistakes) ─▶ shape ─▶ build (checks) ─▶ Topology
//! ```
//!
//! Every mistake of a file is reported at once, with its line, its column, the expectation and the
//! nearest match. Deliberately absent: reading files and the environment (both come in as
//! parameters), and anything that runs.

mod build;
pub mod cases;
mod decode;
mod env;
pub mod graph;
pub mod problem;
pub mod reload;
pub mod schema;
pub mod settings;
mod shape;
mod syntax;
mod tree;
mod units;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use self::cases::Case;
pub use self::env::{Variable, Variables};
pub use self::problem::{Code, Look, Problem, Problems};
use self::settings::{
    Freshness, Generation, Kafka, Layers, Provider, Registry, Server, Topics, Vendor,
};
pub use self::units::ByteSize;
use wedcache_model::{Catalog, PriceTable};

use crate::invalidation::rule::Rules;

/// The validated configuration of one instance.
#[derive(Debug, Clone)]
pub struct Topology {
    pub name: String,
    pub deployment: Deployment,
    pub policy: Policy,
    pub cases: Vec<Case>,
}

/// The part that is fixed while the program runs: addresses, threads and sizes.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub kafka: Kafka,
    pub registry: Option<Registry>,
    pub topics: Topics,
    pub layers: Layers,
    pub providers: BTreeMap<Arc<str>, Provider>,
    pub server: Server,
    /// The most time for which a start waits for changes that are not judged yet.
    pub start_barrier_timeout: Duration,
}

/// The part that decides about answers. Immutable; while the program runs, a whole policy is
/// replaced by another.
#[derive(Debug, Clone)]
pub struct Policy {
    pub version: String,
    pub catalog: Arc<Catalog>,
    /// The provider settings by cache type; every type has some.
    pub generation: BTreeMap<Arc<str>, Generation>,
    /// The vendor settings by vendor type.
    pub vendors: BTreeMap<String, Vendor>,
    /// The capacity that each month needs, relative to the quietest, January first.
    pub capacity_factors: [f64; 12],
    /// The prices by which calls to models are charged to answers.
    pub prices: Arc<PriceTable>,
    pub rules: Arc<Rules>,
    pub freshness: Freshness,
}

/// A topology and the warnings about its file.
#[derive(Debug)]
pub struct Loaded {
    pub topology: Topology,
    pub warnings: Problems,
    /// The environment variables in the file, sorted.
    pub variables: Vec<Variable>,
    tree: tree::Node,
}

impl Loaded {
    /// Returns all settings as the file gives them.
    pub fn settings(&self) -> reload::Settings {
        reload::Settings::of(&self.tree)
    }

    /// Converts refusals that are found only when the topology is used to problems, each at its
    /// place in the file.
    pub fn refuse(mut self, refusals: Vec<Refusal>) -> Box<Problems> {
        for Refusal {
            code,
            path,
            message,
        } in refusals
        {
            let mut node = &self.tree;
            for name in &path {
                node = node.get(name).unwrap_or(node);
            }
            let problem = Problem::new(node.span, message).code(code);
            self.warnings.add(problem);
        }
        Box::new(self.warnings)
    }
}

/// A field for which no client can be built or at which no server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    /// The names that lead to the field; the problem is placed at the last name that exists in the
    /// file.
    pub path: Vec<String>,
    pub message: String,
}

impl Refusal {
    pub fn at(code: Code, path: &[&str], message: impl Into<String>) -> Self {
        Self {
            code,
            path: path.iter().map(|name| (*name).to_owned()).collect(),
            message: message.into(),
        }
    }
}

/// Reads the text of a topology file; `file` is its name in diagnostics. The error contains all
/// problems, including warnings.
pub fn read(file: &str, text: &str, variables: Variables<'_>) -> Result<Loaded, Box<Problems>> {
    let mut parsed = tree::parse(text);
    let (shape, decoding) = decode::decode(&parsed.root, &schema::required_fields());
    let mut problems = std::mem::take(&mut parsed.problems);
    problems.extend(decoding);
    let Some(shape) = shape else {
        return Err(Box::new(Problems::new(file, text, problems)));
    };
    let built = build::build(text, &parsed, shape, variables, problems);
    let problems = Problems::new(file, text, built.problems);
    match built.topology {
        Some(topology) => Ok(Loaded {
            topology,
            warnings: problems,
            variables: built.variables,
            tree: parsed.root,
        }),
        None => Err(Box::new(problems)),
    }
}
