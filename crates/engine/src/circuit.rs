//! The state of a circuit breaker.

/// The order is that of the gauges, and of how little passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CircuitState {
    /// Calls pass.
    Closed = 0,
    /// Probes are in flight; the other calls are refused.
    HalfOpen = 1,
    /// Calls are refused at once.
    Open = 2,
}

impl CircuitState {
    /// Returns the state as a gauge value: 0 closed, 1 half-open, 2 open.
    pub fn as_number(self) -> u8 {
        self as u8
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}
