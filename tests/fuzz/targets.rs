//! The decoders that untrusted bytes reach, each with the properties that its results must have.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use wedcache::clock::Clock;
use wedcache::codec::log::{encode_identity, encode_invalidation, encode_progress, encode_skip};
use wedcache::codec::{Decoder, Encoder, Framing, Framings, LogRecord, MAX_DETAIL_BYTES, Reject};
use wedcache::invalidation::rule::ChangeSource;
use wedcache::invalidation::{TagTable, TagTableOptions};
use wedcache::kafka::offsets::{Begin, Tracker};
use wedcache::metrics::Metrics;
use wedcache::model::entry::{Entry, ExtensionKind, Extensions, Header};
use wedcache::model::invalidation::{LogIdentity, SkippedRange};
use wedcache::model::record::RecordId;
use wedcache::model::{
    CacheKey, Cause, KeyMemo, LogId, Mode, Position, Progress, Tag, TagInvalidation, Timestamp,
    TopicId, TraceParent,
};
use wedcache::observe::{Answered, Observer, Observers};
use wedcache::policy::PolicyInForce;
use wedcache::resolver::Outcome;
use wedcache::stages::judge::{ChangeJudge, ChangeRecord, Fate};
use wedcache::stages::query::{AnswerWriter, QueryReader, Taken};
use wedcache::topology::{self, Topology, Variables};

use super::seeds::{self, Avro};

/// Decodes the input; returns true if it was accepted, and panics if the result breaks a property.
pub type Run = Box<dyn FnMut(&[u8]) -> bool>;

/// A decoder under fuzz.
pub struct Target {
    pub name: &'static str,
    pub seeds: Vec<Vec<u8>>,
    /// Fragments of the format's syntax.
    pub dictionary: &'static [&'static str],
    /// Repairs a checksum, so that a mutation reaches the code behind the check.
    pub mend: fn(&mut [u8]),
    /// The cost of an input relative to other decoders'; the number of inputs is divided by it.
    pub weight: u32,
    /// The allocations allowed for one input, in bytes: a fixed part and a part for each byte of
    /// input.
    pub allowance: usize,
    pub per_byte: usize,
    pub run: Run,
}

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "null",
    "true",
    "-1",
    "1e999",
    "0.1",
    "\"",
    "\\u0000",
    "\\ud800",
    ",",
    ":",
    "\"deadline\":",
    "\"attributes\":",
    "18446744073709551616",
    "9999-12-31T23:59:60Z",
];
const YAML: &[&str] = &[
    "\n",
    "  ",
    "- ",
    ": ",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "|\n",
    "? ",
    "[",
    "{",
    "${X:-",
    "null",
    "1e400",
    "when: ",
    "size(",
    "duration('",
    "matches('(a+)+$')",
    "9999999999d",
];
const HEX: &[&str] = &["-", "00", "ff", "0", "f"];

const MAX_VALUE_BYTES: usize = 1 << 20;
/// The fixed part of most decoders: what the shortest inputs make them allocate.
const BASE: usize = 96 << 10;
/// Parsed JSON that turns out to be wrong is parsed again, into a tree.
const PER_BYTE: usize = 400;

fn no_mending(_: &mut [u8]) {}

