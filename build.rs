//! Tells the program what it is built from: the commit, its date, and whether the sources are
//! changed since. A tree without git (a source archive, an image's build) is none; there
//! WEDCACHE_COMMIT and WEDCACHE_COMMIT_DATE may say it.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What the program is made of; cargo runs this again when one of them changes, which builds the
/// program again in any case. Dependencies are never built again for it. The folders in `crates` are
/// sources too, but for [`LAB`].
const SOURCES: [&str; 6] = [
    "Cargo.lock",
    "Cargo.toml",
    "build.rs",
    "schemas",
    "src",
    "topologies",
];
/// A program of its own, whose changes do not change this one.
const LAB: &str = "lab";

fn main() {
    let sources = sources();
    for source in &sources {
        println!("cargo::rerun-if-changed={source}");
    }
    for variable in ["WEDCACHE_COMMIT", "WEDCACHE_COMMIT_DATE"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "of the build, not of the program"
    )]
    let given = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (commit, date) = match given("WEDCACHE_COMMIT") {
        Some(commit) => (commit, given("WEDCACHE_COMMIT_DATE").unwrap_or_default()),
        None => from_git(&sources).unwrap_or_default(),
    };
    println!("cargo::rustc-env=WEDCACHE_BUILD_COMMIT={commit}");
    println!("cargo::rustc-env=WEDCACHE_BUILD_DATE={date}");
}

/// The paths of the sources. A crate that is added is named in `Cargo.toml`, which runs this again.
fn sources() -> Vec<String> {
    let crates = fs::read_dir("crates").into_iter().flatten().flatten();
    let crates = crates.map(|of| of.file_name().to_string_lossy().into_owned());
    let crates = crates.filter(|name| name != LAB);
    let mut sources: Vec<_> = crates.map(|name| format!("crates/{name}")).collect();
    sources.extend(SOURCES.map(str::to_owned));
    sources
}

/// Commit and date, if this folder is a repository's root: an archive that was unpacked within
/// another repository is not of its commits.
fn from_git(sources: &[String]) -> Option<(String, String)> {
    let root = git(&["rev-parse", "--show-toplevel"])?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().ok()?;
    if Path::new(&root).canonicalize().ok()? != here {
        return None;
    }
    // Written at each commit and checkout. A path that does not exist would run this every time.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let date = git(&["log", "-1", "--format=%cs"])?;
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(sources.iter().map(String::as_str));
    let is_changed = git(&status).is_none_or(|changes| !changes.is_empty());
    let changed = if is_changed { ", changed since" } else { "" };
    Some((format!("{commit}{changed}"), date))
}

fn git(arguments: &[&str]) -> Option<String> {
    let done = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    done.status.success().then(|| text.trim().to_owned())
}
