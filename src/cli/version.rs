//! `wedcache --version`: what this program was built from, and what it can do.

use std::sync::LazyLock;

/// The commit that was built, with a word if the sources had been changed; empty where the tree
/// had no git.
const COMMIT: &str = env!("WEDCACHE_BUILD_COMMIT");
/// The commit's day.
const DATE: &str = env!("WEDCACHE_BUILD_DATE");

/// The package's version with the commit, for one log line.
pub fn short() -> String {
    let version = env!("CARGO_PKG_VERSION");
    if COMMIT.is_empty() {
        return version.to_owned();
    }
    format!("{version} ({COMMIT})")
}

/// Version, commit, date and features, a line each.
pub fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let version = env!("CARGO_PKG_VERSION");
        let features = features();
        format!(
            "{version}\ncommit: {}\ndate: {}\nfeatures: {features}",
            or_unknown(COMMIT),
            or_unknown(DATE)
        )
    });
    &TEXT
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() {
        return "unknown: built without git";
    }
    text
}

/// The package's features, and what is missing without them.
fn features() -> String {
    let tls = if cfg!(feature = "kafka-ssl") {
        "kafka-ssl"
    } else {
        "no kafka-ssl: no TLS and no SCRAM towards Kafka"
    };
    let failpoints = cfg!(feature = "failpoints").then_some("failpoints");
    let all: Vec<_> = [Some(tls), failpoints].into_iter().flatten().collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_commit_date_and_features() {
        let text = long();
        let starts: Vec<_> = text.lines().map(|line| line.split(": ").next()).collect();
        let version = Some(env!("CARGO_PKG_VERSION"));
        assert_eq!(
            starts,
            [version, Some("commit"), Some("date"), Some("features")]
        );
        assert!(text.contains("kafka-ssl"));
    }
}
