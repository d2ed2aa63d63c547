//! Avro's binary form. Reading follows the writer's schema, and the event's type selects and
//! promotes the fields that it knows, which is Avro's schema resolution in one pass and without an
//! intermediate tree. Writing is done by hand, in the order of our own schemas' fields.

mod canonical;
mod layout;
mod read;
mod write;

pub(super) use layout::Layout;
pub use layout::SchemaFault;
pub(super) use read::read;
pub(super) use write::{WriteAvro, write_answer};

#[cfg(test)]
pub(super) use tests::minimal_query;

#[cfg(test)]
mod tests;
