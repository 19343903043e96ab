//! What the listener serves beside MCP.
//!
//! The adversary is the same as at `/mcp`. The listener checks sizes, `Host` and `Origin`; whether a
//! request needs a credential is for its page to say, which finds the one that was proved beside it.

/// Answers every request that is not for `/mcp`. Called on one of a bounded number of threads, so it may
/// wait for the disk.
pub trait Pages: Send + Sync {
    /// The answer. The request's extensions hold a [`super::Credential`] if the client proved one.
    fn answer(&self, request: http::Request<Vec<u8>>) -> http::Response<Vec<u8>>;
}
