//! `wedcache topics`: compares the topology's topics with the cluster's, and creates or changes
//! them.

mod review;
mod table;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::review::{Found, Remedy, Review, State, actions, review};
use super::screen::Screen;
use super::{TopologyArgs, load};
use crate::app::client;
use crate::kafka::admin::{Admin, Apply};
use crate::kafka::replicas::replication;
use crate::kafka::{ClientOptions, KafkaError, TopicSpec};
use crate::topics;
use crate::topology::Topology;

/// The longest that a request waits for a cluster that does not answer.
pub(super) const REACH: Duration = Duration::from_secs(5);
/// The longest that a change may take until every broker reports it.
const SETTLE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Compare the topology's topics with the cluster's, or create them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache topics plan                           # what is missing or differs
  wedcache topics apply                          # creates what is missing
  wedcache topics apply --replication-factor 1   # on a single broker, for this once")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what is there, what is missing and what differs; changes nothing.
    #[command(after_help = "Example:
  WEDCACHE_KAFKA=localhost:9092 wedcache topics plan

Exit codes: 0 all is as it ought to be · 1 could not look · 2 something is missing or differs")]
    Plan(PlanArgs),
    /// Create missing topics; change existing ones only with --alter or --add-partitions.
    #[command(after_help = "Examples:
  wedcache topics apply                          # creates what is missing
  WEDCACHE_REPLICATION_FACTOR=1 wedcache topics apply      # on a single broker
  wedcache topics apply --alter                  # also sets configs that differ

It may be run again at any time: what is there stays as it is, with its records.

Exit codes: 0 every topic is there, and what was to be changed is changed · 1 it is not; also where
the invalidation log has more than one partition")]
    Apply(ApplyArgs),
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    #[command(flatten)]
    topology: TopologyArgs,
    /// The number of copies of each partition, instead of the topology's replication factors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    replication_factor: Option<u16>,
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Set topic configs that differ from the topology's.
    #[arg(long)]
    alter: bool,
    /// Add missing partitions; keys then map to other partitions than before.
    #[arg(long)]
    add_partitions: bool,
}

/// Runs the command; returns its exit code. Must not be called from within a tokio runtime.
pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let (plan, how) = match &args.command {
        Command::Plan(plan) => (plan, None),
        Command::Apply(args) => {
            let how = Apply {
                alter_configs: args.alter,
                add_partitions: args.add_partitions,
            };
            (&args.plan, Some(how))
        }
    };
    let Some(topology) = load(&plan.topology, screen)? else {
        return Ok(1);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let code = runtime.block_on(carry_out(&topology, plan.replication_factor, how, screen));
    // A request that hangs must not hold the process.
    runtime.shutdown_background();
    code
}

async fn carry_out(
    topology: &Topology,
    replication_factor: Option<u16>,
    how: Option<Apply>,
    screen: &mut Screen<'_>,
) -> anyhow::Result<u8> {
    let client = client(&topology.deployment.kafka).named("topics");
    let cluster = Cluster {
        admin: Admin::new(&client, REACH)?,
        client,
        specs: topics::specs(topology, replication_factor),
        log: topology.deployment.topics.invalidations.name.to_string(),
    };
    let found = cluster.look().await;
    let found = found.map_err(|error| unreachable(topology, &error))?;
    let servers = &topology.deployment.kafka.bootstrap_servers;
    writeln!(screen.out, "Kafka at {servers}\n")?;
    let before = review(&cluster.specs, &found, &cluster.log);
    let Some(how) = how else {
        table::planned(&before, screen)?;
        return Ok(tell_plan(&before, screen)?);
    };
    let done = cluster
        .admin
        .apply(&actions(&cluster.specs, &found), how)
        .await;
    done.map_err(refused)?;
    let after = cluster.settled(how).await?;
    table::applied(&before, &after, screen)?;
    tell_applied(&after, how, screen)
}

/// A cluster, and the topics that it should have.
struct Cluster {
    admin: Admin,
    client: ClientOptions,
    specs: Vec<TopicSpec>,
    log: String,
}

