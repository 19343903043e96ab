//! How a door finds the monitor of a home, starts it where it is absent, and joins.
//!
//! The adversary is a monitor that dies while it starts or ends, and several doors that start one at once:
//! all but one give way, and what can't be started says why.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tipstaff_core::{Json, Millis};
use tipstaff_store::{Clock as _, SystemClock};

use super::{Caller, Join};
use crate::config::Settings;
use crate::error::ClientError;
use crate::home::Home;
use crate::server::with_socket;
use crate::socket::Socket;
use crate::wire::{self, Frames, number_of, object, text_of};

/// How long a monitor may take to start or to come back.
const START_WAIT: Duration = Duration::from_secs(20);
/// Exit code of a monitor that found another one.
const ALREADY_RUNNING: i32 = 4;

/// One connection: for writing, for waiting and for reading.
pub(super) struct Connected {
    pub(super) stream: UnixStream,
    pub(super) heard: UnixStream,
    pub(super) frames: Frames<Socket>,
    pub(super) settings: Settings,
}

pub(super) fn connect(home: &Home, join: &Join) -> Result<Connected, ClientError> {
    let broken = |error: io::Error| ClientError::Broken(error.to_string());
    let deadline = Instant::now() + START_WAIT;
    loop {
        let mut stream = open_socket(home)?;
        let command = join.command.iter().map(|word| Json::string(word)).collect();
        let label = std::env::var("TIPSTAFF_SESSION").ok().filter(|label| !label.is_empty());
        let (instance, service, proved) = match &join.caller {
            Caller::Parent | Caller::Principal { .. } => (None, None, None),
            Caller::Network { instance, service, proved, .. } => {
                (Some(instance), Some(service), Some(proved.words()))
            }
        };
        let capability = match &join.caller {
            Caller::Parent => None,
            Caller::Principal { capability, .. } | Caller::Network { capability, .. } => {
                capability.as_deref()
            }
        };
        let proof = match &join.caller {
            Caller::Principal { key, .. } => key.prove(&join.server, Millis(SystemClock.now_ms())),
            Caller::Parent | Caller::Network { .. } => None,
        };
        let hello = object([
            ("capability", wire::text(capability)),
            ("command", Json::Array(command)),
            ("door", Json::string(join.door.as_str())),
            ("instance", wire::text(instance.map(String::as_str))),
            ("proved", wire::text(proved.map(|(how, _)| how))),
            ("proof", proof.map_or(Json::Null, |proof| proof.to_json())),
            ("server", Json::string(&join.server)),
            ("service", wire::text(service.map(String::as_str))),
            ("session", wire::text(label.as_deref())),
            ("t", Json::string("join")),
            ("v", Json::from(wire::VERSION)),
            ("who", wire::text(proved.and_then(|(_, who)| who))),
        ]);
        let mut frames = Frames::new(Socket::new(stream.try_clone().map_err(broken)?));
        let answer = stream.write_all(&wire::frame(&hello)).and_then(|()| frames.next());
        // A monitor that was just ending takes the connection with it: try the next one.
        let Ok(Some(answer)) = answer else {
            if Instant::now() < deadline {
                thread::sleep(Duration::from_millis(50));
                continue;
            }
            return Err(ClientError::Broken("it closed the connection".to_owned()));
        };
        if text_of(&answer, "t").as_deref() != Some("joined") {
            let why = text_of(&answer, "text").unwrap_or_else(|| "no reason given".to_owned());
            return Err(ClientError::Refused(why));
        }
        let allowed = answer.get("env_allow").and_then(Json::as_array).unwrap_or_default();
        let settings = Settings {
            receipt_in_meta: answer.get("receipt_in_meta").and_then(Json::as_bool).unwrap_or(true),
            env_allow: allowed.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect(),
            call_timeout: Duration::from_secs(number_of(&answer, "call_timeout_s").unwrap_or(600)),
            server_memory_mib: number_of(&answer, "server_memory_mib"),
            stderr_folder: text_of(&answer, "stderr").unwrap_or_default().into(),
            session: text_of(&answer, "session").unwrap_or_default(),
            log: text_of(&answer, "log").unwrap_or_default(),
        };
        let heard = stream.try_clone().map_err(broken)?;
        return Ok(Connected { stream, heard, frames, settings });
    }
}

#[expect(clippy::disallowed_methods, reason = "this is how a door joins the monitor")]
pub(super) fn dial(home: &Home) -> io::Result<UnixStream> {
    with_socket(home, |path| UnixStream::connect(path))
}

pub(super) fn open_socket(home: &Home) -> Result<UnixStream, ClientError> {
    let deadline = Instant::now() + START_WAIT;
    let mut started: Option<std::process::Child> = None;
    let mut wait = Duration::from_millis(2);
    loop {
        if let Ok(stream) = dial(home) {
            // The monitor outlives its starter as a rule; where it doesn't, it must not stay a zombie.
            if let Some(mut child) = started {
                thread::spawn(move || child.wait());
            }
            return Ok(stream);
        }
        let ended = match &mut started {
            None => true,
            Some(child) => match child.try_wait() {
                // Several doors start one each; all but the one that got the lock end at once. One that
                // was killed while it started said nothing about the next.
                Ok(Some(status)) if matches!(status.code(), Some(ALREADY_RUNNING) | None) => true,
                Ok(Some(_)) => return Err(ClientError::NotStarted(last_words(home))),
                Ok(None) => false,
                Err(error) => return Err(ClientError::NotStarted(error.to_string())),
            },
        };
        if Instant::now() > deadline {
            return Err(ClientError::NotStarted(format!(
                "no answer in {} s",
                START_WAIT.as_secs()
            )));
        }
        if ended && started.as_ref().is_none_or(|_| wait > Duration::from_millis(50)) {
            started = Some(start(home).map_err(|e| ClientError::NotStarted(e.to_string()))?);
        }
        thread::sleep(wait);
        wait = (wait * 2).min(Duration::from_millis(100));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the monitor is this program, started where it is absent"
)]
fn start(home: &Home) -> io::Result<std::process::Child> {
    home.create().map_err(|error| io::Error::other(error.to_string()))?;
    let log =
        fs::File::options().create(true).append(true).open(home.root().join("monitor.log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    // Headers of far servers, as `install` names them: they are the door's alone, which ends before it.
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.as_encoded_bytes().starts_with(b"TIPSTAFF_HEADER_")) {
        command.env_remove(name);
    }
    command
        .env_remove("TIPSTAFF_URL")
        .arg("monitor")
        .arg("--home")
        .arg(home.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // It outlives the door that started it, and the terminal's signals.
        .process_group(0)
        .current_dir("/")
        .spawn()
}

fn last_words(home: &Home) -> String {
    let log = fs::read_to_string(home.root().join("monitor.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let cause = lines.iter().rposition(|line| line.trim_start().starts_with("because: "));
    let Some(cause) = cause.and_then(|at| lines.get(at..)) else {
        return lines.last().copied().unwrap_or("it said nothing").to_owned();
    };
    // A cause may have several lines: a fault in the configuration shows the line.
    let whole: Vec<&str> =
        cause.iter().take_while(|line| !line.trim_start().starts_with("next:")).copied().collect();
    whole.join("\n").trim_start().trim_start_matches("because: ").to_owned()
}
