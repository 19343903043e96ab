//! `wrap`: an MCP server over stdio, with the monitor in front of it.
//!
//! The adversary is the server that dies, hangs or lingers, and the client that just goes away. However
//! the session ends, whoever waits is told, what ran is settled, and the server is ended and reaped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tipstaff_core::action::Salt;
use tipstaff_core::limits::{BODY_BYTES_MAX, RESULT_BYTES_MAX};
use tipstaff_core::receipt::Door;
use tipstaff_identity::{HomeKeys, SystemRandom};
use tipstaff_monitor::{Caller, Client, Join, Setting, Tell, Told};
use tipstaff_store::Random as _;

use crate::child::{self, Log, Server};
use crate::error::GatewayError;
use crate::frame::FrameReader;
use crate::http::wrap_url;
use crate::judge::Judge;
use crate::name::server_name;
use crate::pipe::{Patient, Pipe};
use crate::shim::{Batch, Ears, End, Over, Shim, Terms};

/// Time for answers after the client has closed its side.
const DRAIN: Duration = Duration::from_secs(2);
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(200);
/// Time to tell the client that it is over.
const TELL: Duration = Duration::from_secs(1);

/// What to wrap.
#[derive(Debug, Clone)]
pub struct WrapOptions {
    /// The home folder.
    pub home: PathBuf,
    /// The server's name in policies and receipts; derived from how it is reached if `None`.
    pub server_name: Option<String>,
    /// How the server is reached.
    pub reached: Reached,
    /// What the user wants, in words: it opens the session, signed.
    pub intent: Option<String>,
    /// For whom it acts: the client that started it, or the principal whose key is given.
    pub caller: Caller,
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub enum Reached {
    /// It is started, and speaks over its standard streams.
    Command {
        /// The command that starts it.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Names of more environment variables that it gets.
        env: Vec<String>,
    },
    /// It is elsewhere, and speaks streamable HTTP.
    Url {
        /// Its address, or where that is kept: some hold a secret.
        url: Setting,
        /// Headers that go with each request.
        headers: BTreeMap<String, Setting>,
    },
}

/// How a wrapped session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrapEnd {
    /// The client closed it, or a signal did.
    Orderly,
    /// The server died or stopped reading.
    ServerDied,
}

impl WrapEnd {
    /// The exit code of the process.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Orderly => 0,
            Self::ServerDied => 3,
        }
    }
}

/// Serves MCP on standard input and output in front of the server that the options name, until one
/// side ends.
///
/// # Errors
/// [`GatewayError`] if the monitor can't be reached or the server can't be started.
pub fn wrap(options: WrapOptions) -> Result<WrapEnd, GatewayError> {
    let WrapOptions { home, server_name: name, reached, intent, caller } = options;
    let (command, args, env) = match reached {
        Reached::Command { command, args, env } => (command, args, env),
        Reached::Url { url, headers } => {
            return wrap_url(&home, name, &url, headers, (intent, caller));
        }
    };
    if command.is_empty() {
        return Err(GatewayError::NoCommand);
    }
    let server = name.unwrap_or_else(|| server_name(&command, &args));
    let whole = std::iter::once(command.clone()).chain(args.iter().cloned()).collect();
    let join = Join { server: server.clone(), door: Door::McpStdio, command: whole, caller };
    let monitor = Client::join(&home, join)?;
    open_with(&monitor, &home, intent)?;
    let settings = monitor.settings().clone();

    let more: Vec<String> = settings.env_allow.iter().cloned().chain(env).collect();
    // From here on a signal must not end this process before it has ended the server.
    let signals = signals()?;
    let environment = child::environment(std::env::vars_os(), &more);
    let child = Server::start(&command, &args, environment, settings.server_memory_mib)?;
    monitor.child_started(child.pid());
    let log = Log::open(&settings.stderr_folder, &server)
        .inspect_err(|error| {
            crate::say(&format!("the server's standard error is not kept: {error}"))
        })
        .ok();

    let terms = Terms {
        server,
        receipt_in_meta: settings.receipt_in_meta,
        call_timeout: settings.call_timeout,
    };
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let input = File::from(input.map_err(GatewayError::system("standard input"))?);
    let output = std::io::stdout().as_fd().try_clone_to_owned();
    let output = File::from(output.map_err(GatewayError::system("standard output"))?);
    let end = run(monitor.clone(), terms, (child, log, signals), (input, Pipe::new(output)))?;
    monitor.leave();
    Ok(end)
}

