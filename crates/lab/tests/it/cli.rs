//! The command line from outside: the topology that `simulate` works on, and the command that it
//! reports.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

fn lab(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::cargo_bin("wedcache-lab").unwrap();
    command.current_dir(folder).env_clear().args(words);
    command
}

/// Runs a command; returns its exit code and its output.
fn outcome(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// The root of the workspace, where the shipped topologies are.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn a_command_must_be_named() {
    let (code, said) = outcome(lab(root(), &[]));
    assert_eq!(code, Some(2), "{said}");
    for command in ["hits", "latency-mixed", "invalidate", "simulate"] {
        assert!(said.contains(&format!("\n  {command} ")), "{said}");
    }
    assert!(!said.contains("\n  worker "), "{said}");
}

#[test]
fn simulate_reads_the_topology_that_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("topologies")).unwrap();
    // One mistake in each, which identifies the file.
    for (name, mistake) in [
        ("topologies/wedsync.yaml", "usual"),
        ("by-variable.yaml", "by_variable"),
        ("given.yaml", "given"),
    ] {
        std::fs::write(folder.join(name), format!("{mistake}: 1\n")).unwrap();
    }
    let simulate = |more: &[&str]| lab(folder, &[&["simulate", "--quick"], more].concat());
    let set = |more: &[&str]| {
        let mut command = simulate(more);
        command.env("WEDCACHE_TOPOLOGY", "by-variable.yaml");
        command
    };
    for (command, read) in [
        (simulate(&[]), "`usual`"),
        (set(&[]), "`by_variable`"),
        (set(&["given.yaml"]), "`given`"),
        (set(&["--topology", "given.yaml"]), "`given`"),
        (set(&["none.yaml"]), "there is no topology file none.yaml"),
    ] {
        let (code, said) = outcome(command);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(read), "{read} in {said}");
    }
}

#[test]
fn the_command_that_a_report_names_gives_its_figures_again() {
    let simulate = |words: &[&str]| {
        let (code, said) = outcome(lab(root(), &[words, &["--json"]].concat()));
        assert_eq!(code, Some(0), "{said}");
        serde_json::from_str::<Value>(&said).unwrap()
    };
    let options = "simulate --quick --months 6 --sample 128 --queries 300 --seed 7 --year 2026 \
                   --memory 1MiB --ttl-factor 2";
    let first = simulate(&options.split_whitespace().collect::<Vec<_>>());
    let command = first["command"].as_str().unwrap();
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("wedcache-lab"));
    assert_eq!(simulate(&words.collect::<Vec<_>>()), first);
}
