//! What the machine gives: room on the disk, and a clock that doesn't go back.
//!
//! The adversary is a disk that fills up while nobody looks: then every call is refused.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tipstaff_core::Millis;
use tipstaff_core::receipt::Signed;
use tipstaff_ledger::LogReader;

use super::Findings;

/// Less room than this is a finding: the log lays out space ahead, and copies take some too.
const ROOM_MIN: u64 = 256 << 20;
/// No release is older than this (2026-01-01).
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);
/// How far the last receipt may lie ahead: clocks are corrected by seconds.
const AHEAD_MAX: u64 = 60_000;
/// A log of more leaves is not read for its last receipt: this is a quick look.
const LEAVES_MAX: u64 = 50_000;

pub(super) fn disk(root: &Path, findings: &mut Findings) {
    match rustix::fs::statvfs(root) {
        Ok(found) => {
            let room = found.f_bavail.saturating_mul(found.f_frsize);
            if room < ROOM_MIN {
                let what = format!("only {} MiB are left for {}", room >> 20, root.display());
                findings.add("disk", what, "free some: without room every call is refused");
            }
        }
        Err(error) => {
            findings.add("disk", format!("its room is not known: {error}"), "mount it anew")
        }
    }
    findings.end("disk");
}

pub(super) fn clock(findings: &mut Findings) {
    if SystemTime::now() < UNIX_EPOCH + EARLIEST {
        findings.add("clock", "it stands before this program was written", "set the clock");
    }
    findings.end("clock");
}

/// Compares the clock with what the log says.
pub(super) fn last_receipt(reader: &LogReader, findings: &mut Findings) {
    if reader.size() > LEAVES_MAX {
        return;
    }
    let mut last = None;
    let read = reader.each_leaf(|_, leaf| {
        last = Some(leaf.to_owned());
        Ok(())
    });
    if let Err(error) = read {
        let fix = "look with `tipstaff log fsck`; restore the home from a backup";
        findings.add("log", error.to_string(), fix);
        return;
    }
    let Some(Ok(last)) = last.map(|leaf| Signed::from_leaf(&leaf)) else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let Millis(then) = last.receipt().now;
    if then > now.saturating_add(AHEAD_MAX) {
        let what = format!("it is {} s behind the last receipt", (then - now) / 1000);
        findings.add("clock", what, "set the clock: times in receipts would go back");
    }
}
