//! Named points at which a proof stops the process, to kill it exactly there. Without the feature
//! `failpoints`, which nothing that is shipped has, a point is no code at all.
//!
//! With it, `FAILPOINT=fill-stored` stops the first thread that comes to that point, and
//! `FAILPOINT=fill-stored:3` the one that comes there after three others; so does everyone who
//! comes later. Who is stopped says so in the log and never goes on.
//!
//! (The crate `fail` can do more. It brings an old `rand`, which changes the features of what TLS
//! is built on, so that a build with failpoints would build half of the dependencies once more.)

/// Passes a named point.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::armed::pass($name);
    };
}
pub(crate) use failpoint;

#[cfg(feature = "failpoints")]
pub(crate) mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static ARMED: OnceLock<Armed> = OnceLock::new();

    struct Armed {
        point: String,
        /// How many pass before one is stopped.
        left: AtomicI64,
    }

    /// Arms the point that `FAILPOINT` names; once in a process.
    pub(crate) fn set_up(text: &str) -> anyhow::Result<()> {
        let (point, left) = text.split_once(':').unwrap_or((text, "0"));
        let armed = Armed {
            point: point.to_owned(),
            left: AtomicI64::new(left.parse()?),
        };
        anyhow::ensure!(ARMED.set(armed).is_ok(), "FAILPOINT was set before");
        Ok(())
    }

    pub(crate) fn pass(point: &str) {
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
