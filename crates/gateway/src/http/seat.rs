//! What stands between one client and one server of it: whom the server's words go to, and what is needed
//! to start it.
//!
//! The adversary is a server that comes back as another: what it hears again is what its client said, and
//! an answer to a question of an earlier run never reaches it.

use std::path::PathBuf;

use tipstaff_monitor::{Client, ServerConfig};

use super::guard::Thumbprint;
use super::session::HelloAgain;
use crate::message::Id;
use crate::shim::Judgement;

/// What is needed to start it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) home: PathBuf,
    pub(super) name: String,
    pub(super) server: ServerConfig,
    pub(super) joins: Joins,
    pub(super) runtime: tokio::runtime::Handle,
}

/// How the monitor is joined.
#[derive(Debug, Clone)]
pub(super) enum Joins {
    /// Each time that the server is started, for a client of the network: its instance and its program,
    /// as the monitor hears them, and the
    /// principal's key that signs its requests.
    Anew { instance: String, service: String, key: Option<Thumbprint>, capability: Option<String> },
    /// It was joined already, for as long as the client is there.
    Already(Client),
}

/// The client's side: who hears what a server says, and knows what its client said first.
pub(super) trait Seat: Send + Sync {
    /// Takes a line of the server at `from`, which its shim has checked.
    fn heard(&self, from: usize, line: &str);

    /// Hears that a request was judged.
    fn judged(&self, from: usize, id: &Id, judgement: Judgement);

    /// Waits for a client that doesn't read, but not for ever.
    fn pace(&self);

    /// What a server hears that is started again; `None` before its first handshake.
    fn hello_again(&self, index: usize) -> Option<HelloAgain>;

    /// An id for a request of our own, whose answer goes to `then`.
    fn own_id(&self, then: Waiter) -> Id;
}

/// Called with the line of an answer.
pub(super) type Waiter = Box<dyn FnOnce(String) + Send>;
