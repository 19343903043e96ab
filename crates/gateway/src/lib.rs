//! The MCP doors: `wrap` in front of a server that somebody else wrote, and a small server of our own.
//!
//! The adversary is on both sides of the door: an agent that wants an effect without a verdict, and a
//! server that lies about its tools, its answers and its size. The door parses each request once, asks
//! the monitor, and sends on exactly what the permit says; answers pass back as they are.

mod answer;
mod api;
mod child;
mod effect;
mod error;
mod frame;
pub mod http;
mod judge;
pub mod labels;
mod message;
mod name;
pub mod notes;
mod pipe;
mod raw;
mod request;
mod shim;
mod skim;
mod tools;
mod wrap;

pub use self::http::{
    ClientCertificates, Credential, HttpDoor, HttpListener, HttpOptions, LoggedIn, LoggedOut,
    LoginFault, LoginOptions, Pages, TlsOptions, ToOpen, Token, login, logins, logout, notify,
};
pub use api::{Api, Latency};
pub use error::GatewayError;
pub use name::server_name;
pub use notes::serve_notes;
pub use wrap::{EndSignals, Reached, WrapEnd, WrapOptions, end_signals, open_with, wrap};

/// One line on standard error, for the person who reads the client's log.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    // Nobody may be listening; there is nowhere else to say so.
    let _ = writeln!(std::io::stderr(), "tipstaff: {text}");
}
