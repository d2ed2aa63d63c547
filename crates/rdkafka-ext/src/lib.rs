//! Functions of librdkafka that rust-rdkafka does not wrap.
//!
//! All unsafe code of the project is here: each foreign object has an owner that frees it, and no
//! pointer leaves the function that got it.

mod events;
mod owned;
mod topics;

pub use events::serve;
pub use topics::{DescribeError, TopicDescription, describe_topics};
