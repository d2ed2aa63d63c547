//! Named points at which a test stops the process, to kill it exactly there. Without the feature
//! `failpoints`, which no shipped build has, a point is no code at all.
//!
//! With the feature, `FAILPOINT=fill-stored` stops the first thread that comes to that point;
//! `FAILPOINT=fill-stored:3` lets three pass and stops the fourth. All that come later are stopped
//! too. A stopped thread logs a warning and never goes on.
//!
//! (The crate `fail` can do more, but depends on an old `rand`, which changes the features of what
//! TLS is built on: a build with failpoints would build half of the dependencies again.)

/// Passes a named point.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pass(_point: &str) {}

#[cfg(feature = "failpoints")]
pub use armed::{pass, set_up};

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static ARMED: OnceLock<Armed> = OnceLock::new();

    struct Armed {
        point: String,
        /// The number of passes before a thread is stopped.
        left: AtomicI64,
    }

    /// Arms the point that `FAILPOINT` names; may be called once per process.
    pub fn set_up(text: &str) -> Result<(), String> {
        let (point, left) = text.split_once(':').unwrap_or((text, "0"));
        let armed = Armed {
            point: point.to_owned(),
            left: AtomicI64::new(
                left.parse()
                    .map_err(|error| format!("FAILPOINT: {error}"))?,
            ),
        };
        ARMED
            .set(armed)
            .map_err(|_| "FAILPOINT was set before".to_owned())
    }

    /// Passes a named point; stops the thread there if it is armed.
    pub fn pass(point: &str) {
        let Some(armed) = ARMED.get().filter(|armed| armed.point == point) else {
            return;
        };
        if armed.left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            tracing::warn!(point, "stopped at a failpoint");
            loop {
                std::thread::park();
            }
        }
    }
}
