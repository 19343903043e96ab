//! Prints what thresholds do on the labelled sessions, for the lexical measure and for a model.
//!
//! `cargo run -p tipstaff-embed --release --example calibrate -- [FOLDER] [SESSIONS]`

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use std::path::Path;

use tipstaff_embed::calibrate::{Calibration, Goal, Half, Session, calibrate, read_sessions};
use tipstaff_embed::{EmbedError, Embedder, Lexical, MiniLm, Semantic};

const SET: &str = include_str!("../sets/sessions.jsonl");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next();
    let text = arguments.next().map(std::fs::read_to_string).transpose()?;
    let sessions = read_sessions(text.as_deref().unwrap_or(SET))?;
    show(&sessions, &Lexical::new())?;
    if let Some(folder) = folder {
        show(&sessions, &MiniLm::open(Path::new(&folder))?)?;
    }
    Ok(())
}

fn show(sessions: &[Session], embedder: &impl Embedder) -> Result<(), EmbedError> {
    let found = calibrate(sessions, embedder, Goal::default())?;
    let kind = match found.semantic {
        Semantic::Yes => "semantic",
        Semantic::No => "not semantic",
    };
    println!("\n{} ({kind})", found.method);
    head("tuning", &found.tuning);
    head("held out", &found.held_out);
    println!(
        "\n| threshold | false refusals, tuning | missed drifts, tuning | false refusals, held out | missed drifts, held out |"
    );
    println!("|---|---|---|---|---|");
    for threshold in (300_000..=1_000_000).step_by(50_000) {
        row(&found, threshold);
    }
    match found.proposed_ppm {
        Some(threshold) => {
            println!("\nproposed: {threshold}");
            row(&found, threshold);
        }
        None => println!("\nno threshold can be proposed: there is no aligned action"),
    }
    Ok(())
}

fn head(name: &str, half: &Half) {
    println!(
        "{name}: {} sessions, {} aligned and {} drifted actions, separation {}",
        half.sessions,
        half.aligned.len(),
        half.drifted.len(),
        half.separation_ppm().map_or("unknown".to_owned(), share)
    );
}

fn row(found: &Calibration, threshold: u32) {
    let cells = [&found.tuning, &found.held_out].map(|half| {
        let row = half.at(threshold);
        format!(
            "{} | {}",
            part(row.false_refusals, half.aligned.len()),
            part(row.missed_drifts, half.drifted.len())
        )
    });
    println!("| {threshold} | {} |", cells.join(" | "));
}

fn part(count: usize, of: usize) -> String {
    format!("{count} ({:.1} %)", count as f64 * 100.0 / of.max(1) as f64)
}

fn share(ppm: u32) -> String {
    format!("{:.3}", f64::from(ppm) / 1e6)
}
