//! The measurements behind `BENCHMARKS.md`, each one command.
//!
//! The adversary is a figure that flatters: every run states the machine, the foreign load beside it and
//! a physical or peer limit measured in the same minutes, so that ratios are read and not absolutes.

#![expect(clippy::disallowed_methods, reason = "a benchmark starts what it measures")]
#![expect(clippy::print_stdout, reason = "a command line prints")]

mod capability;
mod client;
mod echo;
mod echo_http;
mod failure;
mod inprocess;
mod load;
mod machine;
mod memory;
mod out;
mod people;
mod principals;
mod report;
mod stdio;
mod verify;
mod web;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::out::Out;

/// Measures Tipstaff. Build with `--release`.
#[derive(Debug, Parser)]
#[command(name = "tipstaff-bench", version)]
struct Cli {
    /// Append each result as a JSON line to this file
    #[arg(long, global = true, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The release binary to measure [default: `tipstaff` beside this program]
    #[arg(long, global = true, value_name = "FILE")]
    tipstaff: Option<PathBuf>,
    /// Folder for temporary homes, on the disk to measure [default: target/ of this program]
    #[arg(long, global = true, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Serve the echo upstream over stdio
    Echo,
    /// Serve the echo upstream over HTTP
    EchoHttp {
        /// The port on loopback
        port: u16,
    },
    /// Load over streamable HTTP: nothing between, `tipstaff serve`, and peers that are installed
    Http {
        /// Seconds of each measurement
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// Rounds, each in an order of its own
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// A peer, `NAME=COMMAND` with `{port}`, its upstream as `{upstream}` (one word), `{words}` or
        /// `{url}` (over HTTP), and `{folder}`, a folder of its own (repeatable)
        #[arg(long, value_name = "NAME=COMMAND")]
        peer: Vec<String>,
    },
    /// Load over stdio: nothing between, `tipstaff wrap`, and peers that are installed
    Stdio {
        /// Seconds of each measurement
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Rounds, each in an order of its own
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// A peer, `NAME=COMMAND`; the upstream's command is appended to it (repeatable)
        #[arg(long, value_name = "NAME=COMMAND")]
        peer: Vec<String>,
        /// Only the loads whose name contains this
        #[arg(long, value_name = "NAME", default_value = "")]
        only: String,
    },
    /// The monitor in one thread without fsync, and the verdict and the classifier alone
    Inprocess {
        /// Actions to judge and record
        #[arg(long, default_value_t = 100_000)]
        actions: usize,
    },
    /// Throughput of chain verification beside one signature check
    Verify {
        /// Receipts in the export
        #[arg(long, default_value_t = 100_000)]
        receipts: usize,
    },
    /// What a capability adds to a verdict, what reading one costs, what revoking one costs
    Capability,
    /// Resident memory of an idle monitor and an idle `wrap`
    Memory,
    /// From an approval to its effect, and one call of `tipstaff hook`, each with its process's start
    People,
    /// Enrolments a second, and a start with many principals
    Principals {
        /// How many
        #[arg(long, default_value_t = 100_000)]
        count: usize,
    },
    /// Write the report from a file of results to standard output
    Report {
        /// The file that `--out` named
        results: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("tipstaff-bench: {failure}");
            ExitCode::from(3)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let own = std::env::current_exe()?;
    let beside = own.parent().map(|folder| folder.join("tipstaff")).unwrap_or_default();
    let tipstaff = cli.tipstaff.unwrap_or(beside);
    let scratch = cli.scratch.or_else(|| own.parent()?.parent().map(PathBuf::from));
    let scratch = scratch.unwrap_or_else(std::env::temp_dir);
    let out = Out::new(cli.out);
    match cli.what {
        What::Echo => echo::serve(),
        What::Stdio { seconds, rounds, peer, only } => {
            let peers = peer.iter().map(|peer| peer_of(peer)).collect::<Result<_, _>>()?;
            stdio::run(&stdio::Plan { own, tipstaff, scratch, seconds, rounds, peers, only }, &out)
        }
        What::EchoHttp { port } => echo_http::serve(port),
        What::Http { seconds, rounds, peer } => {
            let peers = peer.iter().map(|peer| peer_of(peer)).collect::<Result<_, _>>()?;
            web::run(&web::Plan { own, tipstaff, scratch, seconds, rounds, peers }, &out)
        }
        What::Inprocess { actions } => inprocess::run(&scratch, actions, &out),
        What::Verify { receipts } => verify::run(&scratch, &tipstaff, receipts, &out),
        What::Capability => capability::run(&scratch, &out),
        What::Memory => memory::run(&own, &tipstaff, &scratch, &out),
        What::People => people::run(&own, &tipstaff, &scratch, &out),
        What::Principals { count } => principals::run(&tipstaff, &scratch, count, &out),
        What::Report { results } => report::run(&results),
    }
}

fn peer_of(text: &str) -> Result<(String, Vec<String>), Failure> {
    let (name, command) =
        text.split_once('=').ok_or_else(|| Failure::wrong("a peer is NAME=COMMAND"))?;
    Ok((name.to_owned(), command.split_whitespace().map(str::to_owned).collect()))
}
