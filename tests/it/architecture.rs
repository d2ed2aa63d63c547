//! Holds the picture in `src/lib.rs`. Cargo holds the arrows between the crates; this holds those
//! between the rooms of one crate, and each outside crate's home within it.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders whose modules are checked, each with the beginnings of the paths of modules in it.
const FOLDERS: [(&str, &[&str]); 7] = [
    ("src", &["crate::"]),
    ("crates/codec/src", &["crate::"]),
    ("crates/driver/src", &["crate::"]),
    ("crates/engine/src", &["crate::"]),
    ("crates/kafka/src", &["crate::"]),
    ("crates/lab/src", &["crate::", "wedcache::"]),
    ("crates/rules/src", &["crate::"]),
];

/// The modules and what each may import besides itself and [`ALWAYS`]: a module, or one module
/// within it.
const ALLOWED: &[(&str, &[&str])] = &[
    // crates/rules
    ("invalidation", &[]),
    ("topology", &["invalidation"]),
    // crates/engine
    ("cache", &[]),
    ("ai", &[]),
    ("observe", &[]),
    ("metrics", &["observe"]),
    ("resolver", &["ai", "cache", "observe"]),
    ("stages", &["observe", "policy", "resolver"]),
    // src
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
    // crates/lab
    (
        "simulate",
        &["ai", "checker", "driver", "observe", "topology"],
    ),
];

/// The modules that every module may import.
const ALWAYS: [&str; 9] = [
    "alerts",
    "backoff",
    "circuit",
    "clock",
    "failpoint",
    "model",
    "nearest",
    "outbound",
    "trouble",
];

/// Outside crates and the only rooms of a crate that may use them.
const HOMES: &[(&str, &[&str])] = &[
    ("sled", &["cache/disk"]),
    ("redis", &["cache"]),
    ("axum", &["api"]),
    ("cel", &["invalidation"]),
    ("prometheus", &["metrics", "api"]),
    ("serde_saphyr", &["topology"]),
    ("reqwest", &["ai", "registry"]),
];

/// A source file without its test code.
struct SourceFile {
    path: PathBuf,
    /// The path below the folder of [`FOLDERS`].
    place: String,
    /// The beginnings of the paths of modules.
    roots: &'static [&'static str],
    code: String,
}

impl SourceFile {
    /// Returns the paths of modules in the code, without their beginning.
    fn imports(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().flat_map(|root| imports(&self.code, root))
    }
}

/// Reads all files below [`FOLDERS`], without test modules and without items that only tests have.
fn sources() -> Vec<SourceFile> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|of| of == "rs") {
                found.push(path);
            }
        }
    }
    let (mut files, mut test_modules) = (Vec::new(), Vec::new());
    for (root_folder, roots) in FOLDERS {
        let mut paths = Vec::new();
        walk(Path::new(root_folder), &mut paths);
        for path in paths {
            let text = fs::read_to_string(&path).unwrap();
            let (code, modules) = split_tests(&text);
            let folder = module_folder(&path);
            test_modules.extend(modules.iter().map(|module| folder.join(module)));
            let place = path.strip_prefix(root_folder).unwrap();
            files.push(SourceFile {
                place: place.to_string_lossy().into_owned(),
                path,
                roots,
                code,
            });
        }
    }
    // A test module is a file, or a folder of files, of its name.
    files.retain(|file| {
        let module = file.path.with_extension("");
        !test_modules.iter().any(|of| module.starts_with(of))
    });
    files
}

/// Returns the folder in which the modules are that the file declares.
fn module_folder(path: &Path) -> PathBuf {
    let is_root = ["mod.rs", "lib.rs", "main.rs"].map(Path::new);
    if is_root.iter().any(|root| path.ends_with(root)) {
        path.parent().unwrap().to_owned()
    } else {
        path.with_extension("")
    }
}

/// Splits a file's text into the code without items for tests, and the names of the test modules that
/// it declares. Items are found by their layout, which rustfmt gives them: one that has a body ends at
/// the first line that closes it at its own indent.
fn split_tests(text: &str) -> (String, Vec<String>) {
    let (mut code, mut modules) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let is_attribute = |line: &&str| line.trim_start().starts_with('#');
        let Some(first) = lines.by_ref().find(|line| !is_attribute(line)) else {
            break;
        };
        if let Some((_, name)) = first.rsplit_once("mod ")
            && let Some(name) = name.strip_suffix(';')
        {
            modules.push(name.to_owned());
        }
        if first.ends_with([';', ',']) {
            continue;
        }
        let ends = |line: &str| {
            let rest = line.strip_prefix(indent);
            rest.is_some_and(|rest| rest.starts_with(['}', ')', ']']) && !rest.ends_with('{'))
        };
        lines.by_ref().find(|line| ends(line));
    }
    (code, modules)
}

#[test]
fn code_after_a_test_item_is_read_and_test_code_is_not() {
    let text = "\
use crate::a;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
#[path = \"x.rs\"]
mod tests;
struct S {
    #[cfg(test)]
    of_test: crate::b::B,
    kept: crate::c::C,
}
#[cfg(test)]
fn only_for_tests(
    of: crate::d::D,
) {
    if x {
        crate::e::f();
    }
}
#[cfg(test)]
mod inner {
    use crate::g;
}
use crate::h;
";
    let (code, modules) = split_tests(text);
    let kept: Vec<_> = code
        .match_indices("crate::")
        .map(|(at, _)| code[at + 7..].chars().next().unwrap())
        .collect();
    assert_eq!(kept, ['a', 'c', 'h']);
    assert_eq!(modules, ["sample", "tests"]);
}

/// Returns the paths in `code` that begin with `root`, without that beginning.
fn imports<'a>(code: &'a str, root: &'static str) -> impl Iterator<Item = &'a str> {
    code.match_indices(root).map(|(at, found)| {
        let rest = &code[at + found.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// Returns true if `path` is `module`, or lies in it.
fn is_within(path: &str, module: &str) -> bool {
    let rest = path.strip_prefix(module);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[test]
fn modules_import_only_what_they_may() {
    let mut wrong = Vec::new();
    for file in sources() {
        let place = &file.place;
        let module = ALLOWED
            .iter()
            .find(|(module, _)| place.starts_with(&format!("{module}/")));
        let Some((module, allowed)) = module else {
            continue;
        };
        for path in file.imports() {
            let mut may = ALWAYS.iter().chain(*allowed).chain([module]);
            if !may.any(|of| is_within(path, of)) {
                wrong.push(format!("{} imports {path}", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn outside_crates_stay_at_home() {
    let mut wrong = Vec::new();
    for file in sources() {
        let place = &file.place;
        for (outside, homes) in HOMES {
            let named = file.code.lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//")
                    && line.match_indices(&format!("{outside}::")).any(|(at, _)| {
                        let before = line[..at].chars().next_back();
                        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
                    })
            });
            if named && !homes.iter().any(|home| place.starts_with(home)) {
                let path = file.path.display();
                wrong.push(format!("{path} names {outside}, whose home is {homes:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
