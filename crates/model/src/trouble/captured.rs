//! Captures the log of a test on a runtime of one thread, as an operator sees it at the default
//! level.

use parking_lot::Mutex;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock};

use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::fmt::MakeWriter;

/// A second subscriber beside the one of a test. While a process has only one, tracing caches for
/// each log statement whether the thread that reaches it first has a subscriber (`JustOne` in
/// tracing-core's `callsite.rs`): a test that captures nothing would hide the line from all others.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));

#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Captures log lines for as long as the guard lives.
    pub fn begin(level: tracing::Level) -> (Self, DefaultGuard) {
        LazyLock::force(&SECOND);
        let captured = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(captured.clone())
            .finish();
        (captured, tracing::subscriber::set_default(subscriber))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).expect("log lines are text")
    }

    pub fn lines_with(&self, words: &[&str]) -> usize {
        let has = |line: &&str| words.iter().all(|word| line.contains(word));
        self.text().lines().filter(has).count()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
