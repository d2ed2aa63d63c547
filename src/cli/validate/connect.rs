//! `validate --connect`: tries to reach everything that a valid topology needs.

use std::io;

use crate::app::{self, Finding};
use crate::cli::screen::Screen;
use crate::topology::{Refusal, Topology};

/// Tries everything at once. Must not be called from within a tokio runtime.
pub fn findings(topology: &Topology) -> io::Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let findings = runtime.block_on(app::reach(topology));
    // A request that hangs must not hold the process.
    runtime.shutdown_background();
    Ok(findings)
}

/// Returns a refusal for each thing that cannot be reached.
pub fn refusals(findings: &[Finding]) -> Vec<Refusal> {
    let all = findings.iter();
    let failed = all.filter_map(|finding| {
        let refusal = finding.outcome.as_ref().err()?;
        let message = format!("{}: {}", finding.what, refusal.message);
        Some(Refusal {
            message,
            ..refusal.clone()
        })
    });
    failed.collect()
}

/// Prints one line per finding.
pub fn show(findings: &[Finding], screen: &mut Screen<'_>) -> io::Result<()> {
    findings.iter().try_for_each(|finding| {
        let (word, text) = match &finding.outcome {
            Ok(text) => ("ok", text),
            Err(refusal) => ("FAILED", &refusal.message),
        };
        writeln!(screen.out, "  {word:<6}  {}: {text}", finding.what)
    })
}
