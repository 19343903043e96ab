//! The machine: what it is, how busy others keep it, and figures over samples.
//!
//! Foreign load is what the kernel says that all processors did, less what the measured processes did.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Processor time so far: everybody's and that of the processes measured, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    busy: u64,
    own: u64,
    at: Instant,
}

/// Processor time between two looks, in processors kept busy.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// By the processes measured, the load included.
    pub(crate) own: f64,
    /// By everybody else, the hypervisor included.
    pub(crate) foreign: f64,
}

impl Load {
    /// A look. Measured are this process and those whose command line names `mark`.
    pub(crate) fn look(mark: &Path) -> Self {
        let own: u64 = processes(mark).iter().map(|pid| ticks(*pid)).sum();
        // Children that have ended are no longer found by name.
        let this = ticks(std::process::id()) + stat(std::process::id(), [13, 14]);
        Self { busy: busy(), own: own + this, at: Instant::now() }
    }

    /// What was spent since an earlier look.
    pub(crate) fn since(self, earlier: Self) -> Spent {
        let span = self.at.duration_since(earlier.at).as_secs_f64() * ticks_per_second();
        let share = |ticks: u64| if span > 0.0 { ticks as f64 / span } else { 0.0 };
        let own = self.own.saturating_sub(earlier.own);
        let all = self.busy.saturating_sub(earlier.busy);
        Spent { own: share(own), foreign: share(all.saturating_sub(own)) }
    }
}

/// Ids of the processes whose command line names a path.
pub(crate) fn processes(mark: &Path) -> Vec<u32> {
    let mark = mark.to_string_lossy();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let named = pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != std::process::id() && String::from_utf8_lossy(&line).contains(mark.as_ref())
    });
    named.collect()
}

/// Resident memory of a process in MiB.
pub(crate) fn resident_mib(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

/// Processor time of this process's children that have ended, in seconds.
pub(crate) fn children_seconds() -> f64 {
    stat(std::process::id(), [13, 14]) as f64 / ticks_per_second()
}

/// What this machine is.
pub(crate) fn describe() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| Some(line.split_once(':')?.1.trim())).unwrap_or("unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({ "cores": cores(), "model": model, "kernel": kernel.trim() })
}

/// How many processors this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A percentile of samples, by nearest rank. Sorts them.
pub(crate) fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    let at = (samples.len() * percent).div_ceil(100).saturating_sub(1);
    samples.get(at).copied().unwrap_or_default()
}

/// The middle of some figures.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Milliseconds with a fraction.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Mixes an order; a new one each time.
pub(crate) fn shuffle<T>(items: &mut [T]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut state = u64::from(now.subsec_nanos()) | 1;
    for last in (1..items.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pick = usize::try_from(state >> 33).unwrap_or(0) % (last + 1);
        items.swap(last, pick);
    }
}

fn busy() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let figures: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is in user already.
    let working = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| figures.get(*at));
    working.sum()
}

/// User and system time of a process.
fn ticks(pid: u32) -> u64 {
    stat(pid, [11, 12])
}

fn stat(pid: u32, which: [usize; 2]) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = text.rsplit_once(')') else { return 0 };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    which.iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum()
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut samples: Vec<Duration> = (1..=10).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut samples, 50), Duration::from_millis(5));
        assert_eq!(percentile(&mut samples, 99), Duration::from_millis(10));
        assert_eq!(percentile(&mut [], 50), Duration::ZERO);
    }

    #[test]
    fn own_work_is_not_foreign() {
        let before = Load::look(Path::new("/nothing-is-called-this"));
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {}
        let spent = Load::look(Path::new("/nothing-is-called-this")).since(before);
        assert!(spent.own > 0.1, "{spent:?}");
    }
}