impl Cluster {
    async fn look(&self) -> Result<Found, KafkaError> {
        let names: Vec<&str> = self.specs.iter().map(|spec| spec.name.as_str()).collect();
        let topics = self.admin.describe(&names).await?;
        let copies = if topics.is_empty() {
            std::collections::BTreeMap::new()
        } else {
            let client = self.client.clone();
            let asked = tokio::task::spawn_blocking(move || replication(&client, REACH)).await;
            asked.map_err(|error| KafkaError::Thread {
                name: "ask for the copies of topics".to_owned(),
                source: std::io::Error::other(error),
            })??
        };
        Ok(Found { topics, copies })
    }

    /// Looks until everything that was to be done is visible, but at most for [`SETTLE`].
    async fn settled(&self, how: Apply) -> anyhow::Result<Vec<Review>> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let found = self.look().await?;
            let reviews = review(&self.specs, &found, &self.log);
            if !reviews.iter().any(|review| is_owed(review, how)) || Instant::now() >= deadline {
                return Ok(reviews);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Returns true if the apply should have removed a difference that is still there.
fn is_owed(review: &Review, how: Apply) -> bool {
    match &review.state {
        State::Ok => false,
        State::Missing => true,
        State::Differs(differences) => differences.iter().any(|open| match open.remedy {
            Remedy::Alter => how.alter_configs,
            Remedy::AddPartitions => how.add_partitions,
            Remedy::Reassign | Remedy::Recreate => false,
        }),
    }
}

fn tell_plan(reviews: &[Review], screen: &mut Screen<'_>) -> std::io::Result<u8> {
    let (missing, differ) = counts(reviews);
    if missing + differ == 0 {
        writeln!(screen.out, "\nnothing to do")?;
        return Ok(0);
    }
    writeln!(screen.out, "\n{missing} missing, {differ} different")?;
    if missing > 0 {
        writeln!(
            screen.out,
            "`wedcache topics apply` creates the missing ones"
        )?;
    }
    Ok(2)
}

fn tell_applied(after: &[Review], how: Apply, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let owed = after.iter().filter(|review| is_owed(review, how)).count();
    if owed > 0 {
        let secs = SETTLE.as_secs();
        anyhow::bail!(
            "{owed} of the topics are not as they were to be after {secs} s; look again with `wedcache topics plan`"
        );
    }
    let (_, differ) = counts(after);
    let all = after.len();
    if differ == 0 {
        writeln!(
            screen.out,
            "\nall {all} topics are there, as they ought to be"
        )?;
        return Ok(0);
    }
    writeln!(
        screen.out,
        "\nall {all} topics are there; {differ} left different"
    )?;
    let unusable = after.iter().any(|review| {
        matches!(&review.state, State::Differs(open)
            if open.iter().any(|open| open.remedy == Remedy::Recreate))
    });
    Ok(u8::from(unusable))
}

/// Returns the number of missing topics and the number of different ones.
fn counts(reviews: &[Review]) -> (usize, usize) {
    let count = |of: fn(&State) -> bool| reviews.iter().filter(|review| of(&review.state)).count();
    (
        count(|state| *state == State::Missing),
        count(|state| matches!(state, State::Differs(_))),
    )
}

/// Returns the error where the first request failed, with advice.
pub(super) fn unreachable(topology: &Topology, error: &KafkaError) -> anyhow::Error {
    let servers = &topology.deployment.kafka.bootstrap_servers;
    anyhow::anyhow!(
        "Kafka at {servers} cannot be reached: {error}\n  the address is `kafka.bootstrap_servers` \
         of the topology; the environment variable WEDCACHE_KAFKA sets it"
    )
}

fn refused(error: KafkaError) -> anyhow::Error {
    let fewer = error.wants_fewer_copies();
    let error = anyhow::Error::from(error);
    if fewer {
        return error.context(
            "the cluster has fewer brokers than copies were asked for; on a single broker: \
             `topics.replication_factor: 1`, or --replication-factor 1",
        );
    }
    error
}
