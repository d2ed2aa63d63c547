//! The topology file: YAML shape → validated [`Topology`], diagnostics, test cases.
mod problem;
mod tree;
mod decode;
mod units;
mod env;
mod cases;
mod shape;