pub fn all() -> Vec<Target> {
    let topology = Arc::new(production());
    let decoder = Arc::new(Decoder::new(seeds::schemas(), MAX_VALUE_BYTES));
    let value = |name, seeds, run| Target {
        name,
        seeds,
        dictionary: JSON,
        mend: no_mending,
        weight: 1,
        allowance: BASE,
        per_byte: PER_BYTE,
        run,
    };
    vec![
        value(
            "queries",
            seeds::in_all_formats(seeds::QUERY, &Avro::Query),
            queries(&topology, &decoder),
        ),
        value(
            "vendor changes",
            seeds::in_all_formats(seeds::VENDOR_CHANGE, &Avro::VendorChange),
            changes(&topology, &decoder, ChangeSource::Vendor),
        ),
        value(
            "wedding updates",
            seeds::in_all_formats(seeds::WEDDING_UPDATE, &Avro::WeddingUpdate),
            changes(&topology, &decoder, ChangeSource::Wedding),
        ),
        value("invalidation log", log_records(), Box::new(log_record)),
        Target {
            mend: mend_entry,
            dictionary: &[],
            // The payload is compressed: it unpacks to at most 256 times its size, is copied into
            // the entry, and the check compresses it again.
            per_byte: 4 * 256,
            ..value("entries", entries(), Box::new(entry))
        },
        Target {
            dictionary: &["wc1r", "wc1b", "A", "_"],
            ..value("commit metadata", metadata(), Box::new(commit_metadata))
        },
        Target {
            dictionary: HEX,
            ..value(
                "traceparent",
                vec![b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec()],
                Box::new(trace_parent),
            )
        },
        Target {
            dictionary: YAML,
            weight: 40,
            // Each problem shows the lines around it.
            allowance: 64 << 20,
            per_byte: 4096,
            ..value(
                "topologies",
                vec![include_bytes!("../../topologies/demo.yaml").to_vec()],
                Box::new(topology_file),
            )
        },
    ]
}

fn production() -> Topology {
    let text = include_str!("../../topologies/wedsync.yaml");
    topology::read("wedsync.yaml", text, Variables::Unresolved)
        .unwrap()
        .topology
}

/// Encodes the metric record of each answer in every format.
struct MetricRecords;

impl Observer for MetricRecords {
    fn answered(&self, event: &Answered<'_>) {
        let (id, mut value) = (event.metric_id(), Vec::new());
        for framing in [Framing::Json, Framing::SingleObject] {
            let encoder = Encoder::new(Framings {
                metrics: framing,
                ..Framings::default()
            });
            encoder.encode_metric(&event.metric(&id), &mut value);
            assert!(!value.is_empty());
        }
    }
}

fn observer(topology: &Topology) -> Observers {
    let types = topology.policy.catalog.types().iter();
    let metrics = Metrics::new(types.map(|of| Arc::clone(&of.name)));
    Observers::new([
        Arc::new(metrics) as Arc<dyn Observer>,
        Arc::new(MetricRecords),
    ])
}

fn is_told(reject: &Reject) {
    assert!(
        !reject.detail.is_empty() && reject.detail.len() <= MAX_DETAIL_BYTES,
        "{reject}"
    );
}

/// Returns the whole path of a query: decoded, keyed, tagged, and answered in every format.
fn queries(topology: &Arc<Topology>, decoder: &Arc<Decoder>) -> Run {
    let (catalog, clock) = (Arc::clone(&topology.policy.catalog), Clock::System);
    let reader = QueryReader {
        decoder: Arc::clone(decoder),
        policies: Arc::new(PolicyInForce::new(topology.policy.clone())),
        table: Arc::new(TagTable::new(TagTableOptions::default())),
        clock: clock.clone(),
    };
    let observer = observer(topology);
    let writers = [Framing::Json, Framing::SingleObject].map(|framing| AnswerWriter {
        encoder: Arc::new(Encoder::new(Framings {
            answers: framing,
            ..Framings::default()
        })),
        observer: observer.clone(),
        clock: clock.clone(),
    });
    let id = || RecordId::derive("fuzz", "answer");
    let mut memo = KeyMemo::default();
    Box::new(
        move |input| match reader.take(Some(input), id, None, &mut memo) {
            Taken::Ask(ask) => {
                let known = ask.prepared.known_tags(&catalog, &ask.query);
                let entry = ask.prepared.entry_tags(&catalog, &ask.query, "v-1 and v-2");
                assert!(
                    entry
                        .tags
                        .iter()
                        .all(|tag| tag.as_str().starts_with(&*ask.query.query.cache_type))
                );
                assert!(
                    known.len() >= 2
                        && CacheKey::from_text(ask.prepared.key.as_str()) == ask.prepared.key
                );
                std::hint::black_box((ask.deadline(), ask.oldest_call(), ask.came_late()));
                let mut answer = Vec::new();
                for writer in &writers {
                    let written = writer.write(&ask, &Outcome::Expired, &mut answer);
                    writer.tell(&written);
                    assert!(!answer.is_empty());
                }
                true
            }
            Taken::Dead(reject) => {
                is_told(&reject);
                false
            }
            Taken::Unresolved { schema_id } => {
                assert!(schema_id == 0 || schema_id > 5);
                false
            }
            Taken::Null => panic!("a value that is there is not null"),
        },
    )
}

