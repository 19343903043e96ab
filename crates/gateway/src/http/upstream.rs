//! One server behind one client: started when it is needed, ended with its client, started again.
//!
//! The adversary is a server that doesn't start, hangs, dies or stops reading. Everything that may block
//! on it happens on threads of its own, behind a bounded queue, so that it keeps nobody else waiting; one
//! that keeps dying is started less and less often.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tipstaff_core::limits::RESULT_BYTES_MAX;
use tipstaff_core::receipt::Door;
use tipstaff_monitor::{Caller, Client, Join};

use super::login::Bearer;
use super::remote::Remote;
use super::seat::{Joins, Plan, Seat};
use super::secrets::resolve;
use crate::answer::{self, Failure};
use crate::child::{self, Log, Server};
use crate::frame::FrameReader;
use crate::message::{Id, Message};
use crate::pipe::{Patient, Pipe};
use crate::request::{Form, TOOLS_CALL};
use crate::shim::{Batch, Ears, End, Over, Shim, Terms};
use crate::wrap::{keep_time, spawn};

/// Most messages that wait for a server which doesn't read.
const QUEUE_MAX: usize = 1024;
/// Time for a server to answer the handshake when it is started again.
const REPLAY_WAIT: Duration = Duration::from_secs(30);
/// Longest time between two starts of a server that keeps dying.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A server that ran so long has recovered.
const STEADY: Duration = Duration::from_secs(60);
/// Time for the driver to come to an end before what it may be stuck on is ended under it.
const STUCK_WAIT: Duration = Duration::from_secs(2);
/// Time for what is being written when a server is ended.
const CLOSE_WAIT: Duration = Duration::from_millis(100);

const LOST: &str = "The connection to the server broke before it answered. It is not known whether the action had its effect.";

/// A server behind a session.
#[derive(Debug)]
pub(super) struct Upstream {
    name: String,
    jobs: SyncSender<Job>,
    waiting: Mutex<Option<(Plan, Receiver<Job>)>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    brake: Arc<Brake>,
}

/// Ends what the driver may be stuck on.
#[derive(Debug, Default)]
struct Brake {
    closing: AtomicBool,
    /// Emptied before the process is reaped, so that its number can't name another one.
    stuck_on: Mutex<Option<StuckOn>>,
}

#[derive(Debug)]
enum StuckOn {
    Group(Pid),
    Remote(tokio::task::AbortHandle),
}

