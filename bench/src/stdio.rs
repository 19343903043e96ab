//! Load over stdio: nothing between, `tipstaff wrap`, and peers, in the same minutes.
//!
//! What was promised is checked after each measurement: the log verifies and holds two receipts for
//! each call. The cost of one sync on the same disk is measured beside, as the physical limit.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::echo::SERVER;
use crate::failure::Failure;
use crate::load::{Client, Seen};
use crate::machine::{Load, Spent, median, ms, percentile, processes, shuffle};
use crate::out::Out;

/// Calls in flight, and gateways side by side.
const MANY: usize = 32;
/// Time before each measurement that does not count.
const WARM_UP: Duration = Duration::from_millis(300);
/// Syncs measured before and after each measurement.
const SYNCS: u64 = 300;
/// How long a monitor may take to end.
const GRACE: Duration = Duration::from_secs(15);

/// What to measure.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) own: PathBuf,
    pub(crate) tipstaff: PathBuf,
    pub(crate) scratch: PathBuf,
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
    /// Name and command of each peer; the upstream's command is appended.
    pub(crate) peers: Vec<(String, Vec<String>)>,
    /// What the names of the loads to measure contain.
    pub(crate) only: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    name: &'static str,
    gateways: usize,
    in_flight: usize,
}

const SHAPES: [Shape; 3] = [
    Shape { name: "1 client", gateways: 1, in_flight: 1 },
    Shape { name: "32 in flight on one", gateways: 1, in_flight: MANY },
    Shape { name: "32 side by side", gateways: MANY, in_flight: 1 },
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Direct,
    Tipstaff,
    Peer(String, Vec<String>),
}

#[derive(Debug, Clone, Copy)]
struct Figures {
    rate: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    /// One sync right beside it, 50th and 99th percentile in milliseconds.
    sync: (f64, f64),
    spent: Spent,
}

#[derive(Debug)]
struct Round {
    rows: Vec<(Shape, Target, Figures)>,
}

pub(crate) fn run(plan: &Plan, out: &Out) -> Result<(), Failure> {
    let mut targets = vec![Target::Direct, Target::Tipstaff];
    targets.extend(
        plan.peers.iter().map(|(name, command)| Target::Peer(name.clone(), command.clone())),
    );
    let mut rounds = Vec::new();
    for number in 0..plan.rounds {
        let mut order: Vec<(Shape, Target)> = SHAPES
            .into_iter()
            .filter(|shape| shape.name.contains(&plan.only))
            .flat_map(|shape| targets.iter().map(move |target| (shape, target.clone())))
            .collect();
        shuffle(&mut order);
        let mut round = Round { rows: Vec::new() };
        for (shape, target) in order {
            let figures = measure(plan, shape, &target)?;
            println!(
                "round {number}: {:20} {:9} {:8.0}/s  p50 {:.3} p90 {:.3} p99 {:.3} ms  foreign {:.2}",
                shape.name,
                target.name(),
                figures.rate,
                figures.p50,
                figures.p90,
                figures.p99,
                figures.spent.foreign
            );
            round.rows.push((shape, target, figures));
        }
        rounds.push(round);
    }
    summarize(plan, &rounds, &targets, out)
}

impl Target {
    fn name(&self) -> &str {
        match self {
            Self::Direct => "direct",
            Self::Tipstaff => "tipstaff",
            Self::Peer(name, _) => name,
        }
    }

    fn command(&self, plan: &Plan, home: &Path) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut command = match self {
            Self::Direct => Vec::new(),
            Self::Tipstaff => {
                let mut command = vec![text(&plan.tipstaff), "wrap".to_owned()];
                command.extend(["--home".to_owned(), text(home)]);
                command.extend(["--name", SERVER, "--"].map(str::to_owned));
                command
            }
            Self::Peer(_, command) => command.clone(),
        };
        // The scratch folder marks the upstream as ours when processor time is counted.
        command.extend([text(&plan.own), "echo".to_owned(), "--scratch".to_owned(), text(home)]);
        command
    }
}

