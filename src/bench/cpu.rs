//! How much processor time this process has used, as Linux tells it.

use std::fs;
use std::path::Path;

/// Clock ticks a second in `/proc`: the kernel's `USER_HZ`, 100 on every platform that Rust's
/// Linux targets share with glibc.
const TICKS_PER_SEC: f64 = 100.0;

/// User and system time of the process in seconds, ended threads included, without the live
/// threads whose name starts with `but`. `None` where there is no `/proc`.
pub fn seconds(but: &str) -> Option<f64> {
    let all = ticks(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let mut others = 0;
    for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
        others += ticks_of_thread(&thread.path(), but).unwrap_or(0);
    }
    #[expect(clippy::cast_precision_loss, reason = "ticks of a benchmark are few")]
    let used = all.saturating_sub(others) as f64;
    Some(used / TICKS_PER_SEC)
}

fn ticks_of_thread(thread: &Path, named: &str) -> Option<u64> {
    let name = fs::read_to_string(thread.join("comm")).ok()?;
    if !name.starts_with(named) {
        return Some(0);
    }
    ticks(&fs::read_to_string(thread.join("stat")).ok()?)
}

/// The fields 14 and 15 (`utime`, `stime`) of a `stat` file, see proc(5). The second field is a
/// name in parentheses that may itself hold spaces and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_read_past_any_name() {
        let stat = "7 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15";
        assert_eq!(ticks(stat), Some(11 + 12));
        assert_eq!(ticks("7 (short) R 1"), None);
    }
}
