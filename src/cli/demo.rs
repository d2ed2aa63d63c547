//! `wedcache demo`: a live stream in one process, with nothing else installed.

mod commands;
mod figures;
mod lines;
mod panel;
mod show;
mod span;

use std::borrow::Cow;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use self::commands::Addresses;
use self::show::{Ended, Show, View};
use self::span::Span;
use super::screen::Screen;
use super::{environment, load_text};
use crate::app::AppError;
use crate::broker::{Broker, BrokerError};
use crate::demo::{self, Demo, DemoError, Script, Season, Seen};
use crate::shutdown;
use crate::topology::Look;
use figures::{percent, time, usd};

/// See a wedding season live: embedded broker, simulated provider, nothing else needed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache demo                  # until q or Ctrl-C
  wedcache demo --for 30s        # ends by itself with a summary
  wedcache demo --plain | tee demo.log

In the panel: c closes a vendor, q or Ctrl-C drains and ends, once more ends at once. Without a
terminal, with --plain or with TERM=dumb there are lines instead of the panel.

Exit codes: 0 ended as asked · 1 could not start or go on, or gave an answer that a change forbade
· 130 told twice to end")]
pub struct Args {
    /// Run for this long, from the start of the program to its end, as in `30s`; by default until q
    /// or Ctrl-C.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Print lines instead of the panel.
    #[arg(long)]
    plain: bool,
    /// Questions per second.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(..=20_000))]
    rate: u32,
    /// The seed of the season's random choices.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// The address of the embedded broker, on loopback [default: 127.0.0.1:19092, or any free
    /// port].
    #[arg(long, value_name = "ADDRESS")]
    kafka: Option<SocketAddr>,
    /// The address of /metrics, /livez and /readyz [default: 127.0.0.1:19464, or any free port].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

const TOPOLOGY: &str = include_str!("../../topologies/demo.yaml");
/// The usual port of the embedded broker, so that the commands of the documentation work as they
/// are.
const KAFKA_PORT: u16 = 19_092;
const METRICS_PORT: u16 = 19_464;

impl Args {
    /// Returns true if the panel is shown, so that logs must keep off the screen.
    pub fn has_panel(&self) -> bool {
        let terminal = environment("TERM");
        !self.plain && std::io::stdout().is_terminal() && can_place_cursor(terminal.as_deref())
    }
}

/// Returns true if a terminal of this type can place the cursor, and not only feed lines.
fn can_place_cursor(terminal: Option<&str>) -> bool {
    !matches!(terminal, None | Some("" | "dumb" | "unknown"))
}

pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(play(args, screen));
    runtime.shutdown_timeout(Duration::from_secs(1));
    remove_data();
    code
}

/// Removes the folder of the disk layer.
fn remove_data() {
    let data = demo::data_folder();
    if data.exists()
        && let Err(error) = std::fs::remove_dir_all(&data)
    {
        tracing::warn!(folder = %data.display(), %error, "the demo's folder could not be removed");
    }
}

async fn play(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let span = Span {
        began: Instant::now(),
        length: args.duration,
    };
    let has_panel = args.has_panel();
    let stop = shutdown::on_signal_else(move || {
        if has_panel {
            ratatui::restore();
        }
        remove_data();
    })?;
    let Some(demo) = start(args, screen, &stop).await? else {
        return Ok(u8::from(!stop.is_cancelled()));
    };
    let watch = demo.watch().clone();
    let addresses = Addresses {
        kafka: demo.bootstrap(),
        metrics: demo.metrics_url().to_owned(),
    };
    let view = View::open(has_panel, span.began, screen, &addresses)?;
    let show = Show {
        addresses,
        span,
        stop,
    };
    match show.run(demo, view, screen).await? {
        Ended::Drained => {}
        Ended::ToldTwice => return Ok(shutdown::TOLD_TWICE),
    }
    let seen = watch.look();
    for line in summary(&seen, span.began.elapsed()) {
        writeln!(screen.out, "{}", ascii(&line, screen.look))?;
    }
    Ok(u8::from(seen.changes.wrong > 0))
}

