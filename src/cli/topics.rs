//! `wedcache topics`: what the topology needs beside what the cluster has.

use std::time::Duration;

use super::screen::Screen;
use super::{TopologyArgs, load};
use crate::app::client;
use crate::kafka::admin::{Admin, Apply, TopicAction};
use crate::topics;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Compare the topology's topics with the cluster's, or create them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what `apply` would do; exit code 2 where something is missing or differs.
    #[command(after_help = "Example:
  WEDCACHE_KAFKA=localhost:9092 wedcache topics plan")]
    Plan(PlanArgs),
    /// Create missing topics; change existing ones only where told to.
    #[command(after_help = "Examples:
  wedcache topics apply                          # creates what is missing
  wedcache topics apply --replication-factor 1   # on a single broker
  wedcache topics apply --alter                  # also sets configs that differ")]
    Apply(ApplyArgs),
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    #[command(flatten)]
    topology: TopologyArgs,
    /// Instead of the topology's factors.
    #[arg(long, value_name = "N")]
    replication_factor: Option<u16>,
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Set configs that differ.
    #[arg(long)]
    alter: bool,
    /// Add partitions that are missing; keys then fall into other ones than before.
    #[arg(long)]
    add_partitions: bool,
}

pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let (plan, apply) = match &args.command {
        Command::Plan(plan) => (plan, None),
        Command::Apply(args) => {
            let how = Apply {
                alter_configs: args.alter,
                add_partitions: args.add_partitions,
            };
            (&args.plan, Some(how))
        }
    };
    let Some(topology) = load(&plan.topology.topology, screen)? else {
        return Ok(1);
    };
    let desired = topics::specs(&topology, plan.replication_factor);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let found = runtime.block_on(async {
        let admin = Admin::new(&client(&topology.kafka).named("topics"), TIMEOUT)?;
        let actions = admin.plan(&desired).await?;
        if let Some(how) = apply {
            admin.apply(&actions, how).await?;
        }
        Ok::<_, crate::kafka::KafkaError>(actions)
    });
    let servers = &topology.kafka.bootstrap_servers;
    let actions = found.map_err(|error| {
        anyhow::anyhow!("{error} (Kafka at {servers}; WEDCACHE_KAFKA sets the address)")
    })?;
    show(&actions, apply, screen)
}

fn show(
    actions: &[TopicAction],
    apply: Option<Apply>,
    screen: &mut Screen<'_>,
) -> anyhow::Result<u8> {
    let mut open = 0;
    for action in actions {
        let line = match action {
            TopicAction::Ok { topic } => format!("ok       {topic}"),
            TopicAction::Create(spec) => {
                open += u32::from(apply.is_none());
                let verb = if apply.is_some() {
                    "created "
                } else {
                    "missing "
                };
                format!(
                    "{verb} {} ({} partitions, replication {})",
                    spec.name, spec.partitions, spec.replication
                )
            }
            TopicAction::Differs {
                topic,
                config,
                is,
                wanted,
            } => {
                let set = apply.is_some_and(|how| how.alter_configs);
                open += u32::from(!set);
                let is = is.as_deref().unwrap_or("nothing");
                if set {
                    format!("set      {topic}: {config} = {wanted} (was {is})")
                } else {
                    format!("differs  {topic}: {config} is {is}, wanted {wanted} (--alter sets it)")
                }
            }
            TopicAction::TooFewPartitions { topic, is, wanted } => {
                let added = apply.is_some_and(|how| how.add_partitions);
                open += u32::from(!added);
                if added {
                    format!("added    {topic}: {wanted} partitions (had {is})")
                } else {
                    format!("differs  {topic}: {is} partitions, wanted {wanted} (--add-partitions)")
                }
            }
        };
        writeln!(screen.out, "{line}")?;
    }
    Ok(if apply.is_none() && open > 0 { 2 } else { 0 })
}
