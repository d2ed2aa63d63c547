//! Whether an entry may serve a query: by the log first, then by its times and the query's wish.

use super::ask::Ask;
use super::lag::LagState;
use crate::invalidation::{TagTable, Verdict};
use crate::model::entry::Header;
use crate::model::{StaleReason, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// As of the view.
    Fresh,
    /// At once, labelled; where the reason is a refresh, one flight refills it.
    Stale(StaleReason),
    /// Only where the provider cannot be had.
    IfError(StaleReason),
    /// Never for this query.
    Never,
    /// Never again for anybody.
    Dead,
}

impl Use {
    /// Whether it is served without asking the provider first.
    pub fn serves(self) -> bool {
        matches!(self, Self::Fresh | Self::Stale(_))
    }

    /// Whether it is served and no call refills it.
    pub fn needs_no_call(self) -> bool {
        self.serves() && self != Self::Stale(StaleReason::Refreshed)
    }
}

/// Judges `header` for `ask`. The view of the judgement is a position read before the call.
#[inline]
pub fn usable<S>(
    table: &TagTable,
    lag: LagState,
    header: &Header,
    ask: &Ask<S>,
    now: Timestamp,
) -> Use {
    if ask
        .oldest_call()
        .is_some_and(|oldest| header.called_at < oldest)
    {
        return Use::Never;
    }
    let cache_type = &ask.prepared.cache_type;
    let expired = now >= header.expires_at;
    let on_error = || now < header.expires_at.plus(cache_type.stale_if_error);
    match table.judge(header, &ask.asker) {
        Verdict::Void | Verdict::Purged => Use::Dead,
        Verdict::Valid if !expired => match lag {
            LagState::Current => Use::Fresh,
            LagState::Label(reason) => Use::Stale(reason),
            LagState::Bypass(reason) => Use::IfError(reason),
        },
        Verdict::Refreshed { at } if !expired && now < at.plus(cache_type.stale_window) => {
            match lag {
                LagState::Bypass(reason) => Use::IfError(reason),
                _ => Use::Stale(StaleReason::Refreshed),
            }
        }
        Verdict::Valid if on_error() => Use::IfError(StaleReason::Expired),
        Verdict::Refreshed { .. } if on_error() => Use::IfError(StaleReason::Refreshed),
        Verdict::Valid | Verdict::Refreshed { .. } => Use::Never,
    }
}
