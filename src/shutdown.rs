//! Signals: the first asks for an orderly end, the second ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that was told twice to end.
pub const TOLD_TWICE: u8 = 130;

/// A token that is cancelled by the first SIGINT or SIGTERM; a second one exits with
/// [`TOLD_TWICE`]. Must be called within a runtime.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    on_signal_else(|| ())
}

/// Like [`on_signal`]; `last` runs before a second signal exits.
pub fn on_signal_else(last: impl FnOnce() + Send + 'static) -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let asked = stop.clone();
    tokio::spawn(async move {
        let mut next =
            async || tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () };
        next().await;
        tracing::info!("asked to end; a second signal ends at once");
        asked.cancel();
        next().await;
        last();
        std::process::exit(TOLD_TWICE.into());
    });
    Ok(stop)
}
