//! The schemas by which values are read and written: our own, embedded; further ones from a folder;
//! and those received from the registry so far.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;

use super::avro::{Layout, SchemaFault};
use super::reject::{Reason, Reject};

/// Our records, each with a schema file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    AiQuery,
    VendorChange,
    WeddingUpdate,
    AiAnswer,
    CacheMetric,
    CacheAlert,
    AuditRecord,
    TagInvalidation,
}

impl RecordKind {
    pub const ALL: [Self; 8] = [
        Self::AiQuery,
        Self::VendorChange,
        Self::WeddingUpdate,
        Self::AiAnswer,
        Self::CacheMetric,
        Self::CacheAlert,
        Self::AuditRecord,
        Self::TagInvalidation,
    ];

    /// Returns the Avro record's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AiQuery => "AiQuery",
            Self::VendorChange => "VendorChange",
            Self::WeddingUpdate => "WeddingUpdate",
            Self::AiAnswer => "AiAnswer",
            Self::CacheMetric => "CacheMetric",
            Self::CacheAlert => "CacheAlert",
            Self::AuditRecord => "AuditRecord",
            Self::TagInvalidation => "TagInvalidation",
        }
    }

    /// Returns the text of the record's schema file.
    pub fn schema_text(self) -> &'static str {
        match self {
            Self::AiQuery => include_str!("../../../schemas/AiQuery.avsc"),
            Self::VendorChange => include_str!("../../../schemas/VendorChange.avsc"),
            Self::WeddingUpdate => include_str!("../../../schemas/WeddingUpdate.avsc"),
            Self::AiAnswer => include_str!("../../../schemas/AiAnswer.avsc"),
            Self::CacheMetric => include_str!("../../../schemas/CacheMetric.avsc"),
            Self::CacheAlert => include_str!("../../../schemas/CacheAlert.avsc"),
            Self::AuditRecord => include_str!("../../../schemas/AuditRecord.avsc"),
            Self::TagInvalidation => include_str!("../../../schemas/TagInvalidation.avsc"),
        }
    }

    /// Returns the record's schemas of earlier versions, the oldest first: producers may still
    /// write them.
    fn older_schema_texts(self) -> &'static [&'static str] {
        match self {
            Self::AiQuery => &[include_str!("../../../schemas/older/AiQuery-1.avsc")],
            Self::VendorChange => &[include_str!("../../../schemas/older/VendorChange-1.avsc")],
            _ => &[],
        }
    }

    /// Returns the fingerprint of the record's schema (CRC-64-AVRO of the parsing canonical form).
    pub fn fingerprint(self) -> u64 {
        embedded()[self as usize].fingerprint()
    }
}

/// Returns the layouts of our own schemas, in the order of [`RecordKind::ALL`].
fn embedded() -> &'static [Arc<Layout>; 8] {
    static EMBEDDED: LazyLock<[Arc<Layout>; 8]> = LazyLock::new(|| {
        RecordKind::ALL.map(|kind| {
            Arc::new(Layout::parse(kind.schema_text()).expect("tests parse every embedded schema"))
        })
    });
    &EMBEDDED
}

/// Returns the layouts of earlier versions of our schemas.
fn older() -> &'static [Arc<Layout>] {
    static OLDER: LazyLock<Vec<Arc<Layout>>> = LazyLock::new(|| {
        let texts = RecordKind::ALL.map(RecordKind::older_schema_texts);
        let layout = |text: &&str| Layout::parse(text).expect("tests parse every older schema");
        texts
            .into_iter()
            .flatten()
            .map(|text| layout(text).into())
            .collect()
    });
    &OLDER
}

/// The meaning of a registry's id.
#[derive(Debug)]
pub(super) enum Registered {
    Avro(Layout),
    /// The frame carries JSON.
    Json,
    /// A schema that exists but is unusable here, with the reject for every record that has it.
    Unusable(Reject),
}

/// The reason why a schema file is unusable.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("cannot read the schema folder or file {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the schema file {path} cannot be used")]
    Unusable { path: PathBuf, source: SchemaFault },
}

/// All schemas known so far. Shared by decoders, which read it, and the registry's client, which
/// adds to it.
#[derive(Debug)]
pub struct Schemas {
    by_fingerprint: HashMap<u64, Arc<Layout>>,
    /// Schemas by registry id, kept as long as the process runs: an id never changes its meaning.
    /// Only schemas that the registry has are added, so the registry bounds their number.
    by_id: ArcSwap<HashMap<u32, Arc<Registered>>>,
}

impl Default for Schemas {
    fn default() -> Self {
        Self::embedded()
    }
}

impl Schemas {
    /// Returns our own schemas, current and earlier ones.
    pub fn embedded() -> Self {
        let mut schemas = Self {
            by_fingerprint: HashMap::new(),
            by_id: ArcSwap::default(),
        };
        for layout in embedded() {
            schemas.add(layout);
        }
        for layout in older() {
            schemas.add(layout);
        }
        schemas
    }

