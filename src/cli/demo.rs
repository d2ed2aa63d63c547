//! `wedcache demo`: see it live, with nothing installed.

mod panel;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::{DefaultTerminal, TerminalOptions, Viewport};
use tokio_util::sync::CancellationToken;

use self::panel::Frame;
use super::screen::Screen;
use super::{environment, load_text};
use crate::demo::{self, Demo, Season};
use crate::shutdown;

/// See a wedding season live: embedded broker, simulated provider, nothing else needed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache demo                  # until q or Ctrl-C
  wedcache demo --for 30s        # ends by itself with a summary
  wedcache demo --plain | tee demo.log")]
pub struct Args {
    /// End after this time.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// A line a second instead of the panel.
    #[arg(long)]
    plain: bool,
    /// Questions a second.
    #[arg(long, default_value_t = 200, value_name = "N")]
    rate: u32,
    /// The season's dice.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Where /metrics, /livez and /readyz are.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
}

const TOPOLOGY: &str = include_str!("../../topologies/demo.yaml");
const EVERY: Duration = Duration::from_secs(1);
const KEYS_EVERY: Duration = Duration::from_millis(50);

impl Args {
    /// Whether the panel is shown, so that logs must keep off the screen.
    pub fn has_panel(&self) -> bool {
        !self.plain && std::io::stdout().is_terminal()
    }
}

pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let data = demo::data_folder();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(show(args, screen));
    runtime.shutdown_timeout(Duration::from_secs(1));
    if data.exists()
        && let Err(error) = std::fs::remove_dir_all(&data)
    {
        tracing::warn!(folder = %data.display(), %error, "the demo's folder could not be removed");
    }
    code
}

async fn show(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let began = Instant::now();
    let stop = shutdown::on_signal()?;
    let broker = demo::broker().await?;
    let (bootstrap, data) = (broker.bootstrap(), demo::data_folder());
    let variables = |name: &str| match name {
        "WEDCACHE_KAFKA" => Some(bootstrap.clone()),
        "WEDCACHE_DATA" => Some(data.display().to_string()),
        "WEDCACHE_LISTEN" => Some(args.listen.to_string()),
        _ => environment(name),
    };
    let Some(topology) = load_text("demo.yaml", TOPOLOGY, &variables, screen)? else {
        return Ok(1);
    };
    let season = Season::new(args.seed);
    let demo = Demo::start(broker, topology, season, args.rate, &stop).await?;
    introduce(&demo, screen)?;
    let until = args.duration.map(|duration| began + duration);
    if args.has_panel() {
        watch_panel(&demo, until, &stop).await?;
    } else {
        watch_plain(&demo, until, &stop, screen).await?;
    }
    let tally = demo.end().await?;
    let elapsed = began.elapsed();
    writeln!(screen.out)?;
    for line in panel::summary(&tally, elapsed) {
        writeln!(screen.out, "{line}")?;
    }
    Ok(0)
}

fn introduce(demo: &Demo, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let (kafka, metrics) = (demo.bootstrap(), demo.metrics_url());
    writeln!(
        screen.out,
        "wedcache demo: the real program on an embedded broker; the AI provider is simulated.

  Kafka    {kafka}
  metrics  {metrics}

Try next, in another terminal:
  1. watch the answers:    kcat -b {kafka} -C -t wedsync.ai.responses -o end
  2. close a florist, and see its answers go:
       echo 'v-3:{{\"eventId\":\"e-1\",\"vendorId\":\"v-3\",\"vendorType\":\"florist\",\"change\":\"closed\"}}' \\
         | kcat -b {kafka} -P -t wedsync.vendor.changes -K:
  3. read the metrics:     curl -s {metrics} | grep wedcache_queries_total
"
    )?;
    screen.out.flush()
}

async fn watch_plain(
    demo: &Demo,
    until: Option<Instant>,
    stop: &CancellationToken,
    screen: &mut Screen<'_>,
) -> anyhow::Result<()> {
    let (mut ticks, mut frame) = (tokio::time::interval(EVERY), Frame::default());
    ticks.tick().await;
    while !stop.is_cancelled() && !demo.is_over() && !is_past(until) {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => break,
            () = past(until) => break,
        }
        frame.take(&demo.look());
        writeln!(screen.out, "{}", frame.line())?;
        screen.out.flush()?;
    }
    Ok(())
}

async fn watch_panel(
    demo: &Demo,
    until: Option<Instant>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let viewport = Viewport::Inline(panel::HEIGHT);
    let mut terminal = ratatui::try_init_with_options(TerminalOptions { viewport })?;
    let shown = draw_until(demo, until, stop, &mut terminal).await;
    // What is printed next belongs below the panel.
    let below = terminal.get_frame().area().bottom().saturating_sub(1);
    terminal.set_cursor_position((0, below))?;
    ratatui::try_restore()?;
    shown
}

async fn draw_until(
    demo: &Demo,
    until: Option<Instant>,
    stop: &CancellationToken,
    terminal: &mut DefaultTerminal,
) -> anyhow::Result<()> {
    let (mut keys, mut frame) = (tokio::time::interval(KEYS_EVERY), Frame::default());
    let mut drawn: Option<Instant> = None;
    while !stop.is_cancelled() && !demo.is_over() && !is_past(until) {
        if drawn.is_none_or(|at| at.elapsed() >= EVERY) {
            drawn = Some(Instant::now());
            frame.take(&demo.look());
            terminal.draw(|area| panel::draw(&frame, until, area))?;
        }
        keys.tick().await;
        while event::poll(Duration::ZERO)? {
            if asks_to_end(&event::read()?) {
                stop.cancel();
            }
        }
    }
    Ok(())
}

fn asks_to_end(event: &Event) -> bool {
    event.as_key_press_event().is_some_and(|key| {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
            || (control && key.code == KeyCode::Char('c'))
    })
}

fn is_past(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}

async fn past(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
