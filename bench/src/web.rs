//! Load over streamable HTTP: nothing between, `tipstaff serve`, and peers, in the same minutes.
//!
//! The adversary is the peer that is measured unfairly: every target has the same upstream, the same
//! client and a fresh start, and what a peer needs more (an event stream to read) is part of its price.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::echo::{self, SERVER, TOOL, find};
use crate::failure::Failure;
use crate::machine::{Load, median, ms, percentile, processes, shuffle};
use crate::out::Out;
use crate::stdio::{make_home, stop_monitor};

/// Clients of the larger load.
const MANY: usize = 32;
/// Time before each measurement that does not count.
const WARM_UP: Duration = Duration::from_millis(500);
/// Time for a target to answer.
const START_WAIT: Duration = Duration::from_secs(60);
/// Time for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// What to measure.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) own: PathBuf,
    pub(crate) tipstaff: PathBuf,
    pub(crate) scratch: PathBuf,
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
    /// Name and command of each peer. `{port}` is its port, `{upstream}` the upstream's command in one
    /// word, `{words}` the same in several.
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
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(plan: &Plan, target: &str, folder: &Path) -> Result<Self, Failure> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        // The scratch folder marks the upstream as ours when processor time is counted.
        let upstream = [text(&plan.own), "echo".to_owned(), "--scratch".to_owned(), text(folder)];
        let port = free_port()?;
        let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut child = match plan.peers.iter().find(|(name, _)| name == target) {
            Some((_, words)) => {
                let words = words.iter().flat_map(|word| match word.as_str() {
                    "{words}" => upstream.to_vec(),
                    "{upstream}" => vec![upstream.join(" ")],
                    word => vec![word.replace("{port}", &port.to_string())],
                });
                start(&words.collect::<Vec<String>>(), Stdio::null())?
            }
            None if target == "direct" => {
                let words = [&plan.own, Path::new("echo-http")].map(text);
                let more = [port.to_string(), "--scratch".to_owned(), text(folder)];
                start(&[words.to_vec(), more.to_vec()].concat(), Stdio::null())?
            }
            None => {
                let home = folder.join("home");
                make_home(&plan.tipstaff, &home)?;
                let words = upstream.map(|word| format!("{word:?}")).join(", ");
                let config =
                    format!("session_grace_s = 0\n[servers.{SERVER}]\ncommand = [{words}]\n");
                std::fs::write(home.join("config.toml"), config)?;
                let words = ["serve", "--listen", "127.0.0.1:0", "--home"].map(str::to_owned);
                let words =
                    [vec![text(&plan.tipstaff)], words.to_vec(), vec![text(&home)]].concat();
                start(&words, Stdio::piped())?
            }
        };
        if target == "tipstaff" {
            let output = child.stdout.take().ok_or_else(|| Failure::wrong("no output"))?;
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line)?;
            let told = line.trim().strip_prefix("http://").and_then(|rest| rest.parse().ok());
            address = told.ok_or_else(|| Failure::wrong(format!("no address in {line:?}")))?;
        }
        let mut running = Self { child, address };
        let until = Instant::now() + START_WAIT;
        while Connection::open(address).is_err() {
            if Instant::now() > until || running.child.try_wait()?.is_some() {
                return Err(Failure::wrong(format!("{target} does not answer")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(running)
    }

    fn end(mut self, folder: &Path) -> Result<(), Failure> {
        self.stop();
        for pid in processes(folder) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        stop_monitor(&folder.join("home"))
    }

    fn stop(&mut self) {
        if let Some(pid) =
            i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts a target. What one says that nobody reads would fill its pipe, and stop it.
fn start(words: &[String], output: Stdio) -> Result<Child, Failure> {
    let (program, args) = words.split_first().ok_or_else(|| Failure::wrong("no command"))?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
    Ok(command.spawn()?)
}

fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// One client with one session on one connection.
#[derive(Debug)]
struct Connection {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
    session: Option<String>,
    next: u64,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        let stream = BufReader::with_capacity(64 << 10, stream);
        let mut own = Self { stream, address, session: None, next: 1 };
        own.ask(
            "\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",\
                 \"capabilities\":{},\"clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}}",
        )?;
        own.post("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}")?;
        own.ask("\"method\":\"tools/list\",\"params\":{}")?;
        Ok(own)
    }

    fn load(&mut self, until: Instant) -> Result<Vec<Duration>, Failure> {
        let text = "e".repeat(100);
        let call = format!(
            "\"method\":\"tools/call\",\"params\":{{\"name\":\"{TOOL}\",\"arguments\":{{\"name\":\"today\",\
             \"text\":\"{text}\"}}}}"
        );
        let mut latencies = Vec::new();
        while Instant::now() < until {
            let begun = Instant::now();
            let answer = self.ask(&call)?;
            latencies.push(begun.elapsed());
            if find(&answer, text.as_bytes()).is_none() {
                let words = String::from_utf8_lossy(&answer).into_owned();
                return Err(Failure::wrong(format!("a call was refused: {words}")));
            }
        }
        Ok(latencies)
    }

    fn ask(&mut self, rest: &str) -> Result<Vec<u8>, Failure> {
        let number = self.next;
        self.next += 1;
        let answer = self.post(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},{rest}}}"))?;
        match find(&answer, b"\"result\"") {
            Some(_) => Ok(answer),
            None => Err(Failure::wrong(String::from_utf8_lossy(&answer).into_owned())),
        }
    }

    /// The body of the answer, whole.
    fn post(&mut self, body: &str) -> Result<Vec<u8>, Failure> {
        let session = match &self.session {
            Some(id) => format!("mcp-session-id: {id}\r\nmcp-protocol-version: 2025-11-25\r\n"),
            None => String::new(),
        };
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json, \
             text/event-stream\r\n{session}content-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut chunked) = (None, false);
        let status = self.line()?;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse::<usize>().ok(),
                "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
                "mcp-session-id" => self.session = Some(value.to_owned()),
                _ => {}
            }
        }
        if !status.contains(" 20") {
            return Err(Failure::wrong(status));
        }
        let mut body = Vec::new();
        if chunked {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.trim(), 16).map_err(Failure::wrong)?;
                let at = body.len();
                body.resize(at + size + 2, 0);
                self.stream.read_exact(body.get_mut(at..).unwrap_or_default())?;
                body.truncate(at + size);
                if size == 0 {
                    break;
                }
            }
        } else {
            body.resize(length.unwrap_or(0), 0);
            self.stream.read_exact(&mut body)?;
        }
        Ok(body)
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(Failure::wrong("the connection was closed"));
        }
        Ok(line.trim_end().to_owned())
    }
}

/// The same upstream over HTTP, a thread for each connection: nothing between.
pub(crate) fn serve(port: u16) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        // A client that goes away ends its own thread.
        std::thread::spawn(move || drop(connection(stream)));
    }
    Ok(())
}

fn connection(stream: TcpStream) -> Result<(), Failure> {
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let mut out = Vec::new();
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.trim_end().to_ascii_lowercase();
            if lower.is_empty() {
                break;
            }
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(Failure::wrong)?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut answer = Vec::new();
        echo::answer(&body, &mut answer);
        out.clear();
        if answer.is_empty() {
            out.extend_from_slice(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
        } else {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(&answer);
        }
        reader.get_mut().write_all(&out)?;
    }
}
