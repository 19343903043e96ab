//! Watching: one line a call, live.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::ops::ControlFlow;

use tipstaff_core::{Json, Millis};
use tipstaff_monitor::Client;

use crate::home::Place;
use crate::outcome::{Failure, Outcome, emit};
use crate::queue::plain;

pub(crate) fn run(at: &Place) -> Outcome {
    let undone = |e| Failure::undone("The calls can't be watched.", e, "Run `tipstaff doctor`.");
    let bell = std::io::stdout().is_terminal();
    Client::ensure_monitor(&at.home).map_err(undone)?;
    if !at.json {
        eprintln!("Watching; end with Ctrl-C.");
    }
    let mut each = |line: Option<&Json>, lost: u64| {
        if lost > 0 {
            eprintln!("({lost} lines were lost: this terminal is slower than the agent)");
        }
        match line {
            Some(line) if at.json => emit(format_args!("{}\n", line.to_canonical())),
            Some(line) => emit(format_args!("{}{}\n", shown(line), ring(line, bell))),
            None => {}
        }
        ControlFlow::Continue(())
    };
    match Client::tail(&at.home, &mut each).map_err(undone)? {
        Some(()) => Ok(()),
        None => Err(undone(tipstaff_monitor::ClientError::Broken("it has ended".to_owned()))),
    }
}

/// A held call rings the terminal's bell.
fn ring(line: &Json, bell: bool) -> &'static str {
    let held = line.get("held_until").is_some_and(|until| *until != Json::Null);
    if held && bell { "\u{7}" } else { "" }
}

fn shown(line: &Json) -> String {
    let text = |name| plain(line.get(name).and_then(Json::as_str).unwrap_or("-"));
    let now = line.get("now").and_then(Json::as_integer).and_then(|now| u64::try_from(now).ok());
    let time = Millis(now.unwrap_or(0)).to_string();
    let receipt = text("receipt");
    let short = receipt.get(..12).unwrap_or(&receipt);
    let mut out = format!(
        "{} {short} {:<7} T{} {} {} {}",
        time.get(11..19).unwrap_or(&time),
        text("verdict"),
        line.get("tier").and_then(Json::as_integer).unwrap_or(5),
        text("class"),
        text("tool"),
        if text("rule") == "-" { text("reason") } else { text("rule") },
    );
    if text("proof") == "none" {
        out.push_str("  UNPROVEN");
    }
    if text("enforcement") == "observe" {
        out.push_str("  OBSERVED: not enforced");
    }
    if line.get("held_until").is_some_and(|until| *until != Json::Null) {
        let _ = write!(out, "  HELD: tipstaff approve {short}");
    }
    out
}
