//! What a monitoring system reads: health, counters, and the measured time of judging.
//!
//! The adversary is a green light that nobody measured. Counters of actions are folds of the receipts
//! in the published log, times are counted where they are spent, and what isn't known is left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ::http::StatusCode;
use tipstaff_core::Millis;
use tipstaff_identity::{Peer, revocation};
use tipstaff_monitor::Monitor;
use tipstaff_store::{Clock as _, SystemClock};

use super::latency::Measured;
use super::library::{Counts, Published};
use super::reply::{Reply, bytes, json};
use super::tiles::CHECKPOINT;

/// Bounds of the histogram as powers of two, in microseconds: 64 µs to 17 s.
const BOUNDS: std::ops::RangeInclusive<u32> = 6..=24;
/// Name of the chain of control receipts, which is no session.
const CONTROL_CHAIN: &str = "control";

/// Answers by route and status.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<BTreeMap<(&'static str, u16), u64>>);

/// What is looked at for an answer.
pub(crate) struct Seen<'a> {
    pub(crate) monitor: &'a Monitor,
    pub(crate) home: &'a Path,
    pub(crate) published: Option<&'a Published>,
    pub(crate) since: &'a Since,
}

/// When this began.
#[derive(Debug)]
pub(crate) struct Since {
    at: Millis,
    clock: Instant,
    /// When the process began, in seconds since the epoch, as the kernel says.
    process: Option<f64>,
}

