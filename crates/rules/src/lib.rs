//! What decides about answers: the topology (YAML to [`topology::Topology`], with diagnostics and
//! test cases) and invalidation (rules, plans, the tag table).
//!
//! Nothing here does I/O. [`topology`] imports [`invalidation`], which imports the model alone.

pub mod invalidation;
mod nearest;
pub mod topology;
