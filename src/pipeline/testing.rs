//! What the tests of this module share: the outputs of an instance on an embedded cluster.

use std::sync::Arc;
use std::time::Duration;

use super::outputs::{OutputTopics, Outputs};
use crate::codec::{Encoder, Framings};
use crate::kafka::Output;
use crate::kafka::producer::OutputOptions;
use crate::kafka::testing::Cluster;

pub const ANSWERS: &str = "answers";
pub const LOG: &str = "log";

pub fn outputs(cluster: &Cluster) -> Outputs {
    let output = |options: OutputOptions| Output::new(&options).unwrap();
    // Waits long enough that what comes at once is one batch.
    let answers = OutputOptions {
        linger: Duration::from_millis(300),
        ..OutputOptions::new(cluster.client("answers"))
    };
    Outputs {
        topics: Arc::new(OutputTopics {
            answers: ANSWERS.into(),
            metrics: "metrics".into(),
            invalidations: LOG.into(),
            alerts: "alerts".into(),
            dead_letters: "letters".into(),
        }),
        encoder: Arc::new(Encoder::new(Framings::default())),
        answers: output(answers),
        single: output(OutputOptions::single(cluster.client("single"))),
        log: output(OutputOptions::new(cluster.client("log"))),
        metrics: output(OutputOptions::lossy(cluster.client("metrics"))),
        dead_letter_log: Arc::default(),
    }
}
