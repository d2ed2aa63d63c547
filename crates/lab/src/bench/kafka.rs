//! The Kafka that is measured on: a given one, or the embedded broker in a process of its own, so
//! that its processor time and memory are not counted as the contestants'.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;

use super::child::{self, Child, Job};
use super::{Bench, BenchError};
use wedcache::broker::{Broker, BrokerOptions};

/// A size so large that the embedded broker drops no queries before the last round.
const PARTITION_BYTES: usize = 512 << 20;
const STOP_WAIT: Duration = Duration::from_secs(1);

/// The Kafka to measure on.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Against {
    /// A Kafka to measure on, as host:port; by default the embedded broker.
    #[arg(long, value_name = "ADDR")]
    pub kafka: Option<String>,
}

/// A running Kafka.
pub(super) struct Kafka {
    pub(super) bootstrap: String,
    pub(super) is_embedded: bool,
    /// The broker's process, which is killed when this is dropped.
    _broker: Option<Child>,
}

impl Kafka {
    pub(super) fn start(against: &Against, bench: &Bench) -> Result<Self, BenchError> {
        if let Some(address) = &against.kafka {
            return Ok(Self {
                bootstrap: address.clone(),
                is_embedded: false,
                _broker: None,
            });
        }
        let mut broker = Child::start(&bench.program, &Job::Broker)?;
        let Listening { bootstrap } = broker.hear()?;
        Ok(Self {
            bootstrap,
            is_embedded: true,
            _broker: Some(broker),
        })
    }
}

/// The broker process's message when it is listening.
#[derive(Debug, Serialize, Deserialize)]
struct Listening {
    bootstrap: String,
}

/// Runs the broker in this process until the parent ends it.
pub(super) fn be_broker() -> Result<(), BenchError> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let broker = runtime.block_on(Broker::start(BrokerOptions {
        max_partition_bytes: PARTITION_BYTES,
        ..BrokerOptions::default()
    }))?;
    child::say(&Listening {
        bootstrap: broker.bootstrap(),
    })?;
    child::parent_gone();
    drop(broker);
    runtime.shutdown_timeout(STOP_WAIT);
    Ok(())
}
