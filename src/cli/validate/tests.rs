use std::path::Path;

use clap::Parser as _;

use super::*;
use crate::topology::Look;

#[derive(Debug, clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// Returns the exit code and the output, in which `DIR` replaces the folder's path.
fn validate(options: &[&str], folder: &Path, files: &[&str]) -> (u8, String) {
    validate_with(&|_| None, options, folder, files)
}

fn validate_with(
    environment: &dyn Fn(&str) -> Option<String>,
    options: &[&str],
    folder: &Path,
    files: &[&str],
) -> (u8, String) {
    let files: Vec<_> = files.iter().map(|file| folder.join(file)).collect();
    let files = files.iter().map(|file| file.to_str().unwrap());
    let words = ["validate"].into_iter().chain(options.iter().copied());
    let args = Cli::parse_from(words.chain(files)).args;
    let mut out = Vec::new();
    let mut screen = Screen {
        out: &mut out,
        look: Look {
            unicode: false,
            colour: false,
        },
        width: 100,
    };
    let code = run(&args, environment, &mut screen).unwrap();
    let out = String::from_utf8(out).unwrap();
    (code, out.replace(folder.to_str().unwrap(), "DIR"))
}

const GOOD: &str = include_str!("../../../topologies/demo.yaml");

/// Writes a good file, one with a warning, one with mistakes, and one that is not UTF-8.
fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
    write("good.yaml", GOOD.as_bytes());
    let warning = GOOD.replace("trigger: vendor.closed", "trigger: vendor.closd");
    assert_ne!(warning, GOOD);
    write("warning.yaml", warning.as_bytes());
    let bad = warning.replace("scope: vendor_type", "scope: vendors_type");
    write(
        "bad.yaml",
        bad.replace("size: 64MiB", "size: 64").as_bytes(),
    );
    write("latin.yaml", b"name: caf\xe9\n");
    folder
}

const ALL: [&str; 5] = [
    "good.yaml",
    "warning.yaml",
    "bad.yaml",
    "latin.yaml",
    "none.yaml",
];

#[test]
fn a_valid_file_is_one_line_and_a_wrong_one_fails_them_all() {
    let folder = files();
    let (code, out) = validate(&["--short"], folder.path(), &["good.yaml"]);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "DIR/good.yaml: valid: 7 cache types, 25 rules, 9 topics, 2 test cases\n"
    );
    let (code, out) = validate(&["--short"], folder.path(), &ALL);
    assert_eq!(code, 1);
    let none = format!(" in {}", std::env::current_dir().unwrap().display());
    insta::assert_snapshot!(out.replace(&none, ""));
}

#[test]
fn warnings_are_denied_only_where_told_to() {
    let folder = files();
    let good = validate(&["--deny-warnings"], folder.path(), &["good.yaml"]);
    assert_eq!(good.0, 0, "{}", good.1);
    assert_eq!(validate(&[], folder.path(), &["warning.yaml"]).0, 0);
    let (code, out) = validate(
        &["--deny-warnings", "--format", "short"],
        folder.path(),
        &["warning.yaml"],
    );
    assert_eq!(code, 1);
    let last = out.lines().last().unwrap();
    assert_eq!(
        last,
        "DIR/warning.yaml: not valid: 2 warnings, denied by --deny-warnings"
    );
}

#[test]
fn programs_get_one_array_for_all_files() {
    let folder = files();
    let (code, out) = validate(&["--format", "json"], folder.path(), &ALL);
    assert_eq!(code, 1);
    let found: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    let lines = found.iter().map(ToString::to_string).collect::<Vec<_>>();
    insta::assert_snapshot!(lines.join("\n"));
    let (code, out) = validate(&["--format", "json"], folder.path(), &["good.yaml"]);
    assert_eq!((code, out.as_str()), (0, "[]\n"));
}

#[test]
fn workflows_get_annotations() {
    let folder = files();
    let (code, out) = validate(&["--format", "github"], folder.path(), &ALL);
    assert_eq!(code, 1);
    insta::assert_snapshot!(out);
}

