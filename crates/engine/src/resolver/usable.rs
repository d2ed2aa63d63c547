//! The verdict on an entry for one query: by the log first, then by the entry's times and the
//! query's wish.

use wedcache_model::entry::Header;
use wedcache_model::{StaleReason, Timestamp};
use wedcache_rules::invalidation::{TagTable, Validity};

use super::ask::Ask;
use super::lag::LagState;

/// The use that one query can make of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Served as valid at the view.
    Fresh,
    /// Served at once and labelled; if the reason is a refresh, one flight refills the entry.
    Stale(StaleReason),
    /// Served, labelled, only if the provider is away.
    IfError(StaleReason),
    /// Never served for this query.
    Never,
    /// Never served again to this query's couple; to nobody if its own tags are purged.
    Dead,
}

impl Use {
    /// Returns true if the entry is served without asking the provider first.
    pub fn serves(self) -> bool {
        matches!(self, Self::Fresh | Self::Stale(_))
    }

    /// Returns true if the entry is served only because the provider is away.
    pub fn serves_if_away(self) -> bool {
        matches!(self, Self::IfError(_))
    }

    /// Returns true if the entry is served and no call refills it.
    pub fn needs_no_call(self) -> bool {
        self.serves() && self != Self::Stale(StaleReason::Refreshed)
    }

    /// Returns the label of an answer that is served from the entry; `None` if it is fresh.
    pub fn stale(self) -> Option<StaleReason> {
        match self {
            Self::Stale(reason) | Self::IfError(reason) => Some(reason),
            Self::Fresh | Self::Never | Self::Dead => None,
        }
    }
}

/// Judges `header` for `ask`. The view that an answer states must be read before this call.
#[inline]
pub fn usable<S>(
    table: &TagTable,
    lag: LagState,
    header: &Header,
    ask: &Ask<S>,
    now: Timestamp,
) -> Use {
    if !ask.accepts_age_of(header.called_at) {
        return Use::Never;
    }
    let cache_type = &ask.prepared.cache_type;
    let expired = now >= header.expires_at;
    let on_error = || now < header.expires_at.plus(cache_type.stale_if_error);
    match table.judge(header, &ask.asker) {
        Validity::Void | Validity::Purged => Use::Dead,
        Validity::Valid if !expired => match lag {
            LagState::Current => Use::Fresh,
            LagState::Label(reason) => Use::Stale(reason),
            LagState::Bypass(reason) => Use::IfError(reason),
        },
        Validity::Refreshed { at } if !expired && now < at.plus(cache_type.stale_window) => {
            match lag {
                LagState::Bypass(reason) => Use::IfError(reason),
                _ => Use::Stale(StaleReason::Refreshed),
            }
        }
        Validity::Valid if on_error() => Use::IfError(StaleReason::Expired),
        Validity::Refreshed { .. } if on_error() => Use::IfError(StaleReason::Refreshed),
        Validity::Valid | Validity::Refreshed { .. } => Use::Never,
    }
}
