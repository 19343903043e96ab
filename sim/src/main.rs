//! Runs seeds, and says how to run the one again that failed.
//!
//! The adversary is a failure that can't be repeated: everything follows from what is on the command line.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tipstaff_sim::{Fault, Plan, Seen, run};

/// Several nodes over one store, under delay, loss, partition and restart.
#[derive(Debug, Parser)]
#[command(name = "tipstaff-sim", version)]
struct Cli {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Simulated seconds of each, at most 600
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What to break
    #[arg(long, default_value = "nothing")]
    fault: String,
    /// Write what happened to FILE, as JSON lines; with several seeds the last one
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Some(fault) = Fault::ALL.iter().copied().find(|fault| fault.as_str() == cli.fault) else {
        let known: Vec<&str> = Fault::ALL.iter().map(|fault| fault.as_str()).collect();
        eprintln!("There is no such fault. They are: {}.", known.join(", "));
        return ExitCode::from(2);
    };
    let mut seen = Seen::default();
    for seed in cli.seed..cli.seed.saturating_add(cli.seeds) {
        let done = run(Plan { seed, millis: cli.seconds.saturating_mul(1000), fault });
        seen.add(&done.seen);
        if let Some(file) = &cli.trace {
            let text = done.trace.lines().join("\n") + "\n";
            if let Err(error) = fs::write(file, text) {
                eprintln!(
                    "The trace was not written: {error}. Name a file in a folder that is there."
                );
                return ExitCode::from(3);
            }
        }
        if let Err(failure) = done.outcome {
            println!("seed {seed}: {failure}");
            println!("to see it again:");
            println!(
                "cargo run -p tipstaff-sim -- --seed {seed} --seconds {} --fault {} --trace seed-{seed}.jsonl",
                cli.seconds, cli.fault
            );
            return ExitCode::from(1);
        }
        if cli.seeds == 1 {
            println!(
                "seed {seed}: {} lines, digest {}",
                done.trace.lines().len(),
                done.trace.digest()
            );
        }
    }
    println!("{} seeds of {} simulated seconds, and everything held", cli.seeds, cli.seconds);
    for (what, often) in seen.iter() {
        println!("{often:>9} {what}");
    }
    ExitCode::SUCCESS
}
