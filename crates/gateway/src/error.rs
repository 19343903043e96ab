//! Why a door could not be opened.

use std::io;
use std::path::PathBuf;

use tipstaff_monitor::ClientError;

/// Named for what the user can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The session's request can't be signed.
    #[error("the session's request can't be signed: {0}")]
    Unsigned(String),
    /// The command of the server can't be started.
    #[error("`{command}` could not be started: {source}; is it installed and on the PATH?")]
    NotStarted {
        /// The command.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another address than loopback was asked for.
    #[error("{0} is not a loopback address; beyond 127.0.0.1 and ::1 there has to be TLS (--tls)")]
    NotLoopback(std::net::SocketAddr),
    /// TLS can't be spoken.
    #[error("TLS can't be spoken: {0}")]
    Tls(String),
    /// There is no command to wrap.
    #[error("there is no server to start; give its command after `--`")]
    NoCommand,
    /// The far server's address or what it is sent can't be used as it is.
    #[error("the server's address can't be used: {0}")]
    Remote(String),
    /// The monitor can't be reached.
    #[error(transparent)]
    Monitor(#[from] ClientError),
    /// A folder can't be used.
    #[error("the folder {path} can't be used: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file with a secret can't be used as it is.
    #[error("{path} {what}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: &'static str,
    },
    /// The operating system said no.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl GatewayError {
    /// Wraps an error of the system for `map_err`.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
