//! Signals: the first asks for an orderly end, the second ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGINT or SIGTERM; a second one exits with 130.
/// Must be called within a runtime.
pub fn on_signal() -> std::io::Result<CancellationToken> {
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
        std::process::exit(130);
    });
    Ok(stop)
}
