//! `wedcache sample`: asks sample questions of a running stream, and reports how they were
//! answered.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::screen::Screen;
use super::topics::unreachable;
use super::{TopologyArgs, load};
use crate::clock::Clock;
use crate::demo::{Sampler, Tally};
use crate::shutdown;
use crate::topology::Topology;
use crate::topology::settings::Provider;

/// The interval of the progress lines.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// The interval at which to look whether the last answers have come.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The longest wait for the last answers.
const ANSWER_WAIT: Duration = Duration::from_mins(1);
/// The number of questions between two changes.
const QUESTIONS_A_CHANGE: u64 = 5;

/// Ask sample questions of a running stream, and report how they were answered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache sample                            # two questions a second, for a minute
  wedcache sample --rate 20 --for 10m
  wedcache sample --changes                  # vendors and weddings change meanwhile

The questions go to the topology's query topic, the answers are read from its answers' topic: the
instances that answer (`wedcache run`) may run anywhere. A question that no cached answer fits costs
what the topology's provider costs. With --changes it also sends changes of the vendors v-1 to v-50
and the weddings w-0 to w-89, which invalidate answers: not for a stream whose couples are real.

Exit codes: 0 every question was answered · 1 one was not, or could not ask")]
pub struct Args {
    #[command(flatten)]
    topology: TopologyArgs,
    /// Questions per second.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Ask for this long, as in `10m`.
    #[arg(long = "for", default_value = "1m", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Also change vendors and weddings meanwhile.
    #[arg(long)]
    changes: bool,
    /// The seed of the random choices; the same seed asks the same questions.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

/// Runs the command; returns its exit code. Must not be called from within a tokio runtime.
pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let Some(topology) = load(&args.topology, screen)? else {
        return Ok(1);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let code = runtime.block_on(sample(&topology, args, screen));
    // A request that hangs must not hold the process.
    runtime.shutdown_background();
    code
}

async fn sample(topology: &Topology, args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let stop = shutdown::on_signal()?;
    let ids = format!("sample-{}", Clock::System.now().0);
    let mut sampler = Sampler::start(topology, &ids, args.seed)
        .await
        .map_err(|error| unreachable(topology, &error))?;
    let servers = &topology.deployment.kafka.bootstrap_servers;
    let (queries, answers) = (
        &topology.deployment.topics.queries.name,
        &topology.deployment.topics.answers.name,
    );
    writeln!(
        screen.out,
        "asking {queries} at {servers}, reading {answers}; query ids begin with {}-",
        sampler.ids()
    )?;
    for line in costs(topology) {
        writeln!(screen.out, "{line}")?;
    }
    let changes = ask(&mut sampler, args, &stop, screen).await?;
    let is_whole = await_answers(&sampler, &stop).await;
    tell(&sampler.tally(), changes, screen)?;
    if !is_whole {
        writeln!(
            screen.out,
            "some questions have no answer: does an instance run (`wedcache run`), with this Kafka?"
        )?;
    }
    sampler.stop();
    Ok(u8::from(!is_whole))
}

/// Asks until the time is up or a signal stops it; returns the number of changes sent.
async fn ask(
    sampler: &mut Sampler,
    args: &Args,
    stop: &CancellationToken,
    screen: &mut Screen<'_>,
) -> io::Result<u64> {
    let mut questions = tokio::time::interval(Duration::from_secs(1) / args.rate);
    questions.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tells = tokio::time::interval_at(tokio::time::Instant::now() + TELL_EVERY, TELL_EVERY);
    let end = tokio::time::sleep(args.duration);
    tokio::pin!(end);
    let (mut asked, mut changes) = (0_u64, 0_u64);
    loop {
        // Biased: late questions are caught up in bursts, which must delay neither the end nor the
        // progress lines.
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(changes),
            () = &mut end => return Ok(changes),
            _ = tells.tick() => tell(&sampler.tally(), changes, screen)?,
            _ = questions.tick() => {
                sampler.ask();
                asked += 1;
                if args.changes && asked.is_multiple_of(QUESTIONS_A_CHANGE) {
                    changes += sampler.change(asked / QUESTIONS_A_CHANGE);
                }
            }
        }
    }
}

/// Waits until every question is answered; returns false if the time was up or a signal came
/// before.
async fn await_answers(sampler: &Sampler, stop: &CancellationToken) -> bool {
    let deadline = Instant::now() + ANSWER_WAIT;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        let is_whole = {
            let tally = sampler.tally();
            tally.answered >= tally.asked
        };
        if is_whole || stop.is_cancelled() || Instant::now() >= deadline {
            return is_whole;
        }
        looks.tick().await;
    }
}

fn tell(tally: &Tally, changes: u64, screen: &mut Screen<'_>) -> io::Result<()> {
    let (called, cached) = (tally.called + tally.coalesced, tally.hits());
    let changes = match changes {
        0 => String::new(),
        many => format!("; {many} changes"),
    };
    writeln!(
        screen.out,
        "asked {}, answered {}: {called} by the model, {cached} from the cache, {} failed; cost ${:.4}, saved ${:.4}{changes}",
        tally.asked, tally.answered, tally.failed, tally.spent_usd, tally.saved_usd
    )?;
    screen.out.flush()
}

/// Returns one line per provider that the questions may use, with what its answers cost.
fn costs(topology: &Topology) -> Vec<String> {
    let asked = |name: &Arc<str>| {
        topology
            .policy
            .generation
            .values()
            .any(|of| of.provider == *name)
    };
    let all = topology.deployment.providers.iter();
    all.filter(|(name, _)| asked(name))
        .map(|(name, provider)| match provider {
            Provider::Simulator(_) => {
                format!("answers come from the simulated provider {name} and cost nothing")
            }
            Provider::OpenAi(_) | Provider::Anthropic(_) => format!(
                "answers that no cache has cost what {} costs (provider {name})",
                provider.model()
            ),
        })
        .collect()
}
