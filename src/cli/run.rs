//! `wedcache run`: one instance, until a signal stops it.

use super::screen::Screen;
mod reload;

use self::reload::Reloader;
use super::source::Text;
use super::{TopologyArgs, environment, load_whole, version};
use crate::app::{App, AppError};
use crate::shutdown;

/// Answer queries until SIGTERM or Ctrl-C, then drain; SIGHUP reads the topology again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  WEDCACHE_KAFKA=localhost:9092 wedcache run
  wedcache run topologies/wedsync.yaml --watch --log info,wedcache::pipeline=debug
  kill -HUP \"$(pidof wedcache)\"

A first signal drains: nothing new is taken, what was taken is answered, stored and committed.
A second one ends at once; what was unfinished is repeated by the next start.

SIGHUP reads the topology file again, as --watch does when it changes. What decides about answers
comes into force at once: cache types, places, seasons, vendors, prices, rules, freshness. What does
not can be changed by a restart only and is named in the log: kafka, registry, topics, layers,
providers, server. A file with mistakes changes nothing. When the terminal closes, SIGHUP drains.

Exit codes: 0 nothing is left unfinished · 1 could not start, or could not go on · 3 the drain
deadline passed with work left, which whoever is next repeats")]
pub struct Args {
    #[command(flatten)]
    pub topology: TopologyArgs,
    /// Read the topology file again whenever it changes.
    #[arg(long)]
    pub watch: bool,
}

pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let source = args.topology.source();
    let Text { file, text } = source.read()?;
    let Some(loaded) = load_whole(&file, &text, &environment, screen)? else {
        return Ok(1);
    };
    let reloader = Reloader::new(source, text, &loaded);
    let topology = loaded.topology;
    tracing::info!(
        version = version::short(),
        topology = topology.name,
        "starting"
    );
    #[cfg(feature = "failpoints")]
    if let Some(text) = super::environment("FAILPOINT") {
        crate::failpoint::set_up(&text).map_err(anyhow::Error::msg)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        // Before the start, so that a signal during the start stops it too.
        let (stop, reloads) = shutdown::on_signal_or_reload()?;
        match App::start(topology, &stop).await {
            Ok(app) => {
                let reloading = reloader.run(reloads, args.watch, app.policies(), stop.clone());
                tokio::spawn(reloading);
                Ok(app.run(&stop).await)
            }
            Err(AppError::StoppedEarly) => Ok(Ok(())),
            Err(error @ AppError::NotDrained { .. }) => Ok(Err(error)),
            Err(error) => Err(anyhow::Error::from(error)),
        }
    });
    // A blocking task that hangs, which cannot be cancelled, holds the process no longer than this.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match ended? {
        Ok(()) => Ok(0),
        Err(error @ AppError::NotDrained { .. }) => {
            tracing::error!(%error, "ended");
            Ok(3)
        }
        Err(error) => Err(error.into()),
    }
}
