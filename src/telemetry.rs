//! Logs: pretty for people, JSON for machines, always on standard error.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Pretty,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log filter '{filter}' cannot be read: {source}; an example: info,wedcache=debug")]
    Filter { filter: String, source: ParseError },
    #[error("logging is set up already")]
    Installed,
}

/// The levels of libraries that log every failure (each attempt to reach a node of a cluster, each
/// flush to a full disk); the layers log such failures themselves, once a minute at most.
const QUIET_LIBRARIES: &str = "redis=error,sled=off";

/// Sets up logging for the process; `filter` is as in `info,wedcache::kafka=debug`.
pub fn install(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let parsed = parse(filter).map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Pretty => false,
        LogFormat::Json => true,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr);
    let installed = if json {
        subscriber.json().flatten_event(true).try_init()
    } else {
        subscriber.with_ansi(terminal).with_target(false).try_init()
    };
    installed.map_err(|_| TelemetryError::Installed)
}

/// Parses `filter` after the levels of the quiet libraries, so that it may override them.
fn parse(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("{QUIET_LIBRARIES},{filter}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quiet_unless_they_are_asked_for() {
        for (filter, wanted) in [
            ("info", ["redis=error", "sled=off"]),
            ("debug,wedcache::kafka=trace", ["redis=error", "sled=off"]),
            ("", ["redis=error", "sled=off"]),
            ("info,redis=debug", ["redis=debug", "sled=off"]),
            ("info,sled=warn", ["redis=error", "sled=warn"]),
        ] {
            let parsed = parse(filter).unwrap().to_string();
            let mut found: Vec<_> = parsed
                .split(',')
                .filter(|of| of.starts_with("redis") || of.starts_with("sled"))
                .collect();
            found.sort_unstable();
            assert_eq!(found, wanted, "{parsed}");
        }
        assert!(parse("info,wedcache=loud").is_err());
    }
}
