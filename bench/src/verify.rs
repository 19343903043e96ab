//! Chain verification beside what one signature check allows.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tipstaff_core::key::SigningKey;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::inprocess::{export, time};
use crate::machine::{Load, children_seconds, cores, median};
use crate::out::Out;

/// Runs of the whole program; the middle one counts.
const RUNS: usize = 7;

/// Different signatures that are checked.
const CHECKS: u64 = 1_024;

/// Ratio to the limit, receipts a second, limit, µs of a check, foreign load, ratio by processor time.
type Row = (f64, f64, f64, f64, f64, f64);

pub(crate) fn run(
    scratch: &Path,
    tipstaff: &Path,
    receipts: usize,
    out: &Out,
) -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(scratch)?;
    let (file, jwks) = (folder.path().join("export.jsonl"), folder.path().join("jwks.json"));
    let lines = export(folder.path(), receipts, &file, &jwks)?;
    let bytes = std::fs::metadata(&file)?.len() as f64 / lines as f64;
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..RUNS {
        // The limit is measured on all processors at once, right beside the run, and so shares its noise.
        let check_us = check(bytes)?;
        let (look, before) = (Load::look(folder.path()), children_seconds());
        let taken = verify(tipstaff, &file, &jwks, lines)?;
        let spent = Load::look(folder.path()).since(look);
        let per_second = lines as f64 / taken.as_secs_f64();
        let by_time = lines as f64 * check_us / 1e6 / (children_seconds() - before);
        let limit = cores() as f64 * 1e6 / check_us;
        rows.push((per_second / limit, per_second, limit, check_us, spent.foreign, by_time));
    }
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let column = |pick: fn(&Row) -> f64| median(&rows.iter().map(pick).collect::<Vec<f64>>());
    let (ratio, per_second) = (column(|row| row.0), column(|row| row.1));
    let (limit, check_us) = (column(|row| row.2), column(|row| row.3));
    let (foreign, by_time) = (column(|row| row.4), column(|row| row.5));
    let ends = (rows.first().map_or(0.0, |row| row.0), rows.last().map_or(0.0, |row| row.0));
    println!("chain verification, {lines} receipts of {bytes:.0} bytes a line, median of {RUNS}:");
    println!(
        "  {:.1} % of the limit [{:.1} to {:.1}]",
        ratio * 100.0,
        ends.0 * 100.0,
        ends.1 * 100.0
    );
    println!(
        "  {per_second:.0}/s; limit {limit:.0}/s = {} processors, {check_us:.1} µs a check",
        cores()
    );
    println!("  {:.1} % by processor time, which others' load does not change", by_time * 100.0);
    println!("  foreign load {foreign:.2} processors");
    out.write(
        "verify",
        &json!({ "receipts": lines, "line_bytes": bytes, "ratio": ratio, "ratio_min": ends.0,
                 "ratio_max": ends.1, "ratio_time": by_time, "per_second": per_second, "limit": limit,
                 "check_us": check_us, "cores": cores(), "foreign": foreign }),
    )
}

/// Microseconds of one strict check of a message of a receipt's size, with the key decompressed.
fn check(bytes: f64) -> Result<f64, Failure> {
    // About a hundredth of a line is not signed: hash, key id and signature stand beside the receipt.
    let length = (bytes as usize).saturating_sub(270);
    let key = SigningKey::from_seed(&Zeroizing::new([7; 32]))?;
    let public = key.verifying_key();
    // Different ones, since a processor learns the course of one that is repeated.
    let signed: Vec<_> = (0..CHECKS)
        .map(|number| {
            let mut message = vec![b'r'; length];
            message.extend_from_slice(&number.to_le_bytes());
            let signature = key.sign(&message);
            (message, signature)
        })
        .collect();
    let each: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores())
            .map(|_| {
                scope.spawn(|| {
                    let mut all = signed.iter().cycle();
                    time(|| {
                        let done = all
                            .next()
                            .map(|(message, signature)| public.verify(message, signature));
                        assert!(
                            done.is_some_and(|done| done.is_ok()),
                            "an honest signature verifies"
                        );
                    })
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    Ok(median(&each))
}

fn verify(tipstaff: &Path, file: &Path, jwks: &Path, lines: usize) -> Result<Duration, Failure> {
    let start = Instant::now();
    let mut command = Command::new(tipstaff);
    command.arg("verify").arg(file).arg("--jwks").arg(jwks).arg("--json");
    let done = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let taken = start.elapsed();
    let answer: serde_json::Value = serde_json::from_slice(&done.stdout)?;
    let checked = answer.pointer("/chains/0/signatures").and_then(serde_json::Value::as_u64);
    if answer.get("valid") != Some(&true.into()) || checked != Some(lines as u64) {
        return Err(Failure::wrong(format!("verify answers {answer}")));
    }
    Ok(taken)
}
