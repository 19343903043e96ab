//! `drift calibrate`: what thresholds on distances would do to labelled sessions.
//!
//! The adversary is a threshold that sounds right. What it would have refused wrongly, and missed, is counted on
//! a half of the sessions that had no say in it.

use std::path::Path;

use tipstaff_embed::calibrate::{Calibration, Goal, Half, calibrate, read_sessions};
use tipstaff_embed::{Cached, Semantic};

use crate::home::Place;
use crate::outcome::{Failure, Outcome};

/// Thresholds that are shown, in parts per million.
const SHOWN: std::ops::RangeInclusive<u32> = 300_000..=1_000_000;
const STEP: usize = 50_000;

pub(crate) fn run(at: &Place, sessions: &Path) -> Outcome {
    let undone = "Nothing was calibrated.";
    let text = std::fs::read_to_string(sessions).map_err(|error| {
        let next = "Name a file of labelled sessions; `docs/context.md` has the form of a line.";
        Failure::undone(undone, error, next)
    })?;
    let failed = |error: &dyn std::fmt::Display| {
        Failure::undone(undone, error.to_string(), "Mend that and try again.")
    };
    let sessions = read_sessions(&text).map_err(|error| failed(&error))?;
    let config = at.home.config().map_err(|error| failed(&error))?.context;
    let embedder = crate::measure::embedder(at.home.root(), &config).map_err(|why| failed(&why))?;
    let embedder = Cached::new(embedder, std::num::NonZeroUsize::MIN.saturating_add(4095));
    let found = calibrate(&sessions, &embedder, Goal::default()).map_err(|error| failed(&error))?;
    if at.json {
        println!("{}", json(&found));
    } else {
        show(&found);
    }
    Ok(())
}

fn show(found: &Calibration) {
    println!("{} ({})", found.method, kind(found.semantic));
    for (name, half) in [("tuning", &found.tuning), ("held out", &found.held_out)] {
        let separation =
            half.separation_ppm().map_or_else(|| "-".to_owned(), |ppm| ppm.to_string());
        println!(
            "  {name}: {} sessions, {} aligned and {} drifted actions; separation {separation} ppm (chance: 500000)",
            half.sessions,
            half.aligned.len(),
            half.drifted.len()
        );
    }
    println!("threshold   refused wrongly, missed (tuning)   refused wrongly, missed (held out)");
    for threshold in SHOWN.step_by(STEP).chain(found.proposed_ppm) {
        let mark = if found.proposed_ppm == Some(threshold) { "  <- proposed" } else { "" };
        let (tuning, held) = (cells(&found.tuning, threshold), cells(&found.held_out, threshold));
        println!("{threshold:>9}   {tuning:>32}   {held:>34}{mark}");
    }
    match found.proposed_ppm {
        Some(_) => println!("At most 2 % of the aligned actions of the tuning half are beyond it."),
        None => println!("No threshold can be proposed: no action is labelled aligned."),
    }
}

fn cells(half: &Half, threshold: u32) -> String {
    let row = half.at(threshold);
    let share = |count: usize, of: usize| count as f64 * 100.0 / of.max(1) as f64;
    format!(
        "{:.1} %, {:.1} %",
        share(row.false_refusals, half.aligned.len()),
        share(row.missed_drifts, half.drifted.len())
    )
}

fn json(found: &Calibration) -> serde_json::Value {
    let half = |half: &Half| {
        let rows: Vec<_> = SHOWN
            .step_by(STEP)
            .chain(found.proposed_ppm)
            .map(|threshold| {
                let row = half.at(threshold);
                serde_json::json!({ "threshold_ppm": threshold, "false_refusals": row.false_refusals,
                                    "missed_drifts": row.missed_drifts })
            })
            .collect();
        serde_json::json!({ "sessions": half.sessions, "aligned": half.aligned.len(),
                            "drifted": half.drifted.len(), "separation_ppm": half.separation_ppm(),
                            "thresholds": rows })
    };
    serde_json::json!({ "method": found.method.as_str(), "measure": kind(found.semantic),
                        "tuning": half(&found.tuning), "held_out": half(&found.held_out),
                        "proposed_ppm": found.proposed_ppm })
}

const fn kind(semantic: Semantic) -> &'static str {
    match semantic {
        Semantic::Yes => "semantic",
        Semantic::No => "lexical",
    }
}