/// Judges a change; one that cannot be read must forbid what its key names, at once.
fn changes(topology: &Arc<Topology>, decoder: &Arc<Decoder>, source: ChangeSource) -> Run {
    let judge = RefCell::new(ChangeJudge::new(
        Arc::clone(decoder),
        Arc::new(PolicyInForce::new(topology.policy.clone())),
        observer(topology),
    ));
    Box::new(move |input| {
        let cause = Cause {
            topic: "changes".to_owned(),
            partition: 0,
            offset: 1,
            event_id: None,
        };
        let judged = judge.borrow_mut().judge(&ChangeRecord {
            source,
            key: Some(b"id-17"),
            value: Some(input),
            cause: &cause,
            now: Timestamp(1_795_341_600_000),
        });
        for record in &judged.records {
            let value = encode_invalidation(record);
            let read = LogRecord::decode(Some(record.record_key().as_bytes()), Some(&value));
            assert_eq!(read, LogRecord::Invalidation(record.clone()));
        }
        match judged.fate {
            Fate::Done => true,
            Fate::Dead(reject) => {
                is_told(&reject);
                assert!(
                    judged.records.iter().any(|of| of.tag.ends_with("=id-17")),
                    "not widened"
                );
                false
            }
            Fate::Parked { .. } => {
                assert!(
                    judged.records.iter().any(|of| of.tag.ends_with("=id-17")),
                    "not widened"
                );
                false
            }
        }
    })
}

/// Returns the key and value of a log record in one input, with a zero byte between them.
fn log_records() -> Vec<Vec<u8>> {
    let invalidation = TagInvalidation {
        tag: "vendor_matching|vendor=v-17".to_owned(),
        mode: Mode::Purge,
        rule: "price-moved".to_owned(),
        cause: Cause {
            topic: "wedsync.vendor.changes".to_owned(),
            partition: 2,
            offset: 41,
            event_id: Some("e-1".to_owned()),
        },
        part: 1,
        parts: 2,
        at: Timestamp(1_795_341_600_123),
    };
    let skip = SkippedRange {
        topic: "wedsync.ai.queries".into(),
        topic_id: Some(TopicId(7)),
        partition: 3,
        from: 100,
        to: 110,
        forced: false,
        at: Timestamp(5),
    };
    let progress = Progress {
        topic: "wedsync.vendor.changes".to_owned(),
        topic_id: Some(TopicId(7)),
        partition: 2,
        next: 42,
        at: Timestamp(5),
    };
    let identity = LogIdentity {
        created_at: Timestamp(1_795_341_600_123),
        id: LogId([7; 16]),
    };
    [
        (
            invalidation.record_key(),
            encode_invalidation(&invalidation),
        ),
        (progress.record_key(), encode_progress(&progress)),
        (skip.record_key(), encode_skip(&skip)),
        (identity.record_key(), encode_identity(&identity)),
    ]
    .map(|(key, value)| [key.as_bytes(), b"\0", &value].concat())
    .into()
}

fn log_record(input: &[u8]) -> bool {
    let cut = input
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(input.len());
    let (key, value) = (&input[..cut], input.get(cut + 1..).unwrap_or_default());
    match LogRecord::decode(Some(key), Some(value)) {
        LogRecord::Invalidation(_) | LogRecord::Identity(_) => true,
        LogRecord::Progress(progress) => {
            assert_eq!(
                progress.record_key().as_bytes(),
                key,
                "the progress of another partition"
            );
            true
        }
        LogRecord::Skip(skip) => {
            assert_eq!(skip.record_key().as_bytes(), key, "another range");
            true
        }
        LogRecord::Foreign(reason) => {
            assert!(!reason.to_string().is_empty());
            false
        }
        LogRecord::Tombstone => panic!("a value that is there is no tombstone"),
    }
}

