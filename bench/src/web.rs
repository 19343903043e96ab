//! Load over streamable HTTP: nothing between, `tipstaff serve`, and peers, in the same minutes.
//!
//! The adversary is the peer that is measured unfairly: every target has the same upstream, the same
//! client and a fresh start, and what a peer needs more (an event stream to read) is part of its price.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Connection;
use crate::echo::SERVER;
use crate::failure::Failure;
use crate::machine::{Load, median, ms, percentile, processes, shuffle};
use crate::out::Out;
use crate::stdio::{make_home, stop_monitor};

/// Stands for the address of the upstream in a peer's command.
const URL: &str = "{url}";
/// Tipstaff with the upstream behind HTTP.
const OVER_HTTP: &str = "tipstaff, HTTP upstream";
/// Clients of the larger load.
const MANY: usize = 32;
/// Time before each measurement that does not count.
const WARM_UP: Duration = Duration::from_millis(500);
/// Time for a target to answer.
const START_WAIT: Duration = Duration::from_secs(60);

/// What to measure.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) own: PathBuf,
    pub(crate) tipstaff: PathBuf,
    pub(crate) scratch: PathBuf,
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
    /// Name and command of each peer. `{port}` is its port, `{folder}` a folder of its own, `{upstream}`
    /// the upstream's command in one word, `{words}` the same in several. Who has `{url}` in its command
    /// gets the same upstream behind HTTP.
    pub(crate) peers: Vec<(String, Vec<String>)>,
}

/// One measurement.
#[derive(Debug, Clone)]
struct Row {
    clients: usize,
    target: String,
    rate: f64,
    p50: f64,
    p99: f64,
    foreign: f64,
}

