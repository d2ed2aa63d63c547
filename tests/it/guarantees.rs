//! Everything that `docs/guarantees.md` names exists: without its proof a promise is worth nothing.

use std::fs;
use std::path::Path;

use regex::Regex;

/// Returns the reason why a link from a name to a file is broken.
fn broken(name: &str, file: &Path) -> Option<String> {
    let shown = file.display();
    let Ok(text) = fs::read_to_string(file) else {
        return Some(format!("{name}: there is no file {shown}"));
    };
    let is = |what: &str| Some(what.as_ref()) == file.extension();
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let holds = if is("rs") {
        text.contains(&format!("fn {name}("))
    } else {
        is("py") && (stem == name || text.contains(&format!("def {name}(")))
    };
    (!holds).then(|| format!("{name}: {shown} has no such test"))
}

#[test]
fn every_promise_names_a_proof_that_exists() {
    let docs = Path::new("docs");
    let text = fs::read_to_string(docs.join("guarantees.md")).unwrap();
    let link = Regex::new(r"\[`([^`]+)`\]\(([^)]+)\)").unwrap();
    let mut wrong = Vec::new();
    for promise in text.lines().filter(|line| line.starts_with("- ")) {
        let links: Vec<_> = link.captures_iter(promise).collect();
        if links.is_empty() {
            wrong.push(format!("no proof: {promise}"));
        }
        wrong.extend(
            links
                .iter()
                .filter_map(|link| broken(&link[1], &docs.join(&link[2]))),
        );
    }
    assert!(text.matches("\n- ").count() > 20, "the promises are gone");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(broken("no_such_test", Path::new("tests/it/guarantees.rs")).is_some());
    assert!(broken("soak", Path::new("tests/prove/scenarios/sock.py")).is_some());
}
