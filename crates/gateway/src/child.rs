//! The server's process: what it inherits, what becomes of its words, and its end.
//!
//! The adversary is a server that reads secrets from its environment, leaves processes behind, ignores
//! its end, or fills the disk with its log. It gets an allow-list of variables and a process group of
//! its own, which is ended and reaped; its standard error is kept in a file of bounded size.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, prlimit, waitid,
};

use crate::error::GatewayError;

/// Variables that every server gets: where things are and how to speak, no credentials.
const ALLOWED: [&str; 13] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "TERM",
    "SHELL",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
const ALLOWED_PREFIXES: [&str; 2] = ["LC_", "XDG_"];
/// Size at which a server's log is put aside; one older log is kept.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// Time for each step of an end.
const STEP: Duration = Duration::from_secs(2);

/// A running server. Dropped, its whole process group is killed and it is reaped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    ended: bool,
}

/// The variables of `all` that a server gets: the fixed list, and those named in `more`.
pub(crate) fn environment(
    all: impl Iterator<Item = (OsString, OsString)>,
    more: &[String],
) -> Vec<(OsString, OsString)> {
    let allowed = |name: &str| {
        ALLOWED.contains(&name)
            || ALLOWED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || more.iter().any(|more| more == name)
    };
    all.filter(|(name, _)| name.to_str().is_some_and(allowed)).collect()
}

impl Server {
    /// Starts a server with the variables given and nothing else. No process of it may have more data than `memory_mib`.
    #[expect(clippy::disallowed_methods, reason = "this module owns the servers' processes")]
    pub(crate) fn start(
        command: &str,
        args: &[String],
        environment: Vec<(OsString, OsString)>,
        memory_mib: Option<u64>,
    ) -> Result<Self, GatewayError> {
        let child = Command::new(command)
            .args(args)
            .env_clear()
            .envs(environment)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| GatewayError::NotStarted { command: command.to_owned(), source })?;
        // Ended by `Drop`, should the limit not hold.
        let server = Self { child, ended: false };
        if let Some(mib) = memory_mib {
            let bytes = Some(mib.saturating_mul(1 << 20));
            let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw);
            prlimit(pid, Resource::Data, Rlimit { current: bytes, maximum: bytes }).map_err(
                |errno| GatewayError::system("the server's limit of memory")(errno.into()),
            )?;
        }
        Ok(server)
    }

    /// The process, which is also its group.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard streams, once.
    pub(crate) const fn streams(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Ends it, its input being closed already: waits, asks, and kills what is left of the group.
    pub(crate) fn end(&mut self) -> io::Result<ExitStatus> {
        if !self.exits_within(STEP) {
            self.signal(Signal::TERM);
            self.exits_within(STEP);
        }
        self.reap()
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        if !self.ended {
            // Before the process is reaped, so that its number can't name another group.
            self.signal(Signal::KILL);
            self.ended = true;
        }
        self.child.wait()
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group() {
            // Nobody left in the group is what we want.
            let _ = kill_process_group(group, signal);
        }
    }

    fn group(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).ok()?)
    }

    /// Waits for the exit without reaping.
    fn exits_within(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        loop {
            match self.group().map(|pid| waitid(WaitId::Pid(pid), options)) {
                Some(Ok(None) | Err(rustix::io::Errno::INTR)) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Some(Ok(None)) => return false,
                _ => return true,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.reap();
        }
    }
}

/// A log of bounded size.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Log {
    /// Opens `<folder>/<server>.log`, for its owner's eyes only.
    pub(crate) fn open(folder: &Path, server: &str) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let name: String =
            server.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect();
        let path = folder.join(format!("{name}.log"));
        let file = append(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes > LOG_BYTES_MAX {
            fs::rename(&self.path, self.path.with_extension("log.old"))?;
            self.file = append(&self.path)?;
            self.bytes = 0;
        }
        self.file.write_all(bytes)?;
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Copies what a server says to its log and to ours, until it says no more.
pub(crate) fn keep_words(mut words: ChildStderr, mut log: Option<Log>) {
    let mut buffer = vec![0; 8 << 10];
    while let Ok(length) = words.read(&mut buffer) {
        let Some(said) = buffer.get(..length).filter(|said| !said.is_empty()) else { return };
        // A full disk or a closed terminal must not stop the server.
        let _ = io::stderr().write_all(said);
        if log.as_mut().is_some_and(|log| log.write(said).is_err()) {
            log = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_gets_no_secrets_unless_named() {
        let all = [
            "PATH",
            "LC_ALL",
            "XDG_DATA_HOME",
            "AWS_SECRET_ACCESS_KEY",
            "TIPSTAFF_HOME",
            "LD_PRELOAD",
            "TOKEN",
        ];
        let all = || all.iter().map(|name| (OsString::from(name), OsString::from("v")));
        let names = |more: &[String]| {
            environment(all(), more)
                .into_iter()
                .map(|(n, _)| n.into_string().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["PATH", "LC_ALL", "XDG_DATA_HOME"]);
        assert_eq!(names(&["TOKEN".into()]), ["PATH", "LC_ALL", "XDG_DATA_HOME", "TOKEN"]);
    }

    #[test]
    fn the_environment_that_arrives_is_the_one_given() {
        let environment = vec![("ONLY".into(), "this".into())];
        let mut server = Server::start("/usr/bin/env", &[], environment, None).unwrap();
        let mut said = String::new();
        server.streams().stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "ONLY=this\n");
        assert!(server.end().unwrap().success());
    }

    #[test]
    fn a_server_has_no_more_data_than_it_may() {
        // It waits for a line, so that the limit stands before it asks for memory.
        let script = "read go; head -c 200000000 /dev/zero | tail -c 150000000 | wc -c";
        let holds = |memory| {
            let path = vec![("PATH".into(), "/usr/bin:/bin".into())];
            let mut server =
                Server::start("sh", &["-c".into(), script.into()], path, memory).unwrap();
            drop(server.streams().stdin.take().map(|mut go| go.write_all(b"go\n")));
            let mut said = String::new();
            server.streams().stdout.take().unwrap().read_to_string(&mut said).unwrap();
            let _ = server.end();
            said.trim() == "150000000"
        };
        assert!(holds(None) && holds(Some(1024)));
        assert!(!holds(Some(32)));
    }

    #[test]
    fn what_ignores_its_end_is_killed_with_its_children() {
        let script = "trap '' TERM; sleep 300 & echo $!; while :; do sleep 1; done".to_owned();
        let mut server = Server::start(
            "sh",
            &["-c".into(), script],
            vec![("PATH".into(), "/usr/bin:/bin".into())],
            None,
        )
        .unwrap();
        let mut first = [0; 16];
        let length = server.streams().stdout.take().unwrap().read(&mut first).unwrap();
        let grandchild = String::from_utf8_lossy(&first[..length]).trim().to_owned();
        let started = Instant::now();
        assert!(!server.end().unwrap().success());
        assert!(started.elapsed() >= 2 * STEP);
        let until = Instant::now() + STEP;
        let alive = || {
            fs::read_to_string(format!("/proc/{grandchild}/stat"))
                .is_ok_and(|stat| !stat.contains(" Z "))
        };
        while alive() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!alive());
    }

    #[test]
    fn a_log_is_put_aside_when_it_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), "a/b").unwrap();
        for _ in 0..5 {
            log.write(&vec![b'x'; 500_000]).unwrap();
        }
        let size = |name| fs::metadata(folder.path().join(name)).unwrap().len();
        assert_eq!(size("a_b.log.old"), 1_500_000);
        assert_eq!(size("a_b.log"), 1_000_000);
    }
}