#[test]
fn a_key_with_a_line_end_is_found_and_named_but_not_shown() {
    let environment = |name: &str| match name {
        "WEDCACHE_KAFKA" => Some("localhost:9092".to_owned()),
        "WEDCACHE_AI_KEY" => Some("sk-test\n".to_owned()),
        _ => None,
    };
    let folder = tempfile::tempdir().unwrap();
    let text = include_str!("../../../topologies/wedsync.yaml");
    std::fs::write(folder.path().join("wedsync.yaml"), text).unwrap();
    let (code, out) = validate_with(&environment, &[], folder.path(), &["wedsync.yaml"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("the value of `WEDCACHE_AI_KEY` ends with a line end"),
        "{out}"
    );
    assert!(!out.contains("sk-test"), "{out}");
}

/// Writes a good topology with these Kafka properties.
fn with_properties(lines: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let before = "  commit_interval: 500ms\n";
    let text = GOOD.replace(before, &format!("{before}  properties:\n{lines}"));
    assert!(text.contains(lines));
    std::fs::write(folder.path().join("demo.yaml"), text).unwrap();
    folder
}

#[test]
fn librdkafka_judges_the_properties_at_their_places() {
    let folder = with_properties(
        "    acks: \"1\"\n    socket.timout.ms: 1000\n    linger.ms: soon\n    request.required.acks: 1\n",
    );
    let (code, out) = validate(&["--format", "short"], folder.path(), &["demo.yaml"]);
    // The properties that wedcache sets itself are refused before librdkafka sees the others.
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("`acks` is set by wedcache itself"), "{out}");
    let folder = with_properties(
        "    socket.timout.ms: 1000\n    linger.ms: soon\n    request.required.acks: 1\n",
    );
    let (code, out) = validate(&["--format", "short"], folder.path(), &["demo.yaml"]);
    assert_eq!(code, 1, "{out}");
    insta::assert_snapshot!(out);
    let good = with_properties("    socket.timeout.ms: 1000\n");
    let (code, out) = validate(&[], good.path(), &["demo.yaml"]);
    assert_eq!(code, 0, "{out}");
}

#[cfg(not(feature = "kafka-ssl"))]
#[test]
fn tls_is_refused_with_the_feature_that_brings_it() {
    let folder = with_properties(
        "    security.protocol: SASL_SSL\n    sasl.mechanism: SCRAM-SHA-512\n    ssl.ca.location: /etc/ca.pem\n",
    );
    let (code, out) = validate(&["--format", "short"], folder.path(), &["demo.yaml"]);
    assert_eq!(code, 1, "{out}");
    let told = "this build has no TLS: build with --features kafka-ssl";
    assert_eq!(out.matches(told).count(), 3, "{out}");
    // With --no-env a file is checked for another machine, which may have another build.
    let (code, out) = validate(&["--no-env"], folder.path(), &["demo.yaml"]);
    assert_eq!(code, 0, "{out}");
}

#[test]
fn what_cannot_be_reached_is_told_a_line_each() {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let environment = |name: &str| match name {
        "WEDCACHE_KAFKA" => Some(format!("127.0.0.1:{port}")),
        "WEDCACHE_REDIS" => Some(format!("redis://me:s3cret@127.0.0.1:{port}/")),
        "WEDCACHE_REGISTRY" => Some(format!("http://127.0.0.1:{port}")),
        "WEDCACHE_AI_URL" => Some(format!("http://127.0.0.1:{port}/v1")),
        "WEDCACHE_AI_KEY" => Some("sk-s3cret".to_owned()),
        _ => None,
    };
    let folder = tempfile::tempdir().unwrap();
    let text = include_str!("../../../topologies/wedsync.yaml");
    std::fs::write(folder.path().join("wedsync.yaml"), text).unwrap();
    let (code, out) = validate_with(
        &environment,
        &["--connect"],
        folder.path(),
        &["wedsync.yaml"],
    );
    assert_eq!(code, 1, "{out}");
    let lines: Vec<_> = out.lines().collect();
    for (line, what) in lines[1..].iter().zip([
        "Kafka at 127.0.0.1:",
        "schema registry: ",
        "Redis: ",
        "provider main at http://127.0.0.1:",
    ]) {
        assert!(line.starts_with(&format!("  FAILED  {what}")), "{line}");
        assert!(line.contains("; "), "no advice: {line}");
    }
    assert_eq!(lines.len(), 5, "{out}");
    assert!(!out.contains("s3cret"), "{out}");
    let arguments = ["--connect", "--format", "json"];
    let (code, out) = validate_with(&environment, &arguments, folder.path(), &["wedsync.yaml"]);
    assert_eq!(code, 1, "{out}");
    let found: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(found.len(), 4, "{out}");
    assert!(
        found
            .iter()
            .all(|of| of["code"] == "unreachable" && of["line"].as_u64() > Some(1))
    );
}
