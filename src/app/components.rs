//! Reports the state of the components to the health that `/readyz` shows.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::App;
use super::standstills::Standing;
use crate::health::{Component, Health};
use crate::kafka::Reach;
use crate::resolver::LagState;
use crate::stages::follower::LogStatus;
use crate::topology::Topology;
use crate::topology::settings::{Kafka, Role};

/// The interval at which to look whether Kafka can be reached.
const EVERY: Duration = Duration::from_millis(500);
const NOT_WANTED: &str = "not in the topology";

/// A watch that reports whether Kafka can be reached, from the first moment of a start to the end
/// of the drain.
pub(super) struct KafkaWatch {
    reach: Arc<Reach>,
    health: Arc<Health>,
    standing: Arc<Standing>,
}

impl KafkaWatch {
    pub(super) fn new(kafka: &Kafka, health: &Arc<Health>, standing: &Arc<Standing>) -> Self {
        let reach = Reach::of(&kafka.bootstrap_servers);
        let setting = match kafka.bootstrap_variables.join(", ") {
            none if none.is_empty() => "kafka.bootstrap_servers".to_owned(),
            variables => format!("kafka.bootstrap_servers ({variables})"),
        };
        reach.set_by(&setting);
        Self {
            reach,
            health: Arc::clone(health),
            standing: Arc::clone(standing),
        }
    }

    pub(super) async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.look(),
            }
        }
    }

    fn look(&self) {
        self.reach.settle();
        let kafka = Component::Kafka;
        match self.reach.trouble() {
            Some(of) if of.down => self.health.down(kafka, Some(of.since), &of.detail),
            Some(of) => self.health.degraded(kafka, Some(of.since), &of.detail),
            None if self.reach.has_answered() => match self.standing.now() {
                None => self.health.ok(kafka),
                Some((since, why)) => self.health.degraded(kafka, Some(since), &why),
            },
            None => {}
        }
    }
}

impl App {
    /// Updates the health of all components but Kafka and the providers, which have watches of
    /// their own.
    pub(super) fn observe(&self) {
        let health = &*self.health;
        log(health, &self.topology, &self.log_status.borrow());
        match self.rules.stalled() {
            None => health.ok(Component::Rules),
            Some(stalled) => {
                let since = self.clock.now().minus(stalled.since.elapsed());
                let why = format!("the log refuses what is to be appended: {}", stalled.why);
                health.degraded(Component::Rules, Some(since), &why);
            }
        }
        self.observe_layers();
        let lag = Component::Lag;
        match self.resolver.parts().lag.get() {
            LagState::Current => health.ok(lag),
            LagState::Label(why) => {
                let why = format!(
                    "answers from the cache are labelled stale: {}",
                    why.as_str()
                );
                health.degraded(lag, None, &why);
            }
            LagState::Bypass(why) => {
                let why = format!("the provider is asked past the cache: {}", why.as_str());
                health.degraded(lag, None, &why);
            }
        }
    }

    fn observe_layers(&self) {
        let (health, wanted) = (&*self.health, &self.topology.deployment.layers);
        let stats = self.resolver.parts().layers.stats();
        // A wanted layer that did not open keeps the state that it got at the start.
        let layer = |component, is_wanted: bool, stats: Option<Option<_>>| match stats {
            Some(trouble) => health.trouble(component, trouble),
            None if is_wanted => {}
            None => health.ok_since(component, NOT_WANTED),
        };
        let memory = stats.memory.map(|_| None);
        layer(Component::Memory, wanted.memory.is_some(), memory);
        let disk = stats.disk.as_ref().map(|of| of.trouble.as_ref());
        layer(Component::Disk, wanted.disk.is_some(), disk);
        let redis = stats.redis.as_ref().map(|of| of.trouble.as_ref());
        layer(Component::Redis, wanted.redis.is_some(), redis);
    }
}

fn log(health: &Health, topology: &Topology, status: &LogStatus) {
    let name = &topology.deployment.topics.get(Role::Invalidations).name;
    if status.gone {
        let why = format!("topic {name} does not exist; `wedcache topics apply` creates it");
        health.down(Component::Log, None, &why);
    } else if status.caught_up {
        health.ok(Component::Log);
    } else {
        let why = format!("{name} is being read to its end");
        health.down(Component::Log, None, &why);
    }
}