fn measure(plan: &Plan, shape: Shape, target: &Target) -> Result<Figures, Failure> {
    let folder = tempfile::tempdir_in(&plan.scratch)?;
    let home = folder.path().join("home");
    make_home(&plan.tipstaff, &home)?;
    let command = target.command(plan, &home);
    let mut clients = Vec::new();
    for _ in 0..shape.gateways {
        clients.push(Client::start(&command)?);
    }
    let before = syncs(&plan.scratch)?;
    load(&mut clients, shape, WARM_UP)?;
    let (look, start) = (Load::look(folder.path()), Instant::now());
    let mut seen = load(&mut clients, shape, Duration::from_secs_f64(plan.seconds))?;
    let taken = start.elapsed();
    let spent = Load::look(folder.path()).since(look);
    let after = syncs(&plan.scratch)?;
    // The smaller leaves more of the latency to the gateway.
    let sync = if after.0 < before.0 { after } else { before };
    let calls: u64 = clients.iter().map(Client::calls).sum();
    for client in clients {
        client.end()?;
    }
    if seen.errors > 0 {
        return Err(Failure::wrong(format!("{} calls failed", seen.errors)));
    }
    if *target == Target::Tipstaff {
        end_of_monitor(folder.path())?;
        check(&plan.tipstaff, &home, calls)?;
    }
    let rate = seen.latencies.len() as f64 / taken.as_secs_f64();
    let mut at = |percent| ms(percentile(&mut seen.latencies, percent));
    Ok(Figures { rate, p50: at(50), p90: at(90), p99: at(99), sync, spent })
}