fn entries() -> Vec<Vec<u8>> {
    let at = Timestamp(1_795_341_600_000);
    let sample = |tags: &[Tag], data: &str| Entry {
        key: CacheKey::from_text("vendor_matching:Austin_TX:summer:moderate:00"),
        header: Header {
            log_id: LogId([7; 16]),
            stamp: Position(42),
            called_at: at,
            cached_at: at,
            expires_at: at.plus(Duration::from_hours(1)),
            keep_until: at.plus(Duration::from_hours(2)),
            prompt_tokens: 321,
            completion_tokens: 123,
            cost_usd: Some(0.0021),
            simulated: false,
            tag_hashes: tags.iter().map(Tag::hash).collect(),
            extensions: Extensions::default(),
        },
        tags: tags.iter().cloned().collect(),
        model: "m-1".into(),
        data: data.into(),
    };
    let tags = [
        Tag::global("vendor_matching"),
        Tag::vendor("vendor_matching", "v-17"),
    ];
    let long = "Peonies fit a barn wedding. ".repeat(40);
    let mut extended = sample(&tags, "short");
    let extensions = &mut extended.header.extensions;
    *extensions = extensions
        .with(ExtensionKind::JOB, b"job")
        .with(ExtensionKind(200), b"later");
    vec![
        extended.encode(),
        sample(&tags, &long).encode(),
        sample(&tags, "short").encode(),
        sample(&[], &long).encode(),
    ]
}

/// Sets the checksum to that of the mutated bytes.
fn mend_entry(bytes: &mut [u8]) {
    const CHECKSUM: std::ops::Range<usize> = 112..120;
    if bytes.len() < CHECKSUM.end {
        return;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..CHECKSUM.start]);
    hasher.update(&bytes[CHECKSUM.end..]);
    bytes[CHECKSUM].copy_from_slice(&hasher.finalize().as_bytes()[..8]);
}

fn entry(input: &[u8]) -> bool {
    let header = Header::decode(input);
    match Entry::decode(input) {
        Ok(entry) => {
            assert_eq!(entry.tags.len(), entry.header.tag_hashes.len());
            let again = Entry::decode(&entry.encode()).unwrap();
            let same_text =
                again.key == entry.key && again.tags == entry.tags && again.data == entry.data;
            assert_eq!(again.header.extensions, entry.header.extensions);
            assert!(same_text && header.is_ok());
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn metadata() -> Vec<Vec<u8>> {
    let now = std::time::Instant::now();
    let mut tracker = Tracker::new(NEXT);
    let mut seeds = vec![Vec::new()];
    for step in [2, 3, 50] {
        for offset in tracker.next_intake()..tracker.next_intake() + 200 {
            tracker.begin(offset, 1, now);
            if offset > NEXT && offset % step != 0 {
                tracker.finish(offset);
            }
        }
        seeds.push(tracker.next_commit().unwrap().metadata.into_bytes());
    }
    seeds
}

/// The committed offset of the seeds.
const NEXT: i64 = 1000;

/// Metadata that cannot be read claims nothing; the rest is restored and written again.
fn commit_metadata(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let (mut tracker, unreadable) = Tracker::restore(NEXT, text);
    let now = std::time::Instant::now();
    for offset in NEXT..NEXT + 300 {
        let begin = tracker.begin(offset, 1, now);
        assert_ne!(begin, Begin::Rewound);
        if unreadable.is_some() {
            assert_eq!(begin, Begin::New, "unreadable metadata claims {offset}");
        }
        tracker.finish(offset);
    }
    assert!(tracker.next_commit().unwrap().next_offset >= NEXT + 300);
    unreadable.is_none()
}

fn trace_parent(input: &[u8]) -> bool {
    let Some(parent) = TraceParent::parse(input) else {
        return false;
    };
    let again = TraceParent::parse(parent.to_string().as_bytes()).unwrap();
    assert_eq!(again, parent);
    true
}

fn topology_file(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    match topology::read("fuzz.yaml", &text, Variables::Unresolved) {
        Ok(_) => true,
        Err(problems) => {
            assert!(problems.errors() > 0, "refused without a problem");
            false
        }
    }
}
