//! The command line as an operator uses it: the topology that a command works on, and the message
//! if there is none.

use std::collections::BTreeSet;
use std::path::Path;

use assert_cmd::Command;
use clap::CommandFactory as _;
use wedcache::cli::Cli;

/// Every command that works on a topology, without a topology's name.
const COMMANDS: [&[&str]; 13] = [
    &["run"],
    &["validate"],
    &["test"],
    &["graph"],
    &["explain", "--query", "{}"],
    &["topics", "plan"],
    &["topics", "apply"],
    &["check"],
    &["sample"],
    &["dlq", "list"],
    &["dlq", "replay", "--yes"],
    &["dlq", "skip", "topic", "0", "1", "2", "--yes"],
    &["validate", "--short"],
];

fn wedcache(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::cargo_bin("wedcache").unwrap();
    command.current_dir(folder).env_clear().args(words);
    command
}

/// Runs a command; returns its exit code and its output.
fn outcome(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Collects the commands below `of` that take `--topology`, as they are typed.
fn with_topology(of: &clap::Command, before: &str, found: &mut BTreeSet<String>) {
    for command in of.get_subcommands() {
        let name = format!("{before}{}", command.get_name());
        if command.get_arguments().any(|of| of.get_id() == "topology") {
            found.insert(name.clone());
        }
        with_topology(command, &format!("{name} "), found);
    }
}

#[test]
fn no_command_is_left_out_here() {
    let mut found = BTreeSet::new();
    with_topology(&Cli::command(), "", &mut found);
    let tested = COMMANDS.map(|words| {
        let plain = |word: &&&str| !word.starts_with(['-', '{']) && **word != "topic";
        words
            .iter()
            .take_while(plain)
            .copied()
            .collect::<Vec<_>>()
            .join(" ")
    });
    assert_eq!(found, tested.into());
}

fn one_line(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_file_that_is_missing_is_told_alike_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().canonicalize().unwrap();
    let none = format!("there is no topology file none.yaml in {}", place.display());
    for words in COMMANDS {
        let with = |more: &[&str]| outcome(wedcache(&place, &[words, more].concat()));
        let mut by_variable = wedcache(&place, words);
        by_variable.env("WEDCACHE_TOPOLOGY", "none.yaml");
        for ((code, said), missing, named) in [
            (with(&["none.yaml"]), none.as_str(), "it was named as FILE"),
            (
                with(&["--topology", "none.yaml"]),
                &none,
                "--topology named it",
            ),
            (
                outcome(by_variable),
                &none,
                "the environment variable WEDCACHE_TOPOLOGY named it",
            ),
            (
                with(&[]),
                "no topology was named, and there is no topologies/wedsync.yaml in ",
                "name one as FILE, by --topology or by WEDCACHE_TOPOLOGY",
            ),
        ] {
            assert_eq!(code, Some(1), "{words:?}: {said}");
            let said = one_line(&said);
            for part in [missing, named, "`wedcache init` writes "] {
                assert!(said.contains(part), "{words:?}: {part} in {said}");
            }
        }
    }
}

#[test]
fn two_names_for_one_topology_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for words in COMMANDS {
        let both = [words, &["a.yaml", "--topology", "b.yaml"]].concat();
        let (code, said) = outcome(wedcache(folder.path(), &both));
        assert_eq!(code, Some(2), "{words:?}: {said}");
        assert!(said.contains("cannot be used with"), "{words:?}: {said}");
    }
}

/// Writes a topology whose one mistake identifies the file.
fn mistaken(folder: &Path, name: &str, mistake: &str) {
    std::fs::write(folder.join(name), format!("{mistake}: 1\n")).unwrap();
}

#[test]
fn every_command_reads_the_file_that_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("topologies")).unwrap();
    mistaken(folder, "topologies/wedsync.yaml", "usual");
    mistaken(folder, "by-variable.yaml", "by_variable");
    mistaken(folder, "given.yaml", "given");
    for words in COMMANDS {
        let set = |more: &[&str]| {
            let mut command = wedcache(folder, &[words, more].concat());
            command.env("WEDCACHE_TOPOLOGY", "by-variable.yaml");
            command
        };
        for (command, read) in [
            (wedcache(folder, words), "`usual`"),
            (set(&[]), "`by_variable`"),
            (set(&["given.yaml"]), "`given`"),
            (set(&["--topology", "given.yaml"]), "`given`"),
        ] {
            let (code, said) = outcome(command);
            assert_eq!(code, Some(1), "{words:?}: {said}");
            assert!(said.contains(read), "{words:?}: {read} in {said}");
        }
    }
}

#[test]
fn what_init_writes_is_valid_and_is_the_usual_topology() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = outcome(wedcache(folder.path(), &["init"]));
    assert_eq!(code, Some(0), "{said}");
    for words in [&["validate"][..], &["test", "--filter", "null value"]] {
        let (code, said) = outcome(wedcache(folder.path(), words));
        assert_eq!(code, Some(0), "{words:?}: {said}");
        assert!(said.contains("topologies/wedsync.yaml"), "{said}");
    }
    let words = ["explain", "--query", "@examples/query.json"];
    let (code, said) = outcome(wedcache(folder.path(), &words));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("vendor_matching:Austin_TX"), "{said}");
}
