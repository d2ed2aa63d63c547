//! The condition on which a partition may go with work in flight on it.

use std::sync::Arc;

/// The condition on which a partition may go with work in flight on it, because its next owner
/// takes that over at no cost. Evaluated at intervals while a revocation waits; must not block.
#[derive(Clone)]
pub struct HandOver(Arc<dyn Fn() -> bool + Send + Sync>);

impl HandOver {
    /// Returns a condition that holds when `may` returns true.
    pub fn when(may: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(may))
    }

    pub(super) fn may(&self) -> bool {
        (self.0)()
    }

    /// Returns the condition that never holds: everything in flight is waited for.
    pub fn never() -> Self {
        Self::when(|| false)
    }
}

impl std::fmt::Debug for HandOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandOver")
    }
}
