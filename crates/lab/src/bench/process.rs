//! The processor time and memory of a process, read from `/proc`. `None` where there is no
//! `/proc`.

use std::fs;

/// Clock ticks a second in `/proc`: the kernel's `USER_HZ`, 100 on every platform that Rust's Linux
/// targets share with glibc.
const TICKS_PER_SEC: f64 = 100.0;

/// Returns the user and system time of this process in seconds, ended threads included.
pub fn cpu_secs() -> Option<f64> {
    cpu_secs_of(std::process::id())
}

/// Returns the user and system time of a process in seconds, ended threads included.
pub fn cpu_secs_of(pid: u32) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "ticks of a benchmark are few")]
    let used = ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)? as f64;
    Some(used / TICKS_PER_SEC)
}

/// Returns the resident memory now, in bytes.
pub fn resident_bytes() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS")
}

/// Returns the most resident memory since the start, or since [`forget_peak`], in bytes.
pub fn peak_bytes() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// Resets the peak to what is resident now; returns whether the kernel did so.
pub fn forget_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Returns the sum of the fields 14 and 15 (`utime`, `stime`) of a `stat` file, see proc(5). The
/// second field is a name in parentheses that may itself contain spaces and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Returns a field of a `status` file, which is given in kB, in bytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line
        .strip_prefix(':')?
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()?;
    Some(kilobytes * 1024)
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

    #[test]
    fn memory_is_read_by_its_name() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t   1024 kB\n";
        assert_eq!(field(status, "VmRSS"), Some(1 << 20));
        assert_eq!(field(status, "VmHWM"), Some(2 << 20));
        assert_eq!(field(status, "VmSwap"), None);
    }
}
