//! Enrolling many, and starting with many: through the command line, the monitor's socket, and a log that syncs.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tipstaff_core::key::SigningKey;
use tipstaff_monitor::{Home, Monitor};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::machine::{Load, median, ms, processes, resident_mib};
use crate::out::Out;
use crate::stdio::{make_home, stop_monitor};

/// Starts of which the middle one counts.
const STARTS: usize = 5;
/// Orders one at a time.
const SINGLE: usize = 20;
/// Principals whose keys the home makes.
const MADE: usize = 10_000;

pub(crate) fn run(tipstaff: &Path, scratch: &Path, count: usize, out: &Out) -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(scratch)?;
    let home = folder.path().join("home");
    make_home(tipstaff, &home)?;
    // What is measured is one monitor: it stays while nobody is there.
    fs::write(home.join("config.toml"), "idle_exit_s = 600\n")?;
    let list = folder.path().join("list");
    write_list(&list, count)?;
    // The monitor is there before anything is measured.
    ask(tipstaff, &home, &["principal", "list"])?;
    let (look, begun) = (Load::look(folder.path()), Instant::now());
    let file = list.to_string_lossy().into_owned();
    let done = ask(tipstaff, &home, &["principal", "enrol", "--from", &file])?;
    let taken = begun.elapsed();
    let foreign = Load::look(folder.path()).since(look).foreign;
    if done.get("enrolled").and_then(Value::as_u64) != Some(count as u64) {
        return Err(Failure::wrong("not everybody was enrolled"));
    }
    let per_second = count as f64 / taken.as_secs_f64();
    let monitor = monitor(folder.path())?;
    let gone = || Failure::wrong("the monitor is gone");
    let resident = resident_mib(monitor).ok_or_else(gone)?;
    let again = Instant::now();
    ask(tipstaff, &home, &["principal", "enrol", "--from", &file])?;
    let again_ms = ms(again.elapsed());
    let mut single = Vec::new();
    for number in 0..SINGLE {
        let name = format!("one{number}");
        let did = key(u64::MAX - number as u64)?.verifying_key().to_did_key();
        let begun = Instant::now();
        let words = ["principal", "enrol", &name, "--kind", "human", "--key", &did];
        ask(tipstaff, &home, &words)?;
        single.push(ms(begun.elapsed()));
    }
    let mut page = Vec::new();
    for _ in 0..SINGLE {
        let begun = Instant::now();
        ask(tipstaff, &home, &["principal", "list", "--after", "p5"])?;
        page.push(ms(begun.elapsed()));
    }
    // Killed, it reads what the log says since the last snapshot; ended in order, it has a snapshot.
    stop_monitor(folder.path())?;
    let killed_ms = ms(start(&home)?);
    let starts = (0..STARTS).map(|_| Ok(ms(start(&home)?))).collect::<Result<Vec<_>, Failure>>()?;
    let start_ms = median(&starts);
    let begun = Instant::now();
    ask(tipstaff, &home, &["principal", "show", "p0"])?;
    let asked_ms = ms(begun.elapsed());
    let resident_after = resident_mib(self::monitor(folder.path())?).ok_or_else(gone)?;
    let bytes = fs::metadata(home.join("orders"))?.len();
    stop_monitor(folder.path())?;
    let made = with_keys(tipstaff, scratch, count.min(MADE))?;
    let (single_ms, page_ms) = (median(&single), median(&page));
    println!("{count} principals from a file: {per_second:.0} a second; the same file again");
    println!("  {again_ms:.0} ms; with keys that the home makes: {made:.0} a second");
    println!("one more, a process each: {single_ms:.1} ms; a page of the list {page_ms:.1} ms");
    println!(
        "start, in the process: {start_ms:.0} ms, after a kill {killed_ms:.0} ms; from nothing to"
    );
    println!("  the first answer of the command line {asked_ms:.0} ms");
    println!("resident: {resident:.0} MiB after enrolling, {resident_after:.0} MiB after a start");
    println!("  orders on disk {:.0} MiB; foreign load {foreign:.2}", mib(bytes));
    out.write(
        "principals",
        &json!({ "count": count, "per_second": per_second, "again_ms": again_ms,
                 "made_per_second": made, "single_ms": single_ms, "page_ms": page_ms,
                 "start_ms": start_ms, "start_s": start_ms / 1e3, "killed_ms": killed_ms,
                 "asked_ms": asked_ms, "resident_mib": resident,
                 "resident_after_start_mib": resident_after, "orders_mib": mib(bytes),
                 "foreign": foreign }),
    )
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Everybody with a key that is theirs: a person, a service, and agents of both.
fn write_list(file: &Path, count: usize) -> Result<(), Failure> {
    let mut text = Vec::new();
    for number in 0..count {
        let did = key(number as u64)?.verifying_key().to_did_key();
        let (kind, owner) = match number {
            0 => ("human", Value::Null),
            1 => ("service", json!("p0")),
            _ => ("agent", json!(format!("p{}", number % 2))),
        };
        let line = json!({ "name": format!("p{number}"), "kind": kind, "owner": owner,
                           "roles": ["reader"], "key": did });
        writeln!(text, "{line}")?;
    }
    Ok(fs::write(file, text)?)
}

fn key(number: u64) -> Result<SigningKey, Failure> {
    let mut seed = Zeroizing::new([7; 32]);
    if let Some(first) = seed.first_chunk_mut::<8>() {
        *first = number.to_le_bytes();
    }
    Ok(SigningKey::from_seed(&seed)?)
}

/// Enrolling a second with keys that the home makes, each in a file that is durable.
fn with_keys(tipstaff: &Path, scratch: &Path, count: usize) -> Result<f64, Failure> {
    let folder = tempfile::tempdir_in(scratch)?;
    let home = folder.path().join("home");
    make_home(tipstaff, &home)?;
    fs::write(home.join("config.toml"), "idle_exit_s = 600\n")?;
    let (list, mut text) = (folder.path().join("list"), Vec::new());
    for number in 0..count {
        writeln!(text, "{}", json!({ "name": format!("p{number}"), "kind": "human" }))?;
    }
    fs::write(&list, text)?;
    ask(tipstaff, &home, &["principal", "list"])?;
    let begun = Instant::now();
    ask(tipstaff, &home, &["principal", "enrol", "--from", &list.to_string_lossy()])?;
    let taken = begun.elapsed();
    stop_monitor(folder.path())?;
    Ok(count as f64 / taken.as_secs_f64())
}

fn ask(tipstaff: &Path, home: &Path, words: &[&str]) -> Result<Value, Failure> {
    let mut command = Command::new(tipstaff);
    command.arg("--json").args(words).arg("--home").arg(home).stderr(Stdio::inherit());
    let done = command.output()?;
    if !done.status.success() {
        return Err(Failure::wrong(format!(
            "{words:?}: {}",
            String::from_utf8_lossy(&done.stdout)
        )));
    }
    serde_json::from_slice(&done.stdout).map_err(Failure::wrong)
}

fn monitor(mark: &Path) -> Result<u32, Failure> {
    let monitor = processes(mark).into_iter().find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|word| word == "monitor")
    });
    monitor.ok_or_else(|| Failure::wrong("no monitor runs"))
}

/// One start in this process, ended in order.
fn start(home: &Path) -> Result<Duration, Failure> {
    let home = Home::at(home);
    // One that was killed may hold the lock for a moment.
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    let monitor = Monitor::open(&home)?;
    let taken = begun.elapsed();
    monitor.shut_down()?;
    Ok(taken)
}
