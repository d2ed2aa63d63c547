//! Summaries of several rounds and of many samples.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A figure measured in several rounds: their median, least and most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Summarizes values; `None` if there are none. The median of an even number is the upper of
    /// the middle two.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: *values.get(values.len() / 2)?,
            least: *values.first()?,
            most: *values.last()?,
        })
    }
}

/// Prints with the format string's precision, by default two digits; equal values print as one.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$}", self.median)?;
        if self.least < self.most {
            write!(f, " ({:.digits$}–{:.digits$})", self.least, self.most)?;
        }
        Ok(())
    }
}

/// Percentiles of durations, in milliseconds; exact, computed from all samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    pub count: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Latencies {
    /// Summarizes samples in nanoseconds; `None` if there are none.
    pub fn of(mut nanos: Vec<u64>) -> Option<Self> {
        nanos.sort_unstable();
        let at = |per_mille| percentile(&nanos, per_mille).map(millis);
        Some(Self {
            count: nanos.len() as u64,
            p50_ms: at(500)?,
            p99_ms: at(990)?,
            p999_ms: at(999)?,
            max_ms: at(1000)?,
        })
    }
}

/// Returns the percentile by nearest rank: the least sample that at least `per_mille` of a thousand
/// do not exceed.
fn percentile(sorted: &[u64], per_mille: usize) -> Option<u64> {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.max(1) - 1).copied()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a double tells nanoseconds apart for a hundred days"
)]
fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// Returns a count as a floating-point number.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are small"
)]
pub fn float(count: u64) -> f64 {
    count as f64
}

/// Converts bytes to MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    float(bytes) / f64::from(1 << 20)
}

/// Formats a figure for a table; a dash if it is unknown.
pub fn shown(figure: Option<impl fmt::Display>) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| figure.to_string())
}

/// Formats a figure with this many digits after the decimal point; a dash if it is unknown.
pub fn shown_to(figure: Option<impl fmt::Display>, digits: usize) -> String {
    shown(figure.map(|figure| format!("{figure:.digits$}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_tells_the_median_and_the_ends() {
        let spread = Spread::of([0.5, 0.4, 0.2]).unwrap();
        assert_eq!(spread.to_string(), "0.40 (0.20–0.50)");
        assert_eq!(format!("{spread:.1}"), "0.4 (0.2–0.5)");
        assert_eq!(Spread::of([7.0]).unwrap().to_string(), "7.00");
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let nanos = (1..=1000).rev().map(|n| n * 1_000_000).collect();
        let of = Latencies::of(nanos).unwrap();
        let found = [of.p50_ms, of.p99_ms, of.p999_ms, of.max_ms];
        for (found, wanted) in found.into_iter().zip([500.0, 990.0, 999.0, 1000.0]) {
            assert!((found - wanted).abs() < 1e-9, "{found} instead of {wanted}");
        }
        let one = Latencies::of(vec![5]).unwrap();
        assert_eq!((one.count, one.p50_ms, one.max_ms), (1, 5e-6, 5e-6));
        assert_eq!(Latencies::of(Vec::new()), None);
    }
}
