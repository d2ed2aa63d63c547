//! A live stream on the embedded broker: the real program, a simulated season and provider.
//!
//! [`Demo::start`] starts broker, topics, instance, season and readers; a view looks at its
//! [`Watch`] as often as it likes. In reading order: `season` (the questions and changes), `play`
//! (their way into Kafka), `world` (the facts that the model answers from), `watch`, `tally`,
//! `changes` and `effect` (what is seen of it all). `sample` plays the season to a stream that runs
//! elsewhere.

mod changes;
mod effect;
mod play;
mod sample;
mod season;
mod tally;
mod watch;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::changes::Changes;
pub use self::effect::{Effect, Place, Told};
pub use self::play::Script;
use self::play::{Player, Sender};
pub use self::sample::Sampler;
pub use self::season::{Season, YOURS};
pub use self::tally::{Tally, share};
pub use self::watch::{Seen, Watch};
use self::world::LiveWorld;
use crate::ai::{self, simulator::World};
use crate::app::{App, AppError};
use crate::broker::{Broker, BrokerError, BrokerOptions, TopicError};
use crate::clock::Clock;
use crate::kafka::{KafkaError, PartitionReader};
use crate::topics;
use crate::topology::Topology;
use crate::topology::settings::Role;

/// The most closings that wait to be sent; further ones are dropped.
const MOST_CLOSINGS: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    App(#[from] AppError),
}

/// A running demo.
pub struct Demo {
    broker: Arc<Broker>,
    watch: Watch,
    metrics_url: String,
    closings: mpsc::Sender<String>,
    running: JoinHandle<Result<(), AppError>>,
    playing: JoinHandle<()>,
    readers: Vec<PartitionReader>,
    stop: CancellationToken,
}

/// Starts the embedded broker, whose address the topology needs: call this before reading that.
pub async fn broker(listen: SocketAddr) -> Result<Broker, BrokerError> {
    Broker::start(BrokerOptions {
        listen,
        max_partition_bytes: 32 << 20,
        ..BrokerOptions::default()
    })
    .await
}

/// Returns the folder of the demo's disk layer, which is removed at the end.
pub fn data_folder() -> PathBuf {
    std::env::temp_dir().join(format!("wedcache-demo-{}", std::process::id()))
}

impl Demo {
    /// Starts the stream and its season; returns when the instance is ready.
    pub async fn start(
        broker: Broker,
        topology: Topology,
        script: Script,
        stop: &CancellationToken,
    ) -> Result<Self, DemoError> {
        let watch = Watch::new();
        create_topics(&broker, &topology)?;
        let broker = Arc::new(broker);
        let world = Arc::new(live_world(&broker, &topology));
        let readers = watch.follow(&topology, &world)?;
        let sender = Sender::new(&topology)?;
        let world: Arc<dyn World> = world;
        let providers = ai::providers(&topology, &Clock::System, &world).map_err(AppError::from)?;
        let app = App::start_with(providers, topology, stop).await?;
        let metrics_url = format!("http://{}/metrics", app.address());
        let (closings, to_close) = mpsc::channel(MOST_CLOSINGS);
        let player = Player {
            script,
            sender,
            watch: watch.clone(),
            closings: to_close,
        };
        let playing = tokio::spawn(player.play(stop.clone()));
        let token = stop.clone();
        let running = tokio::spawn(async move { app.run(&token).await });
        Ok(Self {
            broker,
            watch,
            metrics_url,
            closings,
            running,
            playing,
            readers,
            stop: stop.clone(),
        })
    }

    pub fn bootstrap(&self) -> String {
        self.broker.bootstrap()
    }

    pub fn metrics_url(&self) -> &str {
        &self.metrics_url
    }

    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Closes the vendor that most answers name; the season's producer sends the change.
    pub fn close_most_named(&self) {
        let vendor = self.watch.look().changes.most_named().map(str::to_owned);
        if let Some(vendor) = vendor
            && let Err(error) = self.closings.try_send(vendor)
        {
            tracing::debug!(%error, "a closing was dropped");
        }
    }

    /// Returns true if the instance has ended by itself.
    pub fn is_over(&self) -> bool {
        self.running.is_finished()
    }

    /// Drains and stops everything; returns the error of an instance that ended badly.
    pub async fn end(self) -> Result<(), DemoError> {
        self.stop.cancel();
        if let Err(error) = self.playing.await {
            tracing::error!(%error, "the season ended badly");
        }
        let ended = match self.running.await {
            Ok(ended) => ended,
            Err(error) => Err(AppError::Fatal {
                what: "instance",
                why: error.to_string(),
            }),
        };
        let deadline = Instant::now() + Duration::from_secs(1);
        let readers = self.readers.into_iter().map(|of| of.shutdown(deadline));
        futures_util::future::join_all(readers).await;
        // A model's call that asks for the topic's ends holds the broker for a moment; the broker
        // then stops when that call drops it.
        if let Some(broker) = Arc::into_inner(self.broker) {
            broker.shutdown().await;
        }
        match ended {
            // Calls that were still under way are lost, as is all of the demo's state.
            Ok(()) | Err(AppError::NotDrained { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Creates the topology's topics. Change topics take the broker's clock, so that times measured
/// from a change do not depend on the clock of its producer.
fn create_topics(broker: &Broker, topology: &Topology) -> Result<(), TopicError> {
    let changes = [Role::VendorChanges, Role::WeddingUpdates]
        .map(|role| topology.deployment.topics.get(role));
    for mut spec in topics::specs(topology, Some(1)) {
        if changes.iter().any(|topic| *topic.name == *spec.name) {
            let (name, value) = ("message.timestamp.type", "LogAppendTime");
            spec.configs.insert(name.to_owned(), value.to_owned());
        }
        let configs: Vec<(&str, &str)> = spec
            .configs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        broker.create_topic(&spec.name, spec.partitions, &configs)?;
    }
    Ok(())
}

fn live_world(broker: &Arc<Broker>, topology: &Topology) -> LiveWorld {
    let topic = &topology.deployment.topics.vendor_changes;
    let (name, partitions) = (Arc::clone(&topic.name), i32::from(topic.partitions));
    let broker = Arc::downgrade(broker);
    let ends = move || {
        let broker = broker.upgrade()?;
        let end = |partition| broker.watermarks(&name, partition).map(|(_, end)| end);
        (0..partitions).map(end).collect()
    };
    LiveWorld::new(usize::from(topic.partitions), Box::new(ends))
}

#[cfg(test)]
mod tests;
