//! The topology file: YAML shape → validated [`Topology`], diagnostics, test cases.
mod cases;
mod decode;
mod env;
mod problem;
mod shape;
mod tree;
mod units;