    /// Adds the schemas of a folder's `*.avsc` files: older and newer versions of ours, so that
    /// records of older or newer producers can be read without a registry.
    pub fn with_folder(mut self, folder: &Path) -> Result<Self, SchemaError> {
        let read = |path: &Path, source| SchemaError::Read {
            path: path.to_owned(),
            source,
        };
        for entry in fs::read_dir(folder).map_err(|source| read(folder, source))? {
            let path = entry.map_err(|source| read(folder, source))?.path();
            if path.extension().is_none_or(|extension| extension != "avsc") {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(|source| read(&path, source))?;
            match Layout::parse(&text) {
                Ok(layout) => self.add(&Arc::new(layout)),
                Err(source) => return Err(SchemaError::Unusable { path, source }),
            }
        }
        Ok(self)
    }

    fn add(&mut self, layout: &Arc<Layout>) {
        for fingerprint in layout.fingerprints() {
            self.by_fingerprint
                .entry(fingerprint)
                .or_insert_with(|| Arc::clone(layout));
        }
    }

    pub(super) fn with_fingerprint(&self, fingerprint: u64) -> Option<&Layout> {
        self.by_fingerprint
            .get(&fingerprint)
            .map(|layout| &**layout)
    }

    pub(super) fn with_id(&self, id: u32) -> Option<Arc<Registered>> {
        self.by_id.load().get(&id).cloned()
    }

    /// Returns true if the registry's response for this id is known.
    pub fn knows_id(&self, id: u32) -> bool {
        self.by_id.load().contains_key(&id)
    }

    /// Keeps the registry's response for an id.
    pub(super) fn learn(&self, id: u32, registered: Registered) {
        let registered = Arc::new(registered);
        self.by_id.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(id, Arc::clone(&registered));
            known
        });
    }

    /// Keeps that a registry has a JSON schema under this id.
    pub fn learn_json(&self, id: u32) {
        self.learn(id, Registered::Json);
    }

    /// Interprets a registry's response about a schema.
    pub(super) fn registered(
        id: u32,
        kind: Option<&str>,
        text: &str,
        references: bool,
    ) -> Registered {
        let unusable = |reason, detail| Registered::Unusable(Reject::new(reason, detail));
        match kind.unwrap_or("AVRO") {
            "AVRO" if references => unusable(
                Reason::UnreadableAvro,
                format!("schema {id} refers to other subjects, which is not supported"),
            ),
            "AVRO" => match Layout::parse(text) {
                Ok(layout) => Registered::Avro(layout),
                Err(fault) => unusable(Reason::UnreadableAvro, format!("schema {id}: {fault}")),
            },
            "JSON" => Registered::Json,
            other => unusable(
                Reason::UnsupportedFormat,
                format!("schema {id} is of type {other}"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fingerprints listed in the README of `schemas/`, computed by fastavro.
    #[test]
    fn fingerprints_are_those_that_python_makes_of_the_files() {
        for (kind, header) in [
            (RecordKind::AiQuery, "a3c90bc5c0b48e72"),
            (RecordKind::VendorChange, "9ff2acccfe469055"),
            (RecordKind::WeddingUpdate, "122b529400620ac3"),
            (RecordKind::AiAnswer, "dd2c0ab7d28b5e05"),
            (RecordKind::CacheMetric, "d402fb1f97c98337"),
            (RecordKind::CacheAlert, "5499c90bb2d6ee01"),
            (RecordKind::AuditRecord, "ea37ec3d0074a616"),
            (RecordKind::TagInvalidation, "b4a37f23397fc7f0"),
        ] {
            let hex = format!("{:016x}", kind.fingerprint().swap_bytes());
            assert_eq!(hex, header, "{kind:?}");
            let readme = include_str!("../../../schemas/README.md");
            assert!(readme.contains(&hex), "{kind:?}");
        }
    }

    #[test]
    fn older_schemas_are_known_by_their_fingerprints() {
        let schemas = Schemas::embedded();
        let readme = include_str!("../../../schemas/README.md");
        assert_eq!(older().len(), 2);
        for layout in older() {
            let fingerprint = layout.fingerprint();
            assert!(schemas.with_fingerprint(fingerprint).is_some());
            let hex = format!("{:016x}", fingerprint.swap_bytes());
            assert!(readme.contains(&hex), "{hex}");
        }
    }

    #[test]
    fn a_folder_with_a_broken_schema_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.avsc");
        fs::write(&path, r#"{"type":"record"}"#).unwrap();
        fs::write(folder.path().join("notes.txt"), "not a schema").unwrap();
        match Schemas::embedded().with_folder(folder.path()) {
            Err(SchemaError::Unusable { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        }
        let away = folder.path().join("away");
        assert!(matches!(
            Schemas::embedded().with_folder(&away),
            Err(SchemaError::Read { .. })
        ));
    }
}
