//! Which cached answers a change forbids: rules, the plan made from them, and why.

pub mod condition;
pub mod explain;
pub mod facts;
pub mod plan;
pub mod rule;
pub mod widen;