fn load(clients: &mut [Client], shape: Shape, time: Duration) -> Result<Seen, Failure> {
    let done: Vec<Result<Seen, Failure>> = match clients {
        [one] => vec![one.load(shape.in_flight, time)],
        many => std::thread::scope(|scope| {
            let threads: Vec<_> = many
                .iter_mut()
                .map(|client| scope.spawn(move || client.load(shape.in_flight, time)))
                .collect();
            let lost = || Err(Failure::wrong("a thread of the load ended"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
        }),
    };
    let mut all = Seen::default();
    for seen in done {
        let seen = seen?;
        all.latencies.extend(seen.latencies);
        all.errors += seen.errors;
    }
    Ok(all)
}

/// A home whose sessions and monitor end with their last client.
pub(crate) fn make_home(tipstaff: &Path, home: &Path) -> Result<(), Failure> {
    let mut command = Command::new(tipstaff);
    let done = command.arg("init").arg("--home").arg(home).stdout(Stdio::null()).status()?;
    if !done.success() {
        return Err(Failure::wrong("the home could not be made"));
    }
    Ok(fs::write(home.join("config.toml"), "idle_exit_s = 0\nsession_grace_s = 0\n")?)
}

/// Waits for the monitor that the doors started; one that stays is killed by its id.
pub(crate) fn end_of_monitor(mark: &Path) -> Result<(), Failure> {
    let until = Instant::now() + GRACE;
    while Instant::now() < until {
        if processes(mark).is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    stop_monitor(mark)?;
    Err(Failure::wrong("the monitor did not end by itself"))
}

/// Kills a monitor by its id.
pub(crate) fn stop_monitor(mark: &Path) -> Result<(), Failure> {
    for pid in processes(mark) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        }
    }
    Ok(())
}

/// The log verifies, every session is closed, and there are two receipts for each call.
fn check(tipstaff: &Path, home: &Path, calls: u64) -> Result<(), Failure> {
    let mut command = Command::new(tipstaff);
    let done = command.args(["verify", "--json", "--home"]).arg(home).output()?;
    let answer: Value = serde_json::from_slice(&done.stdout)?;
    let chains = answer.get("chains").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut receipts = 0;
    for chain in &chains {
        if chain.get("chain").and_then(Value::as_str) == Some("control") {
            continue;
        }
        if chain.get("closed") != Some(&Value::Bool(true)) {
            return Err(Failure::wrong(format!("a session is not closed: {chain}")));
        }
        // Its opening and its end.
        receipts += chain.get("length").and_then(Value::as_u64).unwrap_or_default() - 2;
    }
    if answer.get("valid") != Some(&Value::Bool(true)) || receipts != 2 * calls {
        return Err(Failure::wrong(format!("{receipts} receipts of {calls} calls: {answer}")));
    }
    Ok(())
}

/// The 50th and 99th percentile of appending 1 KiB durably to a file that is there already.
fn syncs(scratch: &Path) -> Result<(f64, f64), Failure> {
    let file = tempfile::tempfile_in(scratch)?;
    let block = [0x5a; 1 << 10];
    for at in 0..SYNCS {
        file.write_all_at(&[0; 1 << 10], at << 10)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    for at in 0..SYNCS {
        let start = Instant::now();
        file.write_all_at(&block, at << 10)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    Ok((ms(percentile(&mut times, 50)), ms(percentile(&mut times, 99))))
}

fn summarize(plan: &Plan, rounds: &[Round], targets: &[Target], out: &Out) -> Result<(), Failure> {
    let of = |round: &Round, shape: Shape, target: &Target| {
        round.rows.iter().find(|(s, t, _)| *s == shape && t == target).map(|(_, _, f)| *f)
    };
    let syncs = rounds.iter().flat_map(|round| &round.rows).map(|(_, _, figures)| figures.sync);
    let (sync50, sync99): (Vec<f64>, Vec<f64>) = syncs.unzip();
    println!("fdatasync of 1 KiB: p50 {:.3} p99 {:.3} ms", median(&sync50), median(&sync99));
    out.write("sync", &json!({ "p50_ms": spread(&sync50), "p99_ms": spread(&sync99) }))?;
    for shape in SHAPES.into_iter().filter(|shape| shape.name.contains(&plan.only)) {
        for target in targets {
            let both: Vec<(Figures, Figures)> = rounds
                .iter()
                .filter_map(|round| {
                    Some((of(round, shape, target)?, of(round, shape, &Target::Direct)?))
                })
                .collect();
            let all = |pick: fn(&Figures) -> f64| {
                spread(&both.iter().map(|(figures, _)| pick(figures)).collect::<Vec<_>>())
            };
            let ratios: Vec<f64> =
                both.iter().map(|(own, direct)| own.rate / direct.rate).collect();
            let added: Vec<f64> = both.iter().map(|(own, direct)| own.p50 - direct.p50).collect();
            let beyond: Vec<f64> =
                both.iter().map(|(own, direct)| own.p50 - direct.p50 - own.sync.0).collect();
            println!(
                "{:20} {:9} {:8.0}/s  ratio {:.3}  added p50 {:.3} ms, {:.3} beyond one sync",
                shape.name,
                target.name(),
                median(&both.iter().map(|(own, _)| own.rate).collect::<Vec<_>>()),
                median(&ratios),
                median(&added),
                median(&beyond)
            );
            let result = json!({
                "shape": shape.name, "target": target.name(), "rounds": both.len(),
                "ratio": spread(&ratios), "added_p50_ms": spread(&added),
                "added_beyond_sync_ms": spread(&beyond), "per_second": all(|f| f.rate),
                "p50_ms": all(|f| f.p50), "p90_ms": all(|f| f.p90), "p99_ms": all(|f| f.p99),
                "own": all(|f| f.spent.own), "foreign": all(|f| f.spent.foreign),
            });
            out.write("stdio", &result)?;
        }
    }
    Ok(())
}

/// Middle, least and most.
fn spread(figures: &[f64]) -> Value {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    json!([median(figures), least, most])
}
