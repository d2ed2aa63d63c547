//! Signals: the first one asks for an orderly end, the second one ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that was told twice to end.
pub const TOLD_TWICE: u8 = 130;

/// Returns a token that is cancelled by the first SIGINT, SIGTERM or SIGHUP; a second signal exits
/// with [`TOLD_TWICE`]. Must be called within a tokio runtime.
///
/// SIGHUP comes from a terminal that closes, and from operators who expect a reload; by default it
/// would end the process at once. Settings are read at the start only, so SIGHUP drains too.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    on_signal_else(|| ())
}

/// Returns a token as [`on_signal`] does; `last` runs before a second signal exits.
pub fn on_signal_else(last: impl FnOnce() + Send + 'static) -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut signals = Signals::listen()?;
    let asked = stop.clone();
    tokio::spawn(async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "asked to end; a second signal ends at once");
        asked.cancel();
        signals.next().await;
        last();
        std::process::exit(TOLD_TWICE.into());
    });
    Ok(stop)
}

/// The signals that ask for an end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