/// Tells a door's session, signed, what its user wants. It counts as the session's opening, and from a client's
/// hook at any time.
///
/// # Errors
/// [`GatewayError::Unsigned`]
pub fn open_with(
    monitor: &Client,
    home: &std::path::Path,
    intent: Option<String>,
) -> Result<(), GatewayError> {
    let Some(text) = intent else { return Ok(()) };
    let unsigned = |why: String| GatewayError::Unsigned(why);
    let key = HomeKeys::approver(home).map_err(|error| unsigned(error.to_string()))?;
    let mut salt = [0; 16];
    SystemRandom.fill(&mut salt).map_err(|error| unsigned(error.to_string()))?;
    let settings = monitor.settings();
    let (session, log) = (settings.session.clone(), settings.log.clone());
    let told = Told { tell: Tell::Request(text), session, log, salt: Salt(salt) };
    monitor.open_with(&told.sign(&key));
    Ok(())
}

/// Signals that ask for an end, caught from the moment that this exists.
#[derive(Debug)]
pub struct EndSignals(Signals);

/// Catches the signals that ask this process to end.
///
/// # Errors
/// [`GatewayError::System`]
pub fn end_signals() -> Result<EndSignals, GatewayError> {
    signals().map(EndSignals)
}

impl EndSignals {
    /// Runs `end` on a thread of its own when the first one comes.
    pub fn on_first(mut self, end: impl FnOnce() + Send + 'static) {
        thread::spawn(move || {
            if self.0.forever().next().is_some() {
                end();
            }
        });
    }
}

/// The signals that ask for an end.
fn signals() -> Result<Signals, GatewayError> {
    Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(GatewayError::system("signal handlers"))
}

/// Runs a session between the client's streams and a started server.
fn run<J: Judge>(
    judge: J,
    terms: Terms,
    (mut child, log, mut signals): (Server, Option<Log>, Signals),
    (input, output): (impl Read + Send + 'static, Pipe),
) -> Result<WrapEnd, GatewayError> {
    let missing = || GatewayError::System {
        what: "the server's streams",
        source: std::io::ErrorKind::NotFound.into(),
    };
    let streams = child.streams();
    let (stdin, stdout, stderr) =
        (streams.stdin.take(), streams.stdout.take(), streams.stderr.take());
    let (stdin, stdout, stderr) =
        (stdin.ok_or_else(missing)?, stdout.ok_or_else(missing)?, stderr.ok_or_else(missing)?);
    let stdin = Patient::new(stdin, terms.call_timeout)
        .map_err(GatewayError::system("the server's input"))?;
    let (ends, ended) = sync_channel(8);
    let ends = move |end| {
        // A full channel means that an end is under way already.
        let _ = ends.try_send(end);
    };
    let shim = Shim::new(judge, terms, output, Pipe::new(stdin), Ears::of(ends));

    let watcher = Arc::clone(&shim);
    spawn("signals", move || {
        for _ in signals.forever() {
            watcher.end(End::Asked);
        }
    })?;
    let kept = Arc::downgrade(&shim);
    spawn("clock", move || keep_time(&kept))?;
    spawn("server-stderr", move || child::keep_words(stderr, log))?;
    let reader = Arc::clone(&shim);
    spawn("server", move || {
        read_server(&reader, stdout);
        reader.end(End::ServerGone);
    })?;
    let reader = Arc::clone(&shim);
    spawn("client", move || {
        read_client(&reader, input);
        reader.end(End::ClientGone);
    })?;

    let end = wait(&shim, &ended, None);
    Ok(finish(&shim, &ended, &mut child, end))
}

pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), GatewayError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(body);
    thread.map(drop).map_err(GatewayError::system("starting a thread"))
}

fn read_client<J: Judge>(shim: &Arc<Shim<J>>, input: impl Read) {
    let mut frames = FrameReader::new(input, BODY_BYTES_MAX);
    while let Ok(Some(frame)) = frames.next() {
        shim.client_frame(frame);
        if !frames.has_line() {
            shim.attend();
        }
    }
}

pub(crate) fn read_server<J: Judge>(shim: &Arc<Shim<J>>, output: impl Read) {
    let mut frames = FrameReader::new(output, RESULT_BYTES_MAX);
    let mut batch = Batch::new();
    while let Ok(Some(frame)) = frames.next() {
        shim.server_frame(frame, &mut batch);
        if batch.is_full() || !frames.has_line() {
            shim.flush(&mut batch);
        }
    }
    shim.flush(&mut batch);
}

/// Looks at the deadlines for as long as the shim is there. On a thread of its own: telling a client that
/// doesn't read takes forever, and must not keep the end waiting.
pub(crate) fn keep_time<J: Judge>(shim: &Weak<Shim<J>>) {
    while let Some(shim) = shim.upgrade() {
        shim.tick(Instant::now());
        drop(shim);
        thread::sleep(TICK);
    }
}

