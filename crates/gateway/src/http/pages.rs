//! What the listener serves beside MCP.
//!
//! The adversary is the same as at `/mcp`. The listener checks sizes, `Host` and `Origin`; whether a
//! request needs a credential is for its page to say, which finds the one that was proved beside it.

use std::net::SocketAddr;

/// Answers every request that is not for `/mcp`. Called on one of a bounded number of threads, so it may
/// wait for the disk.
pub trait Pages: Send + Sync {
    /// The answer. The request's extensions hold a [`super::Credential`] if the client proved one.
    fn answer(&self, request: http::Request<Vec<u8>>) -> http::Response<Vec<u8>>;
}

/// Both ends of the connection that a request came over, beside it for pages that have to know whose it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl Ends {
    /// The processes at the other end with their user, as far as they are of this user on this machine.
    pub(crate) fn processes(self) -> Vec<(u32, u32)> {
        super::peer::processes(self.local, self.remote)
    }
}
