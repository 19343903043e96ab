//! Credentials in the system's keyring, asked for with the desktop's own tool.
//!
//! The adversary is a tool that hangs, talks without end or is another program: it is started without a
//! shell and with few variables, what it says is bounded in size and time, and nothing of it is shown.

use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getuid, kill_process_group};
use zeroize::Zeroizing;

/// Time for an answer. A locked keyring asks its owner for the password meanwhile.
const WAIT: Duration = Duration::from_secs(20);
/// Longest credential.
const VALUE_MAX: usize = 64 << 10;
/// Variables that the tool needs to find the keyring and to ask its owner.
const VARIABLES: [&str; 10] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// The tool, and what brings it here.
const TOOL: (&str, &str) = if cfg!(target_os = "macos") {
    ("security", "it is part of macOS")
} else {
    ("secret-tool", "Debian: libsecret-tools")
};

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyringError {
    /// The tool is not here.
    #[error("the keyring can't be asked: {tool} can't be started: {source} ({}); use file:NAME", TOOL.1)]
    NoTool {
        /// The tool.
        tool: String,
        /// What the system said.
        source: io::Error,
    },
    /// The tool did not answer.
    #[error("the keyring did not answer within {} s; unlock it and try again", WAIT.as_secs())]
    Silent,
    /// There is no such entry, or no keyring.
    #[error(
        "the keyring has no entry of service `{service}` and account `{account}`, or there is no keyring in this session"
    )]
    Missing {
        /// What it is for.
        service: String,
        /// Whose it is.
        account: String,
    },
    /// What it answered is no credential.
    #[error("what the keyring holds there is no text of 1 to {VALUE_MAX} bytes")]
    Odd,
    /// It could not be waited for.
    #[error("the keyring's tool: {0}")]
    System(#[from] io::Error),
}

/// The credential of an account.
///
/// # Errors
/// [`KeyringError`]; no value stands in it.
pub(super) fn look_up(service: &str, account: &str) -> Result<Zeroizing<String>, KeyringError> {
    let args: &[&str] = if cfg!(target_os = "macos") {
        &["find-generic-password", "-s", service, "-a", account, "-w"]
    } else {
        &["lookup", "service", service, "account", account]
    };
    let (status, said) = ask(TOOL.0, args, WAIT)?;
    if !status.success() {
        let (service, account) = (service.to_owned(), account.to_owned());
        return Err(KeyringError::Missing { service, account });
    }
    let text = std::str::from_utf8(&said).map_err(|_| KeyringError::Odd)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.is_empty() || said.len() > VALUE_MAX {
        return Err(KeyringError::Odd);
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// What a program says, and how it ended.
#[expect(clippy::disallowed_methods, reason = "the keyring is behind a program of the desktop")]
fn ask(
    tool: &str,
    args: &[&str],
    limit: Duration,
) -> Result<(ExitStatus, Zeroizing<Vec<u8>>), KeyringError> {
    let mut command = Command::new(tool);
    command.args(args).env_clear().process_group(0);
    command.envs(VARIABLES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Clients give their servers few variables; this is where the session's bus is.
        let folder = PathBuf::from(format!("/run/user/{}", getuid().as_raw()));
        command.envs(folder.is_dir().then_some(("XDG_RUNTIME_DIR", folder)));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child =
        command.spawn().map_err(|source| KeyringError::NoTool { tool: tool.to_owned(), source })?;
    let mut child = Reaped(child);
    let output = child.0.stdout.take();
    let (tell, told) = sync_channel(1);
    thread::Builder::new().name("keyring".to_owned()).spawn(move || {
        // Room for all of it, so that no part is left behind where the buffer grew.
        let mut said = Zeroizing::new(Vec::with_capacity(VALUE_MAX + 2));
        let most = u64::try_from(VALUE_MAX).unwrap_or(u64::MAX) + 1;
        let read = output.map(|output| output.take(most).read_to_end(&mut said));
        let _ = tell.send(read.unwrap_or(Ok(0)).map(|_| said));
    })?;
    let said = match told.recv_timeout(limit) {
        Ok(said) => said?,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            return Err(KeyringError::Silent);
        }
    };
    if said.len() > VALUE_MAX {
        return Err(KeyringError::Odd);
    }
    let until = Instant::now() + limit;
    loop {
        match child.0.try_wait()? {
            Some(status) => return Ok((status, said)),
            None if Instant::now() >= until => return Err(KeyringError::Silent),
            None => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// A process that is ended with its group, and reaped.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // One that was waited for has no number any more that could name another.
        if matches!(self.0.try_wait(), Ok(None))
            && let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_absent_hangs_or_talks_without_end_is_told_about() {
        let absent = ask("tipstaff-no-such-tool", &[], WAIT).unwrap_err().to_string();
        assert!(
            absent.contains("tipstaff-no-such-tool") && absent.contains("file:NAME"),
            "{absent}"
        );
        let since = Instant::now();
        let silent = ask("sleep", &["60"], Duration::from_millis(200)).unwrap_err();
        assert!(matches!(silent, KeyringError::Silent) && since.elapsed().as_secs() < 10);
        let lingers = ask("sh", &["-c", "exec >&-; sleep 60"], Duration::from_millis(200));
        assert!(matches!(lingers.unwrap_err(), KeyringError::Silent));
        let endless = ask("cat", &["/dev/zero"], WAIT).unwrap_err();
        assert!(matches!(endless, KeyringError::Odd), "{endless}");
        let (status, said) = ask("sh", &["-c", "printf s3cret; exit 1"], WAIT).unwrap();
        assert_eq!((status.code(), said.as_slice()), (Some(1), b"s3cret".as_slice()));
    }

    #[test]
    fn the_tool_gets_few_variables() {
        let (_, said) = ask("env", &[], WAIT).unwrap();
        let said = String::from_utf8(said.to_vec()).unwrap();
        for line in said.lines() {
            let name = line.split('=').next().unwrap();
            assert!(VARIABLES.contains(&name), "{line}");
        }
    }
}
