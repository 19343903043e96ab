//! The door over HTTP: MCP at `/mcp`, and whatever pages stand beside it.
//!
//! The adversary is anyone who reaches a port of this machine: other users, web pages in a browser here,
//! clients that send too much, too slowly or not at all. Without TLS only loopback addresses are listened on, every
//! size, number and time is bounded, and nothing is looked at before it is known who asks.

mod accept;
mod body;
mod connection;
mod guard;
mod listen;
mod login;
mod mcp;
mod near;
mod nonces;
mod oauth;
mod pages;
mod peer;
mod refuse;
mod remote;
mod seat;
mod secrets;
mod session;
mod several;
mod signed;
mod stream;
mod tls;
mod token;
mod upstream;

pub use guard::Credential;
pub use listen::{HttpDoor, HttpListener, HttpOptions};
pub use login::{LoggedIn, LoggedOut, LoginFault, LoginOptions, ToOpen, login, logins, logout};
pub(crate) use mcp::CAPABILITY;
pub(crate) use near::wrap_url;
pub(crate) use pages::Ends;
pub use pages::Pages;
pub use remote::notify;
pub use tls::{ClientCertificates, TlsOptions};
pub use token::Token;