impl Requests {
    pub(crate) fn count(&self, route: &'static str, status: u16) {
        *self.counts().entry((route, status)).or_default() += 1;
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<(&'static str, u16), u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Since {
    pub(crate) fn now() -> Self {
        let at = Millis(SystemClock.now_ms());
        Self { at, clock: Instant::now(), process: process_start() }
    }
}

/// Whether another verdict could be recorded.
pub(crate) fn health(seen: &Seen<'_>) -> Reply {
    let stopped = seen.monitor.ledger().stopped().is_some();
    let (size, _) = seen.monitor.ledger().position();
    // Why it stopped may name paths: that is for the operator, in the monitor's log.
    let status = if stopped { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let word = if stopped { "stopped" } else { "ok" };
    let published = seen.published.map(|published| published.checkpoint.size);
    let log = serde_json::json!({ "size": size, "published": published });
    json(status, &serde_json::json!({ "status": word, "stopped": stopped, "log": log }))
}

/// The measured time of judging.
pub(crate) fn service_level(measured: &Measured, since: &Since) -> Reply {
    let millis = |us: Option<u64>| us.map(|us| us as f64 / 1e3);
    let answer = serde_json::json!({
        "count": measured.count,
        "p50_ms": millis(measured.percentile(50)),
        "p99_ms": millis(measured.percentile(99)),
        "window": { "since": since.at.to_string(), "seconds": since.clock.elapsed().as_secs() },
        "measured": "requests judged through this process's HTTP doors, from parsing to the verdict \
                     with its receipt durable; each figure is at most 1/16 too high",
    });
    json(StatusCode::OK, &answer)
}

/// Counters in the text format of Prometheus.
pub(crate) fn metrics(
    seen: &Seen<'_>,
    counts: &Counts,
    measured: &Measured,
    requests: &Requests,
) -> Reply {
    let mut page = Text::default();
    page.about("tipstaff_actions_total", "counter", "Verdicts in the published log.");
    for ((door, verdict, tier), count) in &counts.actions {
        let (door, verdict) = (door.as_str(), verdict.as_str());
        let labels = format!("{{door=\"{door}\",verdict=\"{verdict}\",tier=\"T{tier}\"}}");
        page.line("tipstaff_actions_total", &labels, count);
    }
    let help = "Verdicts in the published log that refuse, by reason.";
    page.about("tipstaff_refusals_total", "counter", help);
    for (reason, count) in &counts.refusals {
        page.line("tipstaff_refusals_total", &format!("{{reason=\"{}\"}}", label(reason)), count);
    }
    page.histogram(measured);
    let ledger = seen.monitor.ledger();
    let (size, revision) = ledger.position();
    page.value("tipstaff_log_leaves", "gauge", "Receipts in the log.", size);
    page.revocation(revision);
    if let Some(published) = seen.published {
        let help = "Receipts under the signed checkpoint.";
        page.value("tipstaff_log_published_leaves", "gauge", help, published.checkpoint.size);
    }
    if let Some(age) = checkpoint_age(seen.home) {
        let help = "Seconds since the checkpoint was signed; it is signed anew when the log grows.";
        page.value(
            "tipstaff_checkpoint_age_seconds",
            "gauge",
            help,
            format!("{:.3}", age.as_secs_f64()),
        );
    }
    let sessions = ledger.state().chains.keys().filter(|name| *name != CONTROL_CHAIN).count();
    page.value("tipstaff_sessions", "gauge", "Sessions that are not closed.", sessions);
    let stopped = u8::from(ledger.stopped().is_some());
    page.value("tipstaff_stopped", "gauge", "1 if the node stopped for good.", stopped);
    let name = "tipstaff_http_requests_total";
    page.about(name, "counter", "Answers of the HTTP API.");
    for ((route, status), count) in requests.counts().iter() {
        page.line(name, &format!("{{route=\"{route}\",status=\"{status}\"}}"), count);
    }
    if let Some(start) = seen.since.process {
        let help = "When the process began, in seconds since the epoch.";
        page.value("process_start_time_seconds", "gauge", help, format!("{start:.2}"));
    }
    bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page.0.into_bytes())
}

#[derive(Default)]
struct Text(String);

impl Text {
    // Writing to a String can't fail.
    fn about(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn value(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.about(name, kind, help);
        self.line(name, "", value);
    }

    /// Within what a revocation ends everything that derives from it, and how far control state is. This monitor is
    /// the store of its own orders: there, the next action judged after the receipt is refused. The bounds of a node
    /// that follows a shared store are told beside, so that both are read in one place.
    fn revocation(&mut self, revision: u64) {
        let help = "Control receipts in the log: the revision at which the next action is judged.";
        self.value("tipstaff_control_revision", "gauge", help, revision);
        let seconds = Duration::from_millis(revocation::BOUND_MS).as_secs();
        let rounds = u64::from(revocation::ROUNDS);
        for (name, help, shared) in [
            (
                "tipstaff_revocation_rounds",
                "Exchanges with the store, begun after a revocation's receipt, after which nothing of T3 and above \
                 passes that derives from it; this monitor is its own store.",
                rounds,
            ),
            (
                "tipstaff_revocation_seconds",
                "Seconds after a revocation's receipt, after which nothing of T3 and above passes that derives from \
                 it; this monitor is its own store.",
                seconds,
            ),
        ] {
            self.about(name, "gauge", help);
            self.line(name, "{store=\"own\"}", 0);
            self.line(name, "{store=\"shared\"}", shared);
        }
    }

    fn histogram(&mut self, measured: &Measured) {
        const NAME: &str = "tipstaff_judging_seconds";
        let seconds = |us: u64| Duration::from_micros(us).as_secs_f64();
        let help = "Time from parsing a request of this process's HTTP doors to its verdict.";
        self.about(NAME, "histogram", help);
        for bits in BOUNDS {
            let labels = format!("{{le=\"{}\"}}", seconds(1 << bits));
            self.line(&format!("{NAME}_bucket"), &labels, measured.within(bits));
        }
        self.line(&format!("{NAME}_bucket"), "{le=\"+Inf\"}", measured.count);
        self.line(&format!("{NAME}_sum"), "", seconds(measured.total_us));
        self.line(&format!("{NAME}_count"), "", measured.count);
    }
}

/// A text as the value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn checkpoint_age(home: &Path) -> Option<Duration> {
    let written = fs::metadata(home.join(CHECKPOINT)).and_then(|found| found.modified()).ok()?;
    Some(SystemTime::now().duration_since(written).unwrap_or_default())
}

/// When this process began: the boot, and the ticks since.
fn process_start() -> Option<f64> {
    let ticks = Peer::started(std::process::id())?;
    let kernel = fs::read_to_string("/proc/stat").ok()?;
    let boot = kernel.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot: f64 = boot.trim().parse().ok()?;
    Some(boot + ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