impl Brake {
    fn pull(&self) {
        match &*lock(&self.stuck_on) {
            Some(StuckOn::Group(group)) => {
                // Nobody left in the group is what we want.
                let _ = kill_process_group(*group, Signal::KILL);
            }
            Some(StuckOn::Remote(task)) => task.abort(),
            None => {}
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }
}

/// Too many messages wait for a server already, or it has ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

#[derive(Debug)]
enum Job {
    Message(Message),
    /// The run with this number has ended.
    Gone(u64),
    Close,
}

impl Upstream {
    /// A server that isn't started yet.
    pub(super) fn new(plan: Plan) -> Self {
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        Self {
            name: plan.name.clone(),
            jobs,
            waiting: Mutex::new(Some((plan, queue))),
            thread: Mutex::new(None),
            brake: Arc::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Begins to take messages for the server at `index` of the client's.
    pub(super) fn begin(&self, seat: Weak<dyn Seat>, index: usize) -> io::Result<()> {
        let Some((plan, queue)) = lock(&self.waiting).take() else { return Ok(()) };
        let driver = Driver {
            plan,
            seat,
            index,
            jobs: self.jobs.clone(),
            running: None,
            run: 0,
            failures: 0,
            not_before: Instant::now(),
            brake: Arc::clone(&self.brake),
        };
        let thread = thread::Builder::new().name("upstream".to_owned());
        *lock(&self.thread) = Some(thread.spawn(move || driver.drive(&queue))?);
        Ok(())
    }

    /// Hands over a message.
    pub(super) fn send(&self, message: Message) -> Result<(), Busy> {
        self.jobs.try_send(Job::Message(message)).map_err(|_| Busy)
    }

    /// Hands over a message of a client that can wait.
    pub(super) fn send_patiently(&self, message: Message) -> Result<(), Busy> {
        self.jobs.send(Job::Message(message)).map_err(|_| Busy)
    }

    /// Ends the server and waits for that. May take seconds.
    pub(super) fn end(&self) {
        if lock(&self.waiting).take().is_some() {
            return;
        }
        self.brake.closing.store(true, Ordering::SeqCst);
        // Full: the driver is not waiting for this.
        let _ = self.jobs.try_send(Job::Close);
        let Some(thread) = lock(&self.thread).take() else { return };
        let until = Instant::now() + STUCK_WAIT;
        while !thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        // It may be writing to a server that doesn't read.
        while !thread.is_finished() {
            self.brake.pull();
            thread::sleep(Duration::from_millis(100));
        }
        let _ = thread.join();
    }
}

/// The thread that everything for the server goes through.
struct Driver {
    plan: Plan,
    seat: Weak<dyn Seat>,
    index: usize,
    jobs: SyncSender<Job>,
    running: Option<Running>,
    run: u64,
    failures: u32,
    not_before: Instant,
    brake: Arc<Brake>,
}

struct Running {
    shim: Arc<Shim<Client>>,
    monitor: Client,
    process: Process,
    since: Instant,
}

enum Process {
    Child(Server),
    Remote(Remote),
}

impl Driver {
    fn drive(mut self, queue: &Receiver<Job>) {
        loop {
            let job = match queue.try_recv() {
                Ok(job) => job,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    if let Some(running) = &self.running {
                        running.shim.attend();
                    }
                    match queue.recv() {
                        Ok(job) => job,
                        Err(_) => break,
                    }
                }
            };
            if self.brake.is_closing() {
                break;
            }
            match job {
                Job::Message(message) => self.deliver(message),
                Job::Gone(run) if run == self.run => self.gone(),
                Job::Gone(_) => {}
                Job::Close => break,
            }
        }
        self.finish(Over::Session);
    }

    fn deliver(&mut self, message: Message) {
        let is_over = |running: &Running| matches!(&running.process, Process::Remote(remote) if remote.is_over());
        if self.running.as_ref().is_some_and(is_over) {
            self.gone();
        }
        if self.running.is_none()
            && let Err(why) = self.start(&message)
        {
            self.refuse(&message, &why);
            return;
        }
        if let Some(running) = &self.running {
            running.shim.client_message(message);
        }
    }

    /// Answers what can't be delivered.
    fn refuse(&self, message: &Message, why: &str) {
        let Message::Request(id, method, _) = message else { return };
        let form = if method == TOOLS_CALL { Form::ToolResult } else { Form::Error };
        let text =
            format!("The server `{}` is not running: {why}. Nothing was done.", self.plan.name);
        let line = answer::failure(id, form, Failure { text: &text, receipt: None });
        if let Some(seat) = self.seat.upgrade() {
            seat.heard(self.index, &line);
        }
    }

    fn start(&mut self, message: &Message) -> Result<(), String> {
        let now = Instant::now();
        if now < self.not_before {
            let wait = (self.not_before - now).as_secs() + 1;
            return Err(format!("it ended {} times; try again in {wait} s", self.failures));
        }
        self.run += 1;
        let started = self.launch().and_then(|running| {
            self.running = Some(running);
            let is_first =
                matches!(message, Message::Request(_, method, _) if method == "initialize");
            if is_first { Ok(()) } else { self.replay() }
        });
        if let Err(why) = &started {
            crate::say(&format!("{}: {why}", self.plan.name));
            self.failed();
            self.finish(Over::Server);
        }
        started
    }

    fn join(&self) -> Result<Client, String> {
        let Plan { home, name, server, joins, .. } = &self.plan;
        let caller = match joins {
            Joins::Already(monitor) => return Ok(monitor.clone()),
            Joins::Anew { instance, service, proved, capability } => Caller::Network {
                instance: instance.clone(),
                service: service.clone(),
                proved: proved.clone(),
                capability: capability.clone(),
            },
        };
        let command = match &server.url {
            Some(url) => vec![url.clone()],
            None => server.command.clone(),
        };
        let join = Join { server: name.clone(), door: Door::McpHttp, command, caller };
        Client::join(home, join).map_err(|error| error.to_string())
    }

    fn launch(&self) -> Result<Running, String> {
        let Plan { home, name, server, runtime, .. } = &self.plan;
        let monitor = self.join()?;
        let settings = monitor.settings().clone();
        let terms = Terms {
            server: name.clone(),
            receipt_in_meta: settings.receipt_in_meta,
            call_timeout: settings.call_timeout,
        };
        let client = Pipe::new(Sink { seat: self.seat.clone(), index: self.index });
        let (run, jobs) = (self.run, self.jobs.clone());
        let ends = Box::new(move |_: End| {
            // Full: a server that neither reads nor lives is noticed by its deadlines.
            let _ = jobs.try_send(Job::Gone(run));
        });
        let (judging, index) = (self.seat.clone(), self.index);
        let verdicts = Box::new(move |id: &Id, judgement| {
            if let Some(seat) = judging.upgrade() {
                seat.judged(index, id, judgement);
            }
        });
        let ears = Ears { ends, verdicts };
        let values = |settings: &std::collections::BTreeMap<String, tipstaff_monitor::Setting>| {
            let resolved = settings.iter().map(|(name, setting)| {
                resolve(home, name, setting).map(|secret| (name.clone(), secret))
            });
            resolved.collect::<Result<Vec<_>, String>>()
        };
        let text = |error: &dyn std::fmt::Display| error.to_string();
        if let Some(url) = &server.url {
            let bearer = Bearer::new(home, name, server);
            let (remote, input, output) =
                Remote::open(runtime, url, values(&server.headers)?, bearer)
                    .map_err(|e| text(&e))?;
            let shim = Shim::new(monitor.clone(), terms, client, Pipe::new(input), ears);
            *lock(&self.brake.stuck_on) = remote.abort_handle().map(StuckOn::Remote);
            let losing = Arc::downgrade(&shim);
            remote.on_lost(Box::new(move |id| {
                if let Some(shim) = losing.upgrade() {
                    shim.lose(id, LOST);
                }
            }));
            let listing = Arc::downgrade(&shim);
            remote.on_unlisted(Box::new(move |id, why| {
                if let Some(shim) = listing.upgrade() {
                    shim.unlisted(id, why);
                }
            }));
            self.read(&shim, output).map_err(|e| text(&e))?;
            return Ok(Running {
                shim,
                monitor,
                process: Process::Remote(remote),
                since: Instant::now(),
            });
        }
        let Some((program, args)) = server.command.split_first() else {
            return Err("it has no command".to_owned());
        };
        let mut environment = child::environment(std::env::vars_os(), &settings.env_allow);
        let env = values(&server.env)?;
        environment.extend(env.iter().map(|(name, value)| (name.into(), value.reveal().into())));
        let mut child = Server::start(program, args, environment, settings.server_memory_mib)
            .map_err(|e| text(&e))?;
        monitor.child_started(child.pid());
        let group = i32::try_from(child.pid()).ok().and_then(Pid::from_raw);
        *lock(&self.brake.stuck_on) = group.map(StuckOn::Group);
        let streams = child.streams();
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (streams.stdin.take(), streams.stdout.take(), streams.stderr.take())
        else {
            return Err("its streams are gone".to_owned());
        };
        let log = Log::open(&settings.stderr_folder, name).ok();
        spawn("server-stderr", move || child::keep_words(stderr, log)).map_err(|e| text(&e))?;
        let stdin = Patient::new(stdin, terms.call_timeout).map_err(|e| text(&e))?;
        let shim = Shim::new(monitor.clone(), terms, client, Pipe::new(stdin), ears);
        self.read(&shim, stdout).map_err(|e| text(&e))?;
        Ok(Running { shim, monitor, process: Process::Child(child), since: Instant::now() })
    }

    /// Starts to read the server, and to look at deadlines.
    fn read(
        &self,
        shim: &Arc<Shim<Client>>,
        output: impl Read + Send + 'static,
    ) -> Result<(), crate::error::GatewayError> {
        let kept = Arc::downgrade(shim);
        spawn("clock", move || keep_time(&kept))?;
        let (reader, seat) = (Arc::clone(shim), self.seat.clone());
        spawn("server", move || {
            let mut frames = FrameReader::new(output, RESULT_BYTES_MAX);
            let mut batch = Batch::new();
            while let Ok(Some(frame)) = frames.next() {
                reader.server_frame(frame, &mut batch);
                if batch.is_full() || !frames.has_line() {
                    reader.flush(&mut batch);
                    if let Some(seat) = seat.upgrade() {
                        seat.pace();
                    }
                }
            }
            reader.flush(&mut batch);
            reader.end(End::ServerGone);
        })
    }

    /// The handshake of a server that is started again, as the session's client made it.
    fn replay(&self) -> Result<(), String> {
        let (Some(seat), Some(running)) = (self.seat.upgrade(), &self.running) else {
            return Err("the session has ended".to_owned());
        };
        let Some(hello) = seat.hello_again(self.index) else { return Ok(()) };
        let (tell, told) = channel();
        let id = seat.own_id(Box::new(move |line| {
            let _ = tell.send(line);
        }));
        let initialize = Message::Request(id, "initialize".to_owned(), Some(hello.params));
        running.shim.client_message(initialize);
        let until = Instant::now() + REPLAY_WAIT;
        let line = loop {
            match told.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => break line,
                Err(_) if self.brake.is_closing() || Instant::now() >= until => {
                    return Err("it does not answer".to_owned());
                }
                Err(_) => {}
            }
        };
        let answered = crate::raw::Members::read(&line).is_some_and(|m| m.one("result").is_some());
        if !answered {
            return Err("it refused the handshake".to_owned());
        }
        for message in hello.then {
            running.shim.client_message(message);
        }
        Ok(())
    }

