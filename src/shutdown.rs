//! Signals: the first asks for an orderly end, the second ends at once; SIGHUP asks a service to
//! read its settings again.

use std::io::IsTerminal as _;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The exit code of a process that was signalled twice to end.
pub const TOLD_TWICE: u8 = 130;

/// Returns a token that is cancelled by the first SIGINT, SIGTERM or SIGHUP; a second one exits with
/// [`TOLD_TWICE`]. Must be called within a tokio runtime.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    on_signal_else(|| ())
}

/// Like [`on_signal`]; `last` runs before a second signal exits.
pub fn on_signal_else(last: impl FnOnce() + Send + 'static) -> std::io::Result<CancellationToken> {
    let signals = Signals::listen(None)?;
    Ok(until_signalled(signals, last))
}

/// Like [`on_signal`], but SIGHUP is received by the second part. A SIGHUP that says that the
/// terminal has closed still asks for an end.
pub fn on_signal_or_reload() -> std::io::Result<(CancellationToken, mpsc::Receiver<()>)> {
    // One reading covers all signals that come before it.
    let (reload, reloads) = mpsc::channel(1);
    let signals = Signals::listen(Some(Reload {
        asked: reload,
        in_terminal: std::io::stdin().is_terminal(),
    }))?;
    Ok((until_signalled(signals, || ()), reloads))
}

fn until_signalled(
    mut signals: Signals,
    last: impl FnOnce() + Send + 'static,
) -> CancellationToken {
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "asked to end; a second signal ends at once");
        asked.cancel();
        signals.next().await;
        last();
        std::process::exit(TOLD_TWICE.into());
    });
    stop
}

/// What SIGHUP does in a service.
struct Reload {
    asked: mpsc::Sender<()>,
    /// Whether the process was started in a terminal.
    in_terminal: bool,
}

impl Reload {
    /// Reports whether the terminal has closed: then SIGHUP came from the kernel.
    fn terminal_closed(&self) -> bool {
        self.in_terminal && std::fs::File::open("/dev/tty").is_err()
    }
}

/// The signals that ask for an end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    reload: Option<Reload>,
}

impl Signals {
    fn listen(reload: Option<Reload>) -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            reload,
        })
    }

    /// Waits for a signal that asks for an end, and passes on those that ask for a reload.
    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.hangup.recv() => match &self.reload {
                    Some(reload) if !reload.terminal_closed() => {
                        // A full channel has a reload in it that is still to come.
                        let _ = reload.asked.try_send(());
                    }
                    _ => return "SIGHUP",
                },
            }
        }
    }
}
