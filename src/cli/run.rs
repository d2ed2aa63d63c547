//! `wedcache run`: one instance, until a signal stops it.

use super::screen::Screen;
use super::{TopologyArgs, load, version};
use crate::app::{App, AppError};
use crate::shutdown;

/// Answer queries until SIGTERM, SIGHUP or Ctrl-C, then drain.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  WEDCACHE_KAFKA=localhost:9092 wedcache run
  wedcache run topologies/wedsync.yaml --log info,wedcache::pipeline=debug

A first signal drains: nothing new is taken, what was taken is answered, stored and committed.
A second one ends at once; what was unfinished is repeated by the next start. SIGHUP drains too: the
topology is read at the start only, so a changed one takes a restart.

Exit codes: 0 nothing is left unfinished · 1 could not start, or could not go on · 3 the drain
deadline passed with work left, which whoever is next repeats")]
pub struct Args {
    #[command(flatten)]
    pub topology: TopologyArgs,
}

pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let Some(topology) = load(&args.topology, screen)? else {
        return Ok(1);
    };
    tracing::info!(
        version = version::short(),
        topology = topology.name,
        "starting"
    );
    #[cfg(feature = "failpoints")]
    if let Some(text) = super::environment("FAILPOINT") {
        crate::failpoint::armed::set_up(&text)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        // Before the start, so that a signal during the start stops it too.
        let stop = shutdown::on_signal()?;
        match App::start(topology, &stop).await {
            Ok(app) => Ok(app.run(&stop).await),
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
