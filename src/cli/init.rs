//! `wedcache init`: the shipped topologies and examples as files, to start from.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::screen::Screen;

/// Write the shipped topologies, their JSON Schema and example records, to start from.
///
/// A file that exists already is kept, unless --force is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache init                  # topologies/, schemas/ and examples/ in this folder
  wedcache init ~/wedcache
  wedcache init --force          # also replaces files that differ from the shipped ones

Exit codes: 0 every file is there, written or kept · 1 one could not be written")]
pub struct Args {
    /// The folder to write to; created if it is missing.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Replace existing files that differ from the shipped ones.
    #[arg(long)]
    force: bool,
}

/// The files shipped in the binary, by their path below the folder.
const FILES: [(&str, &str); 5] = [
    (
        "topologies/wedsync.yaml",
        include_str!("../../topologies/wedsync.yaml"),
    ),
    (
        "topologies/demo.yaml",
        include_str!("../../topologies/demo.yaml"),
    ),
    // The path that the first line of the topologies names.
    (
        "schemas/topology.schema.json",
        include_str!("../../schemas/topology.schema.json"),
    ),
    (
        "examples/query.json",
        include_str!("../../examples/query.json"),
    ),
    (
        "examples/vendor-change.json",
        include_str!("../../examples/vendor-change.json"),
    ),
];

/// The outcome for one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Written,
    Replaced,
    /// The file was there and is the same as the shipped one.
    Unchanged,
    /// The file was there and differs from the shipped one.
    Kept,
}

impl Fate {
    fn text(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Kept => "kept: it differs from the shipped one; --force replaces it",
        }
    }
}

/// Writes the files; returns 0, or an error where a file cannot be written.
pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    for (name, text) in FILES {
        let path = args.folder.join(name);
        let fate = write(&path, text, args.force)
            .map_err(|error| anyhow::anyhow!("{} cannot be written: {error}", path.display()))?;
        writeln!(screen.out, "{}: {}", path.display(), fate.text())?;
    }
    introduce(&args.folder, screen)?;
    Ok(0)
}

fn write(path: &Path, text: &str, force: bool) -> io::Result<Fate> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // `create_new` is atomic: two runs at a time cannot overwrite each other's file.
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            file.write_all(text.as_bytes())?;
            Ok(Fate::Written)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let is_same = fs::read(path).is_ok_and(|bytes| bytes == text.as_bytes());
            if is_same {
                Ok(Fate::Unchanged)
            } else if force {
                fs::write(path, text)?;
                Ok(Fate::Replaced)
            } else {
                Ok(Fate::Kept)
            }
        }
        Err(error) => Err(error),
    }
}

fn introduce(folder: &Path, screen: &mut Screen<'_>) -> io::Result<()> {
    let file = |name: &str| quoted(&folder.join(name));
    let (topology, query) = (file(FILES[0].0), file("examples/query.json"));
    let change = file("examples/vendor-change.json");
    writeln!(
        screen.out,
        "
Next, with the address of Kafka in WEDCACHE_KAFKA (localhost:9092 without it):
  export WEDCACHE_TOPOLOGY={topology}
  wedcache validate
  wedcache topics apply
  wedcache run

Send the example query and see its answer:
  kcat -b \"${{WEDCACHE_KAFKA:-localhost:9092}}\" -P -t wedsync.ai.queries -k q-1 {query}
  kcat -b \"${{WEDCACHE_KAFKA:-localhost:9092}}\" -C -t wedsync.ai.responses -e

Send a change that forbids answers about its vendor:
  kcat -b \"${{WEDCACHE_KAFKA:-localhost:9092}}\" -P -t wedsync.vendor.changes -k v-17 {change}"
    )
}

/// Returns a path as one word of a shell.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '~');
    if path.chars().all(plain) {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Decoded, Decoder, Schemas};
    use crate::topology::{self, Look, Topology, Variables};

    fn init(folder: &Path, force: bool) -> anyhow::Result<String> {
        let mut out = Vec::new();
        let mut screen = Screen {
            out: &mut out,
            look: Look {
                unicode: false,
                colour: false,
            },
            width: 100,
        };
        let args = Args {
            folder: folder.to_owned(),
            force,
        };
        run(&args, &mut screen)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_file_that_is_there_is_replaced_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        let said = init(&below, false).unwrap();
        assert_eq!(said.matches(": written\n").count(), FILES.len(), "{said}");
        let own = below.join("topologies/wedsync.yaml");
        fs::write(&own, "name: mine\n").unwrap();
        fs::remove_file(below.join("examples/query.json")).unwrap();
        let said = init(&below, false).unwrap();
        assert!(said.contains("wedsync.yaml: kept: "), "{said}");
        assert!(said.contains("query.json: written\n"), "{said}");
        assert!(said.contains("demo.yaml: unchanged\n"), "{said}");
        assert_eq!(fs::read_to_string(&own).unwrap(), "name: mine\n");
        let said = init(&below, true).unwrap();
        assert!(said.contains("wedsync.yaml: replaced\n"), "{said}");
        for (name, text) in FILES {
            assert_eq!(fs::read_to_string(below.join(name)).unwrap(), text);
        }
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("topologies"), "a file").unwrap();
        let error = init(folder.path(), true).unwrap_err().to_string();
        assert!(
            error.contains("topologies/wedsync.yaml cannot be written: "),
            "{error}"
        );
    }

    fn shipped(name: &str) -> &'static str {
        FILES.iter().find(|(file, _)| *file == name).unwrap().1
    }

    fn topology(name: &str) -> Topology {
        let read = topology::read(name, shipped(name), Variables::From(&|_| None));
        read.unwrap().topology
    }

    #[test]
    fn the_examples_are_records_of_the_topics_that_the_commands_name() {
        let decoder = Decoder::new(Schemas::embedded().into(), usize::MAX);
        let query = decoder.decode_query(Some(shipped("examples/query.json").as_bytes()));
        let Decoded::Event(query) = query else {
            panic!("{query:?}");
        };
        let change = shipped("examples/vendor-change.json").as_bytes();
        let change = decoder.decode_vendor_change(Some(change));
        let Decoded::Event(change) = change else {
            panic!("{change:?}");
        };
        let said = init(tempfile::tempdir().unwrap().path(), false).unwrap();
        for file in ["topologies/wedsync.yaml", "topologies/demo.yaml"] {
            let topology = topology(file);
            assert!(
                topology
                    .policy
                    .catalog
                    .get(&query.query.cache_type)
                    .is_some()
            );
            for (topic, key) in [
                (&topology.deployment.topics.queries, &*query.query_id),
                (
                    &topology.deployment.topics.vendor_changes,
                    &*change.vendor_id,
                ),
            ] {
                assert!(
                    said.contains(&format!("-t {} -k {key} ", topic.name)),
                    "{said}"
                );
            }
            assert!(said.contains(&format!(
                "-t {} -e",
                topology.deployment.topics.answers.name
            )));
        }
    }

    #[test]
    fn paths_are_words_of_a_shell() {
        for (path, want) in [
            ("./examples/query.json", "./examples/query.json"),
            ("my folder/q.json", "'my folder/q.json'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(Path::new(path)), want);
        }
    }
}
