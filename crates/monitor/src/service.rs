//! A home's monitor with its socket, in the background for doors or in the foreground for its user.
//!
//! The adversary is a second monitor of one home: only the holder of the lock opens the log. One that a
//! door started makes way when its user wants to serve the home; two of the user's don't contend.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tipstaff_core::Json;

use crate::client::Client;
use crate::error::MonitorError;
use crate::home::Home;
use crate::monitor::{Monitor, log_line};
use crate::server::{SOCKET, accept, bind};

/// Least time between publications.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);
/// Time between ticks.
const TICK: Duration = Duration::from_millis(500);
/// Time for another monitor to make way.
const RETIRE_WAIT: Duration = Duration::from_secs(15);
/// Time between looks at the lock while another monitor makes way: shorter than a process takes to start,
/// so that no door's monitor comes first.
const RETIRE_LOOK: Duration = Duration::from_millis(2);

/// Runs the monitor of a home until nobody needs it any more.
///
/// # Errors
/// [`MonitorError::AlreadyRunning`] if another one does.
pub fn serve(home: &Home) -> Result<(), MonitorError> {
    Service::open(home, Role::Background)?.run()
}

/// Why a monitor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A door needed it: it leaves when none does, or when another process wants to serve the home.
    Background,
    /// Its user started it: it stays until it is asked to end.
    Foreground,
}

/// The monitor of a home with its socket.
#[derive(Debug)]
pub struct Service {
    home: Home,
    role: Role,
    monitor: Arc<Monitor>,
    connections: Arc<AtomicUsize>,
    stopper: Stopper,
    stopped: Receiver<()>,
}

/// Asks a [`Service`] to end.
#[derive(Debug, Clone)]
pub struct Stopper(SyncSender<()>);

impl Stopper {
    /// Asks it to end in order.
    pub fn stop(&self) {
        // Full: it was asked already.
        let _ = self.0.try_send(());
    }
}

impl Service {
    /// Opens a home and its socket.
    ///
    /// # Errors
    /// [`MonitorError::AlreadyRunning`] if another monitor has it.
    pub fn open(home: &Home, role: Role) -> Result<Self, MonitorError> {
        let monitor = Monitor::open(home)?;
        let listener = bind(home)?;
        let connections = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = sync_channel(1);
        let stopper = Stopper(stop);
        let service = Self { home: home.clone(), role, monitor, connections, stopper, stopped };
        let accepting = Arc::clone(&service.connections);
        let shared = Arc::clone(&service.monitor);
        let retire = (role == Role::Background).then(|| service.stopper.clone());
        thread::spawn(move || accept(&listener, &shared, &accepting, retire.as_ref()));
        Ok(service)
    }

    /// Opens a home in the foreground; a monitor that a door started is asked to make way.
    ///
    /// # Errors
    /// [`MonitorError::AlreadyServing`] if the other one is in the foreground too,
    /// [`MonitorError::AlreadyRunning`] if it doesn't make way.
    pub fn take_over(home: &Home) -> Result<Self, MonitorError> {
        let until = Instant::now() + RETIRE_WAIT;
        let mut asked: Option<Instant> = None;
        loop {
            match Self::open(home, Role::Foreground) {
                Err(MonitorError::AlreadyRunning) if Instant::now() < until => {}
                opened => return opened,
            }
            if asked.is_none_or(|asked| asked.elapsed() > Duration::from_millis(250)) {
                // One that is just ending doesn't answer: the lock will tell.
                let answer = Client::control(home, "retire", None).ok().flatten();
                let says = |name| answer.as_ref().and_then(|a| a.get(name)).and_then(Json::as_bool);
                if says("serving") == Some(true) {
                    return Err(MonitorError::AlreadyServing);
                }
                // It says why it doesn't make way.
                let why = answer.as_ref().and_then(|answer| answer.get("text")?.as_str());
                if let Some(why) = why {
                    return Err(MonitorError::Stays(why.to_owned()));
                }
                asked = (says("ok") == Some(true)).then(Instant::now);
            }
            thread::sleep(RETIRE_LOOK);
        }
    }

    /// The monitor.
    #[must_use]
    pub const fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }

    /// What ends it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Runs until it is asked to end or, in the background, nobody needs it any more.
    ///
    /// # Errors
    /// [`MonitorError`] if the node has to stop.
    pub fn run(self) -> Result<(), MonitorError> {
        let monitor = &self.monitor;
        let scrubbed = Arc::clone(monitor);
        thread::spawn(move || {
            // A long log is read again whole: that must not be in anyone's way.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
            if let Err(error) = scrubbed.scrub() {
                log_line(&format!("the log is not whole: {error}"));
            }
        });
        let laid_out = Arc::clone(monitor);
        thread::spawn(move || {
            if let Err(error) = laid_out.ledger().keep_laid_out() {
                log_line(&format!("no space is laid out ahead any more: {error}"));
            }
        });
        // Where statements are required, a change waits for a proof, and nothing waits for it.
        if self.home.requirements().is_some() {
            let looking = Arc::downgrade(monitor);
            thread::spawn(move || {
                while let Some(monitor) = looking.upgrade() {
                    monitor.look();
                    drop(monitor);
                    thread::sleep(TICK);
                }
            });
        }
        let mut idle_since = Instant::now();
        let mut published = Instant::now();
        while self.stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            monitor.tick()?;
            if published.elapsed() >= PUBLISH_INTERVAL {
                monitor.publish()?;
                published = Instant::now();
            }
            let needed = self.role == Role::Foreground
                || self.connections.load(Ordering::SeqCst) > 0
                || monitor.is_awaited();
            if needed {
                idle_since = Instant::now();
            } else if idle_since.elapsed() >= monitor.idle_exit() {
                break;
            }
        }
        // A door that connects from here on finds no socket and starts the next monitor.
        let _ = fs::remove_file(self.home.run().join(SOCKET));
        Ok(monitor.shut_down()?)
    }
}
