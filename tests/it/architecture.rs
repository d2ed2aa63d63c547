//! The picture in `src/lib.rs` cannot drift: who may import whom, and each outside crate's home.

use std::fs;
use std::path::{Path, PathBuf};

/// A module and what it may import besides itself, `model`, `clock`, `backoff`, `trouble`, `alerts`,
/// `failpoint` and `outbound`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("codec", &[]),
    ("invalidation", &[]),
    ("topology", &["invalidation"]),
    ("cache", &[]),
    ("ai", &[]),
    ("kafka", &[]),
    ("broker", &[]),
    ("observe", &[]),
    ("metrics", &["observe"]),
    ("resolver", &["ai", "cache", "invalidation", "observe"]),
    ("stages", &["codec", "invalidation", "observe", "resolver"]),
    (
        "pipeline",
        &[
            "codec",
            "invalidation",
            "kafka",
            "observe",
            "resolver",
            "stages",
        ],
    ),
    ("api", &["health", "metrics"]),
    (
        "simulate",
        &["ai", "checker", "driver", "observe", "topology"],
    ),
];

/// Files that import what their module may not, until the items have moved.
const EXCEPTIONS: &[(&str, &str)] = &[("stages/follower.rs", "kafka")];

/// Outside crates and the only places that may name them.
const HOMES: &[(&str, &[&str])] = &[
    ("rdkafka", &["kafka"]),
    ("kafka_protocol", &["broker"]),
    ("sled", &["cache/disk"]),
    ("redis", &["cache"]),
    ("axum", &["api"]),
    ("apache_avro", &["codec"]),
    ("cel", &["invalidation"]),
    ("prometheus", &["metrics", "api"]),
    ("serde_saphyr", &["topology"]),
    ("reqwest", &["ai", "codec", "outbound.rs"]),
    ("rust_iso3166", &["model/place"]),
    (
        "unicode_normalization",
        &["model/id", "model/place", "model/text"],
    ),
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "tests" {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|of| of == "rs") && !name.contains("test") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text
                    .split("#[cfg(test)]")
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                found.push((path, code));
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("src"), &mut found);
    found
}

#[test]
fn modules_import_only_what_they_may() {
    let always = [
        "model",
        "clock",
        "backoff",
        "trouble",
        "alerts",
        "failpoint",
        "outbound",
    ];
    let mut wrong = Vec::new();
    for (path, code) in sources() {
        let place = path
            .strip_prefix("src")
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let Some((module, allowed)) = ALLOWED
            .iter()
            .find(|(module, _)| place.starts_with(&format!("{module}/")))
        else {
            continue;
        };
        for (at, _) in code.match_indices("crate::") {
            let name: String = code[at + 7..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let fine = name == *module
                || always.contains(&name.as_str())
                || allowed.contains(&name.as_str())
                || EXCEPTIONS.contains(&(place.as_str(), name.as_str()))
                || name.is_empty();
            if !fine {
                wrong.push(format!("{place} imports crate::{name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn outside_crates_stay_at_home() {
    let mut wrong = Vec::new();
    for (path, code) in sources() {
        let place = path
            .strip_prefix("src")
            .unwrap()
            .to_string_lossy()
            .into_owned();
        for (outside, homes) in HOMES {
            let named = code.lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//")
                    && line.match_indices(&format!("{outside}::")).any(|(at, _)| {
                        let before = line[..at].chars().next_back();
                        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
                    })
            });
            if named && !homes.iter().any(|home| place.starts_with(home)) {
                wrong.push(format!("{place} names {outside}, whose home is {homes:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