    fn gone(&mut self) {
        if self.running.as_ref().is_some_and(|running| running.since.elapsed() > STEADY) {
            self.failures = 0;
        }
        self.failed();
        crate::say(&format!("{}: the server ended by itself", self.plan.name));
        self.finish(Over::Server);
    }

    /// The first start after an end is at once; each further one waits twice as long.
    fn failed(&mut self) {
        self.failures += 1;
        let wait = match self.failures {
            0 | 1 => Duration::ZERO,
            n => Duration::from_secs(1 << n.min(6).saturating_sub(2)).min(BACKOFF_MAX),
        };
        self.not_before = Instant::now() + wait;
    }

    fn finish(&mut self, over: Over) {
        let Some(running) = self.running.take() else { return };
        running.shim.fail_all(over);
        running.shim.close_server(CLOSE_WAIT);
        lock(&self.brake.stuck_on).take();
        match running.process {
            Process::Child(mut child) => {
                let _ = child.end();
            }
            Process::Remote(remote) => remote.end(),
        }
        if matches!(self.plan.joins, Joins::Anew { .. }) {
            running.monitor.leave();
        }
    }
}

/// The client's side of the shim.
struct Sink {
    seat: Weak<dyn Seat>,
    index: usize,
}

impl Write for Sink {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        let seat = self.seat.upgrade().ok_or(io::ErrorKind::BrokenPipe)?;
        for line in frames.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Ok(line) = std::str::from_utf8(line) {
                seat.heard(self.index, line);
            }
        }
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
