//! The results as values and as tables.

use std::fmt;

use serde::Serialize;

use super::worker::{Checked, Filled, Read};
use crate::bench::figures::{Latencies, float, mebibytes, shown, shown_to};
use crate::bench::table::Table;
use wedcache::topology::ByteSize;

/// The figures of a whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub entries: usize,
    pub answer_bytes: usize,
    pub page_cache_mib: u64,
    pub filled: Filled,
    /// Look-ups on one thread; the next field on two.
    pub read: Read,
    pub read_by_two: Read,
    /// The most resident memory of the process that filled and read.
    pub resident_peak_bytes: Option<u64>,
    /// Seconds from the start of the process until the layer was open.
    pub ready_after_stop_secs: f64,
    pub after_stop: Checked,
    pub ready_after_kill_secs: f64,
    /// The check of the entries whose writes had been acknowledged before the kill.
    pub after_kill: Checked,
    pub acknowledged_before_kill: u64,
    /// The size of the folder: after the fill, then after each overwriting of half of it.
    pub folder_bytes: Vec<u64>,
    pub ready_after_churn_secs: f64,
    pub after_churn: Checked,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cache = ByteSize(self.page_cache_mib << 20);
        writeln!(
            f,
            "The disk layer alone: {} entries with answers of {} bytes, page cache {cache}\n\
             stored {:.0} bytes an entry; filled at {:.0} entries/s in {:.1} s\n",
            self.entries,
            self.answer_bytes,
            self.filled.mean_stored_bytes,
            float(self.filled.entries) / self.filled.secs.max(f64::EPSILON),
            self.filled.secs
        )?;
        let mut table = Table::new([
            "look-ups at random",
            "hits/s",
            "p50 µs",
            "p99 µs",
            "not found",
        ]);
        for (name, read) in [("1 thread", &self.read), ("2 threads", &self.read_by_two)] {
            let micros = |of: fn(&Latencies) -> f64| read.latencies.as_ref().map(|l| of(l) * 1e3);
            table.row([
                name.to_owned(),
                format!("{:.0}", read.hits_per_sec),
                shown_to(micros(|of| of.p50_ms), 1),
                shown_to(micros(|of| of.p99_ms), 1),
                read.not_found.to_string(),
            ]);
        }
        writeln!(f, "{table}")?;
        let mut ready = Table::new([
            "a start",
            "ready after s",
            "looked at",
            "as it was",
            "older",
            "gone",
        ]);
        for (name, secs, checked) in [
            ("after a stop", self.ready_after_stop_secs, self.after_stop),
            ("after kill -9", self.ready_after_kill_secs, self.after_kill),
            (
                "after the churn",
                self.ready_after_churn_secs,
                self.after_churn,
            ),
        ] {
            ready.row([
                name.to_owned(),
                format!("{secs:.2}"),
                checked.looked_at.to_string(),
                checked.as_it_was.to_string(),
                checked.older.to_string(),
                checked.gone.to_string(),
            ]);
        }
        writeln!(f, "{ready}")?;
        let mut folder = Table::new(["the folder", "MiB", "bytes an entry"]);
        for (round, bytes) in self.folder_bytes.iter().enumerate() {
            let name = match round {
                0 => "after the fill".to_owned(),
                times => format!("half of it overwritten {times} ×"),
            };
            folder.row([
                name,
                format!("{:.0}", mebibytes(*bytes)),
                format!("{:.0}", float(*bytes) / float(self.entries as u64).max(1.0)),
            ]);
        }
        writeln!(
            f,
            "{folder}\nMost resident memory while filling and reading: {} MiB. After kill -9 the \
             {} entries are\nlooked at whose writes had been acknowledged; a sample of 10 000 at \
             most each time.",
            shown(
                self.resident_peak_bytes
                    .map(|bytes| format!("{:.0}", mebibytes(bytes)))
            ),
            self.acknowledged_before_kill
        )
    }
}
