//! `wedcache bench`: the hit path from Kafka to Kafka, beside a bare librdkafka loop.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::screen::Screen;
use super::{environment, load_text};
use crate::app::{App, client};
use crate::demo::{Season, broker};
use crate::kafka::admin::{Admin, Apply};
use crate::kafka::bare::{Bare, BareOptions};
use crate::kafka::producer::OutputOptions;
use crate::kafka::{Delivery, OutRecord, Output, PartitionReader, ReaderEvent, ReaderOptions};
use crate::topics;
use crate::topology::Topology;

/// Measure hits from Kafka to Kafka beside a bare consume-and-produce loop of the same bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache bench --kafka localhost:9092            # a broker of its own: the honest figure
  wedcache bench --poll-threads 2 --format avro --kafka localhost:9092
  wedcache bench                                   # on the embedded broker, in this process

Both sides consume the same queries and produce two records for each; rates are of queries, between
the first answer and the last. Quote ratios: machines differ, and are shared.")]
pub struct Args {
    /// Queries to be answered.
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    records: u64,
    /// Different questions among them.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    keys: usize,
    #[arg(long, default_value_t = 1, value_name = "N")]
    poll_threads: usize,
    /// Of answers and metrics.
    #[arg(long, default_value = "json", value_parser = ["json", "avro"])]
    format: String,
    /// Bootstrap servers; without it the embedded broker, whose work counts on both sides.
    #[arg(long, value_name = "ADDRESS")]
    kafka: Option<String>,
}

const TOPOLOGY: &str = include_str!("../../topologies/demo.yaml");
const TIMEOUT: Duration = Duration::from_secs(10);
/// No progress for so long is a failure.
const PATIENCE: Duration = Duration::from_mins(1);

/// One side's figures.
struct Figures {
    rate: f64,
    cpu_secs_per_million: f64,
}

pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(args, screen))
}

async fn measure(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let embedded = match &args.kafka {
        None => Some(broker().await?),
        Some(_) => None,
    };
    let bootstrap = match (&args.kafka, &embedded) {
        (Some(kafka), _) => kafka.clone(),
        (None, Some(broker)) => broker.bootstrap(),
        (None, None) => unreachable!("one of them is there"),
    };
    let data = std::env::temp_dir().join(format!("wedcache-bench-{}", std::process::id()));
    let variables = |name: &str| match name {
        "WEDCACHE_KAFKA" => Some(bootstrap.clone()),
        "WEDCACHE_DATA" => Some(data.display().to_string()),
        "WEDCACHE_LISTEN" => Some("127.0.0.1:0".to_owned()),
        _ => environment(name),
    };
    let Some(topology) = load_text("bench", &topology_text(args), &variables, screen)? else {
        return Ok(1);
    };
    let admin = Admin::new(&client(&topology.kafka).named("bench-admin"), TIMEOUT)?;
    let actions = admin.plan(&topics::specs(&topology, Some(1))).await?;
    admin.apply(&actions, Apply::default()).await?;

    let queries = questions(args.keys);
    let warm = args.keys as u64;
    produce(&topology, &queries, warm)?;
    let (_, stopped) = answered(&topology, &admin, 0, warm).await?;
    stopped?;
    produce(&topology, &queries, args.records)?;
    let (ours, stopped) = answered(&topology, &admin, warm, args.records).await?;
    stopped?;
    let bytes = [
        last_value(&topology, &admin, &topology.topics.answers.name).await?,
        last_value(&topology, &admin, &topology.topics.metrics.name).await?,
    ];
    let sizes = [bytes[0].len(), bytes[1].len()];
    let bare = bare(&topology, bytes, warm, args.records).await?;
    if let Some(broker) = embedded {
        broker.shutdown().await;
        writeln!(
            screen.out,
            "The embedded broker ran in this process: its CPU counts on both sides."
        )?;
    }
    std::fs::remove_dir_all(&data).context("removing the bench's folder")?;
    writeln!(
        screen.out,
        "{} hits, {} keys, {} poll thread(s), {}; answer {} B, metric {} B\n\
         {:<10} {:>12} {:>18}\n\
         {:<10} {:>10.0}/s {:>18.1}\n\
         {:<10} {:>10.0}/s {:>18.1}\n\
         {:<10} {:>12.2} {:>18.2}",
        args.records,
        args.keys,
        args.poll_threads,
        args.format,
        sizes[0],
        sizes[1],
        "",
        "queries",
        "CPU s per million",
        "wedcache",
        ours.rate,
        ours.cpu_secs_per_million,
        "bare loop",
        bare.rate,
        bare.cpu_secs_per_million,
        "ratio",
        ours.rate / bare.rate,
        ours.cpu_secs_per_million / bare.cpu_secs_per_million,
    )?;
    Ok(0)
}

/// The demo's topology with topics and groups of its own, a quick provider and long lives.
fn topology_text(args: &Args) -> String {
    let run = format!("bench-{}-{}.", std::process::id(), fastrand::u16(..));
    let mut text = TOPOLOGY
        .replace("wedsync.", &format!("{run}wedsync."))
        .replace(
            "poll_threads: 1",
            &format!("poll_threads: {}", args.poll_threads),
        )
        .replace(
            "in_flight: {records: 1024, bytes: 16MiB}",
            "in_flight: {records: 8192, bytes: 64MiB}",
        )
        .replace(
            "errors: {rate_limited: 0.01, server_error: 0.01}",
            "errors: {rate_limited: 0, server_error: 0}",
        )
        .replace(
            "latency: {min: 120ms, max: 600ms}",
            "latency: {min: 1ms, max: 1ms}",
        );
    if args.format == "avro" {
        text = text.replace("format: json", "format: avro");
    }
    text
}

