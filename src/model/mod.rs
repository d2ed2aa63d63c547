//! What the stream is made of, as plain values: events, answers, keys, tags, entries, positions.
//!
//! Nothing here waits or does I/O; every other module imports this one and this one imports none.

pub mod answer;
pub mod audit;
pub mod catalog;
pub mod entry;
pub mod event;
pub mod invalidation;
pub mod key;
pub mod metric;
pub mod place;
pub mod prepared;
pub mod record;
pub mod tag;
pub mod text;
pub mod time;

pub use answer::{AiAnswer, AnswerError, Freshness, LayerName, Source, StaleReason, Status};
pub use audit::AuditRecord;
pub use catalog::{CacheType, Catalog, Dimension, Sharing};
pub use entry::Entry;
pub use event::{AiQuery, VendorChange, WeddingUpdate};
pub use invalidation::{Cause, LogId, Mode, Position, Progress, TagInvalidation};
pub use key::{CacheKey, KeyHash};
pub use metric::{CacheMetric, Operation};
pub use prepared::{EntryTags, Prepared, UnknownCacheType};
pub use record::{Coordinates, TraceParent};
pub use tag::{Tag, TagHash};
pub use time::{Date, Timestamp};
