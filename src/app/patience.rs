//! Repeats requests to Kafka during a start, when what fails now may succeed in a moment.

use std::time::Duration;

use tokio::time::Instant;

use crate::kafka::KafkaError;
use crate::trouble::{Pace, Troubles};

/// The wait between two attempts.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Repeats a request until it succeeds, or fails with an error that no retry mends. A cluster that
/// cannot be reached is logged by its `Reach`; other errors that a retry may mend, such as leaders
/// that move, are logged here, at first and then once a minute. Cancel safe if `ask` is.
pub async fn patiently<T>(ask: impl AsyncFn() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let mut troubles = Troubles::new(Pace::default());
    loop {
        match ask().await {
            Err(error) if error.retry() => {
                if !error.is_away() && troubles.failed((), Instant::now().into_std()).is_some() {
                    tracing::warn!(%error, "Kafka cannot do what is asked; asking again every second");
                }
                tokio::time::sleep(TRY_EVERY).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;

    use super::*;

    fn away() -> KafkaError {
        KafkaError::Thread {
            name: "ask".to_owned(),
            source: io::Error::other("not yet"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_well_in_a_moment_is_asked_again() {
        let asked = Cell::new(0);
        let answer = patiently(async || {
            asked.set(asked.get() + 1);
            if asked.get() < 4 {
                Err(away())
            } else {
                Ok("there")
            }
        });
        assert_eq!(answer.await.unwrap(), "there");
        assert_eq!(asked.get(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_will_mend_is_an_error_at_once() {
        let asked = Cell::new(0);
        let answer = patiently(async || {
            asked.set(asked.get() + 1);
            Err::<(), _>(KafkaError::Reserved {
                property: "acks".to_owned(),
            })
        });
        assert!(answer.await.is_err());
        assert_eq!(asked.get(), 1);
    }
}