/// Different questions of shared types, as record values.
fn questions(keys: usize) -> Vec<String> {
    let mut season = Season::new(1);
    (0..keys)
        .map(|number| {
            let (_, mut query) = season.query();
            query["query"]["content"] = format!("Question {number}: which florist fits?").into();
            query["query"]["type"] = "vendor_matching".into();
            query.to_string()
        })
        .collect()
}

fn produce(topology: &Topology, queries: &[String], count: u64) -> anyhow::Result<()> {
    let output = Output::new(&OutputOptions::new(client(&topology.kafka).named("bench")))?;
    for (number, query) in (0..count).zip(queries.iter().cycle()) {
        let key = number.to_string();
        let record = OutRecord::to(
            &topology.topics.queries.name,
            Some(key.as_bytes()),
            Some(query.as_bytes()),
        );
        output.send_or_wait(&record, Delivery::Forget, PATIENCE)?;
    }
    anyhow::ensure!(
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(output.flush(PATIENCE))
        }),
        "the queries were not delivered in time"
    );
    Ok(())
}

/// Runs an instance until it has answered `count` queries after the first `before` ones.
async fn answered(
    topology: &Topology,
    admin: &Admin,
    before: u64,
    count: u64,
) -> anyhow::Result<(Figures, anyhow::Result<()>)> {
    let stop = CancellationToken::new();
    let app = App::start(topology.clone(), &stop).await?;
    let token = stop.clone();
    let running = tokio::spawn(async move { app.run(&token).await });
    let topic = &topology.topics.answers.name;
    let figures = watch(count, async || {
        let ends = admin.ends(topic).await?;
        let end: i64 = ends.iter().map(|(_, end)| *end).sum();
        Ok(u64::try_from(end).unwrap_or(0).saturating_sub(before))
    })
    .await?;
    stop.cancel();
    let stopped = running.await?.map_err(anyhow::Error::from);
    Ok((figures, stopped))
}

async fn bare(
    topology: &Topology,
    bytes: [Vec<u8>; 2],
    before: u64,
    count: u64,
) -> anyhow::Result<Figures> {
    let [answer, metric] = bytes;
    let loop_ = Bare::spawn(BareOptions {
        client: client(&topology.kafka).named("bare"),
        group: format!("bare-{}", topology.topics.queries.name),
        input: topology.topics.queries.name.to_string(),
        outputs: [
            (topology.topics.answers.name.to_string(), answer),
            (topology.topics.metrics.name.to_string(), metric),
        ],
    })?;
    let figures = watch(count, async || {
        Ok(loop_.passed().saturating_sub(before.min(loop_.passed())))
    })
    .await?;
    anyhow::ensure!(loop_.end(), "the bare loop panicked");
    Ok(figures)
}

/// Times from the first of `count` to the last.
async fn watch(count: u64, done: impl AsyncFn() -> anyhow::Result<u64>) -> anyhow::Result<Figures> {
    let (mut first, mut last_news) = (None, Instant::now());
    let mut seen = 0;
    loop {
        let now = done().await?;
        if now > seen {
            (seen, last_news) = (now, Instant::now());
        }
        if now > 0 && first.is_none() {
            first = Some((now, Instant::now(), cpu_secs()?));
        }
        if now >= count {
            break;
        }
        anyhow::ensure!(
            last_news.elapsed() < PATIENCE,
            "{seen} of {count} and no further"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (skipped, began, cpu) = first.unwrap_or((0, Instant::now(), cpu_secs()?));
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench")]
    let counted = (count - skipped.min(count)).max(1) as f64;
    Ok(Figures {
        rate: counted / began.elapsed().as_secs_f64().max(1e-9),
        cpu_secs_per_million: (cpu_secs()? - cpu) / counted * 1e6,
    })
}

/// User and system time of this process, from `/proc/self/stat` (proc(5), fields 14 and 15, in
/// ticks of 1/100 s).
fn cpu_secs() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks / 100.0)
}

/// The last value of a topic's fullest partition, a hit's: the bytes that the bare loop produces.
async fn last_value(topology: &Topology, admin: &Admin, topic: &str) -> anyhow::Result<Vec<u8>> {
    let ends = admin.ends(topic).await?;
    let fullest = (0..).zip(ends).max_by_key(|(_, (start, end))| end - start);
    let (partition, _) = fullest.context("the topic has no partition")?;
    let (sender, values) = mpsc::sync_channel(1024);
    let options = ReaderOptions {
        partition,
        ..ReaderOptions::new(client(&topology.kafka).named("bench-reader"), topic)
    };
    let reader = PartitionReader::spawn(options, move |events: Vec<ReaderEvent>| {
        let last = events.iter().rev().find_map(|event| match event {
            ReaderEvent::Record(record) => record.value.clone(),
            _ => None,
        });
        let caught_up = events
            .iter()
            .any(|event| matches!(event, ReaderEvent::CaughtUp { .. }));
        if sender.send((last, caught_up)).is_err() {
            tracing::trace!("the value is read");
        }
    })?;
    let mut found = None;
    loop {
        let (last, caught_up) = values.recv_timeout(PATIENCE)?;
        found = last.or(found);
        if caught_up {
            drop(reader);
            return found.context("the topic is empty");
        }
    }
}