/// Waits until the session ends, or, draining, until nothing is in flight.
fn wait<J: Judge>(shim: &Shim<J>, ended: &Receiver<End>, drain: Option<Instant>) -> End {
    let tick = if drain.is_some() { Duration::from_millis(5) } else { TICK };
    loop {
        match ended.recv_timeout(tick) {
            Ok(End::ClientGone) if drain.is_some() => {}
            Ok(end) => return end,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return End::Asked,
        }
        if drain.is_some_and(|until| shim.is_idle() || Instant::now() >= until) {
            return End::ClientGone;
        }
    }
}

fn finish<J: Judge>(
    shim: &Arc<Shim<J>>,
    ended: &Receiver<End>,
    child: &mut Server,
    mut end: End,
) -> WrapEnd {
    if end == End::ClientGone {
        end = match wait(shim, ended, Some(Instant::now() + DRAIN)) {
            // The client has gone already: a server that ends with it is in order.
            End::ServerGone | End::ClientGone => End::ClientGone,
            End::Asked => End::Asked,
        };
    }
    let over = match end {
        End::ServerGone => Over::Server,
        End::ClientGone | End::Asked => Over::Session,
    };
    // On a thread of its own: a client that doesn't read must not keep the server alive.
    let (teller, (told, telling)) = (Arc::clone(shim), sync_channel::<()>(1));
    let spawned = spawn("end", move || {
        teller.fail_all(over);
        drop(told);
    });
    if spawned.is_ok() {
        let _ = telling.recv_timeout(TELL);
    }
    shim.close_server(Duration::from_millis(100));
    let status = child.end();
    if end == End::ServerGone {
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        crate::say(&format!("the server ended by itself ({how})"));
        return WrapEnd::ServerDied;
    }
    WrapEnd::Orderly
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
    use std::thread::JoinHandle;

    use super::*;
    use crate::shim::tests::Script;

    struct Session {
        to: PipeWriter,
        from: BufReader<PipeReader>,
        run: JoinHandle<WrapEnd>,
        script: Script,
    }

    /// A session with a server that a shell script is.
    fn session(server: &str) -> Session {
        let (client_in, to) = std::io::pipe().unwrap();
        let (from, client_out) = std::io::pipe().unwrap();
        let path = vec![("PATH".into(), std::env::var_os("PATH").unwrap())];
        let child = Server::start("sh", &["-c".into(), server.into()], path, None).unwrap();
        let terms = Terms {
            server: "s".into(),
            receipt_in_meta: false,
            call_timeout: Duration::from_secs(5),
        };
        let script = Script::default();
        let judge = script.clone();
        let run = thread::spawn(move || {
            let process = (child, None, signals().unwrap());
            run(judge, terms, process, (client_in, Pipe::new(client_out))).unwrap()
        });
        Session { to, from: BufReader::new(from), run, script }
    }

    impl Session {
        fn call(&mut self, id: u32) {
            let line = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo"}}}}"#
            );
            self.to.write_all(format!("{line}\n").as_bytes()).unwrap();
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            self.from.read_line(&mut line).unwrap();
            line
        }
    }

    const LISTS: &str =
        r#"read l; echo '{"jsonrpc":"2.0","id":"tipstaff-1","result":{"tools":[]}}';"#;
    const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"n":1.0}}"#;

    #[test]
    fn a_call_comes_back_and_the_end_is_in_order() {
        let mut session = session(&format!("{LISTS} read l; sleep 0.2; echo '{RESULT}'; cat"));
        session.call(1);
        // The client leaves at once, as a shell pipeline does; its answer still comes.
        drop(session.to);
        let mut line = String::new();
        session.from.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{RESULT}\n"));
        assert_eq!(session.run.join().unwrap(), WrapEnd::Orderly);
        assert_eq!(session.script.log.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_server_that_dies_is_told_about() {
        let mut session = session(&format!("{LISTS} read l; exit 9"));
        session.call(1);
        let told = session.line();
        assert!(told.contains("The server has ended") && told.contains("isError"), "{told}");
        let end = session.run.join().unwrap();
        assert_eq!((end, end.exit_code()), (WrapEnd::ServerDied, 3));
        assert!(session.script.log.lock().unwrap().first().unwrap().contains("Ambiguous"));
    }

    #[test]
    fn a_server_that_stops_reading_is_ended() {
        let mut session = session(&format!("{LISTS} exec sleep 300"));
        let big = "x".repeat(60_000);
        for id in 1..4 {
            let call = r#""method":"tools/call","params":{"name":"echo","arguments":"#;
            let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{call}{{\"a\":\"{big}\"}}}}}}\n");
            session.to.write_all(line.as_bytes()).unwrap();
        }
        for _ in 1..4 {
            let told = session.line();
            assert!(told.contains("\"isError\":true"), "{told}");
        }
        assert_eq!(session.run.join().unwrap(), WrapEnd::ServerDied);
    }
}