pub(crate) fn run(plan: &Plan, out: &Out) -> Result<(), Failure> {
    let mut names = vec!["direct".to_owned(), "tipstaff".to_owned()];
    // Beside peers that need an HTTP upstream Tipstaff is measured with one too.
    if plan.peers.iter().any(|(_, words)| needs_url(words)) {
        names.push(OVER_HTTP.to_owned());
    }
    names.extend(plan.peers.iter().map(|(name, _)| name.clone()));
    let mut rows: Vec<Row> = Vec::new();
    for number in 0..plan.rounds {
        let mut order: Vec<(usize, String)> = [1, MANY]
            .into_iter()
            .flat_map(|clients| names.iter().map(move |name| (clients, name.clone())))
            .collect();
        shuffle(&mut order);
        for (clients, target) in order {
            let is_peer = plan.peers.iter().any(|(name, _)| *name == target);
            let row = match measure(plan, clients, &target) {
                Ok(row) => row,
                // A peer that gives up under this load has no figure; ours has to have one.
                Err(failure) if is_peer => {
                    println!("round {number}: {clients:2} clients {target:18} FAILED: {failure}");
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            println!(
                "round {number}: {clients:2} clients {target:18} {:8.0}/s  p50 {:.3} p99 {:.3} ms  foreign {:.2}",
                row.rate, row.p50, row.p99, row.foreign
            );
            rows.push(row);
        }
    }
    for clients in [1, MANY] {
        for name in &names {
            let own = rows.iter().filter(|row| row.clients == clients && row.target == *name);
            let own: Vec<&Row> = own.collect();
            let column = |pick: fn(&Row) -> f64| {
                let figures: Vec<f64> = own.iter().map(|row| pick(row)).collect();
                (!figures.is_empty()).then(|| median(&figures))
            };
            out.write(
                "http",
                &json!({ "clients": clients, "target": name, "per_second": column(|row| row.rate),
                         "p50_ms": column(|row| row.p50), "p99_ms": column(|row| row.p99),
                         "foreign": column(|row| row.foreign), "rounds": own.len() }),
            )?;
        }
    }
    Ok(())
}

fn measure(plan: &Plan, clients: usize, target: &str) -> Result<Row, Failure> {
    let folder = tempfile::tempdir_in(&plan.scratch)?;
    let running = Running::start(plan, target, folder.path())?;
    let address = running.address;
    let time = Duration::from_secs_f64(plan.seconds);
    let mut connections: Vec<Connection> =
        (0..clients).map(|_| Connection::open(address)).collect::<Result<_, _>>()?;
    let mut load = |time: Duration| -> Result<Vec<Duration>, Failure> {
        let until = Instant::now() + time;
        let done: Vec<Result<Vec<Duration>, Failure>> = std::thread::scope(|scope| {
            let workers = connections.iter_mut().map(|one| scope.spawn(move || one.load(until)));
            let workers: Vec<_> = workers.collect();
            workers
                .into_iter()
                .map(|worker| {
                    worker.join().unwrap_or_else(|_| Err(Failure::wrong("a client failed")))
                })
                .collect()
        });
        let done: Vec<Vec<Duration>> = done.into_iter().collect::<Result<_, _>>()?;
        Ok(done.concat())
    };
    load(WARM_UP)?;
    let (look, begun) = (Load::look(folder.path()), Instant::now());
    let mut latencies = load(time)?;
    let spent = Load::look(folder.path()).since(look);
    let rate = latencies.len() as f64 / begun.elapsed().as_secs_f64();
    drop(connections);
    running.end(folder.path())?;
    Ok(Row {
        clients,
        target: target.to_owned(),
        rate,
        p50: ms(percentile(&mut latencies, 50)),
        p99: ms(percentile(&mut latencies, 99)),
        foreign: spent.foreign,
    })
}

/// A target, started.
#[derive(Debug)]
struct Running {
    process: Process,
    /// The upstream behind HTTP, where the target doesn't start one itself. It ends after the target.
    _upstream: Option<Process>,
    address: SocketAddr,
}

impl Running {
    fn start(plan: &Plan, target: &str, folder: &Path) -> Result<Self, Failure> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        // The scratch folder marks the upstream as ours when processor time is counted.
        let upstream = [text(&plan.own), "echo".to_owned(), "--scratch".to_owned(), text(folder)];
        let over_http = |port: u16| {
            let words = [&plan.own, Path::new("echo-http")].map(text);
            let more = [port.to_string(), "--scratch".to_owned(), text(folder)];
            start(&[words.to_vec(), more.to_vec()].concat(), Stdio::null())
        };
        let peer = plan.peers.iter().find(|(name, _)| name == target).map(|(_, words)| words);
        let (mut behind, mut url) = (None, None);
        if target == OVER_HTTP || peer.is_some_and(|words| needs_url(words)) {
            let port = free_port()?;
            url = Some(format!("http://{}:{port}/mcp", Ipv4Addr::LOCALHOST));
            behind = Some(over_http(port)?);
        }
        let port = free_port()?;
        let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let child = match peer {
            Some(words) => {
                let words = words.iter().flat_map(|word| match word.as_str() {
                    "{words}" => upstream.to_vec(),
                    "{upstream}" => vec![upstream.join(" ")],
                    word => vec![
                        word.replace("{port}", &port.to_string())
                            .replace("{folder}", &text(folder))
                            .replace(URL, url.as_deref().unwrap_or_default()),
                    ],
                });
                start(&words.collect::<Vec<String>>(), Stdio::null())
            }
            None if target == "direct" => over_http(port),
            None => {
                let home = folder.join("home");
                make_home(&plan.tipstaff, &home)?;
                let words = upstream.map(|word| format!("{word:?}")).join(", ");
                let server =
                    url.map_or(format!("command = [{words}]"), |url| format!("url = {url:?}"));
                let config = format!("session_grace_s = 0\n[servers.{SERVER}]\n{server}\n");
                std::fs::write(home.join("config.toml"), config)?;
                let words = ["serve", "--listen", "127.0.0.1:0", "--home"].map(str::to_owned);
                let words =
                    [vec![text(&plan.tipstaff)], words.to_vec(), vec![text(&home)]].concat();
                start(&words, Stdio::piped())
            }
        };
        let mut running = Self { process: child?, _upstream: behind, address };
        if let Some(output) = running.process.0.stdout.take() {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line)?;
            let told = line.trim().strip_prefix("http://").and_then(|rest| rest.parse().ok());
            address = told.ok_or_else(|| Failure::wrong(format!("no address in {line:?}")))?;
            running.address = address;
        }
        let until = Instant::now() + START_WAIT;
        while let Err(failure) = Connection::open(address) {
            if Instant::now() > until || running.process.0.try_wait()?.is_some() {
                return Err(Failure::wrong(format!("{target} does not answer: {failure}")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(running)
    }

    fn end(self, folder: &Path) -> Result<(), Failure> {
        drop(self);
        for pid in processes(folder) {
            ask_to_end(pid);
        }
        stop_monitor(&folder.join("home"))
    }
}

/// A process that ends with its owner.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        ask_to_end(self.0.id());
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask_to_end(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Starts a target. What one says that nobody reads would fill its pipe, and stop it.
fn start(words: &[String], output: Stdio) -> Result<Process, Failure> {
    let (program, args) = words.split_first().ok_or_else(|| Failure::wrong("no command"))?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
    Ok(Process(command.spawn()?))
}

/// Whether a peer wants its upstream behind HTTP.
fn needs_url(words: &[String]) -> bool {
    words.iter().any(|word| word.contains(URL))
}

fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
