//! The stream's content as plain values: events, answers, keys, tags, entries, positions.
//!
//! Every other crate imports this one, and it imports none of them. Nothing here does I/O, and
//! nothing waits but the timers of [`clock`].

pub mod answer;
pub mod audit;
pub mod backoff;
pub mod body;
pub mod catalog;
pub mod clock;
pub mod entry;
pub mod event;
pub mod failpoint;
pub mod id;
pub mod invalidation;
pub mod key;
pub mod key_memo;
pub mod metric;
pub mod number;
pub mod place;
pub mod prepared;
pub mod price;
pub mod record;
pub mod tag;
pub mod text;
pub mod time;
pub mod topic_id;
pub mod trouble;

pub use answer::{AiAnswer, AnswerError, Freshness, LayerName, Source, StaleReason, Status};
pub use audit::AuditRecord;
pub use body::{Body, Form};
pub use catalog::{CacheType, Catalog, Dimension, Sharing};
pub use entry::Entry;
pub use event::{AiQuery, VendorChange, WeddingUpdate};
pub use invalidation::{Cause, LogId, Mode, Position, Progress, TagInvalidation};
pub use key::{CacheKey, KeyHash};
pub use key_memo::KeyMemo;
pub use metric::{CacheMetric, Operation};
pub use prepared::{EntryTags, Keyed, Prepared, UnknownCacheType};
pub use price::{Price, PriceProblem, PriceTable};
pub use record::{Coordinates, TraceParent, Unfinished};
pub use tag::{Tag, TagHash, Tags};
pub use text::Text;
pub use time::{Date, Timestamp};
pub use topic_id::TopicId;
