//! `wedcache --version`: the commit, date and features of this build.

use std::sync::LazyLock;

/// The commit that was built, marked if the sources had been changed; empty where the tree had no
/// git.
const COMMIT: &str = env!("WEDCACHE_BUILD_COMMIT");
/// The date of the commit.
const DATE: &str = env!("WEDCACHE_BUILD_DATE");

/// Returns the package's version with the commit, for one log line.
pub fn short() -> String {
    let version = env!("CARGO_PKG_VERSION");
    if COMMIT.is_empty() {
        return version.to_owned();
    }
    format!("{version} ({COMMIT})")
}

/// Returns version, commit, date and features, one per line.
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

/// Returns the package's features, and for a missing one what is missing without it.
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