/// Starts the demo. Returns `None` where it was stopped during the start, or where the topology has
/// mistakes, which are then shown.
async fn start(
    args: &Args,
    screen: &mut Screen<'_>,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Demo>> {
    let broker = broker(args.kafka).await?;
    let (bootstrap, data) = (broker.bootstrap(), demo::data_folder());
    let listen = args
        .listen
        .unwrap_or_else(|| free(local(METRICS_PORT)))
        .to_string();
    let variables = |name: &str| match name {
        "WEDCACHE_KAFKA" => Some(bootstrap.clone()),
        "WEDCACHE_DATA" => Some(data.display().to_string()),
        "WEDCACHE_LISTEN" => Some(listen.clone()),
        _ => environment(name),
    };
    let Some(topology) = load_text("demo.yaml", TOPOLOGY, &variables, screen)? else {
        return Ok(None);
    };
    let script = Script {
        season: Season::new(args.seed),
        rate: args.rate,
    };
    match Demo::start(broker, topology, script, stop).await {
        Ok(demo) => Ok(Some(demo)),
        Err(DemoError::App(AppError::StoppedEarly)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Starts the broker at `asked`, or else at the usual port, or else at any free one.
async fn broker(asked: Option<SocketAddr>) -> Result<Broker, BrokerError> {
    let usual = local(KAFKA_PORT);
    match demo::broker(asked.unwrap_or(usual)).await {
        Err(BrokerError::Bind { .. }) if asked.is_none() => demo::broker(local(0)).await,
        started => started,
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Returns `address` if nothing listens there, or else a loopback address with any free port.
fn free(address: SocketAddr) -> SocketAddr {
    match std::net::TcpListener::bind(address) {
        Ok(_) => address,
        Err(_) => local(0),
    }
}

/// Returns the text for a terminal; where that has no Unicode, drawing characters are replaced by
/// ASCII.
fn ascii(text: &str, look: Look) -> Cow<'_, str> {
    if look.unicode || text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let plain = text.replace('→', "->").replace('·', "-");
    Cow::Owned(
        plain
            .replace('…', "...")
            .replace(|c: char| !c.is_ascii(), "?"),
    )
}

/// Returns the lines that are printed at the end.
fn summary(seen: &Seen, elapsed: Duration) -> Vec<String> {
    let (tally, changes) = (&seen.tally, &seen.changes);
    let first = tally.first_answer.map_or_else(
        || "it ended before the first".to_owned(),
        |first| format!("the first {} after the start", time(first)),
    );
    let total = tally.spent_usd + tally.saved_usd;
    let saved = if total > 0.0 {
        tally.saved_usd / total
    } else {
        0.0
    };
    vec![
        format!(
            "{} answers in {:.1} s, {first}",
            tally.answered,
            elapsed.as_secs_f64(),
        ),
        format!(
            "hits {} % (memory {}, disk {}), joined {}, AI calls {}, stale {}, failed {}",
            percent(tally.hit_rate()),
            tally.memory,
            tally.disk + tally.redis,
            tally.coalesced,
            tally.called,
            tally.stale,
            tally.failed
        ),
        format!(
            "{} changes, {} invalidations; {} of {} answers given against a change",
            changes.changes, changes.invalidations, changes.wrong, changes.judged
        ),
        format!(
            "latency p50 {}, p99 {}",
            time(tally.percentile(0.5)),
            time(tally.percentile(0.99)),
        ),
        format!(
            "saved {} of {} ({} %), at simulated prices",
            usd(tally.saved_usd),
            usd(total),
            percent(saved)
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_without_a_cursor_get_lines() {
        for (terminal, want) in [
            (Some("xterm-256color"), true),
            (Some("tmux"), true),
            (Some("linux"), true),
            (Some("dumb"), false),
            (Some("unknown"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(can_place_cursor(terminal), want, "{terminal:?}");
        }
    }

    #[test]
    fn a_terminal_without_unicode_gets_ascii() {
        let look = |unicode| Look {
            unicode,
            colour: false,
        };
        let text = "v-3 closed → 1 · v-é…";
        assert_eq!(ascii(text, look(true)), text);
        assert_eq!(ascii(text, look(false)), "v-3 closed -> 1 - v-?...");
    }

    #[test]
    fn the_last_words_fit_80_columns() {
        let seen = Seen::default();
        let lines = summary(&seen, Duration::from_millis(10_040));
        assert_eq!(lines[0], "0 answers in 10.0 s, it ended before the first");
        assert!(lines.iter().all(|line| line.len() < 74), "{lines:#?}");
    }

    #[tokio::test]
    async fn a_taken_port_gives_way_to_a_free_one_unless_it_was_asked_for() {
        let taken = std::net::TcpListener::bind(local(0)).unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(free(address), local(0));
        let refused = broker(Some(address)).await;
        assert!(matches!(refused, Err(BrokerError::Bind { .. })));
        // This holds whether the usual port is taken or not.
        let started = broker(None).await.unwrap();
        let other = broker(None).await.unwrap();
        assert_ne!(started.bootstrap(), other.bootstrap());
    }
}
