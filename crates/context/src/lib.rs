//! A session's accumulated context as a pure fold, Cₙ = Cₙ₋₁ ∪ {aₙ, oₙ, δₙ} (row A5).
//!
//! The adversary splits one harmful deed into many harmless calls: what a session has done, met and been
//! asked for must be known when its next action is judged. [`Context`] is a fold over [`Entry`]s, which are
//! all in the log or kept beside it, so a restart and a replay arrive at the same one. What a policy can
//! read is never forgotten; what only explains (which action brought a label in) is kept once a label, so a
//! session of any length takes bounded memory.
//!
//! A random nonce keeps the digest from being guessed in a public log.

mod drift;
mod entry;
mod state;
mod words;

pub use drift::{Distance, Drift, Measure};
pub use entry::{Entry, Step};
pub use state::{ATTRIBUTES_MAX, Context, REQUESTS_MAX, TOOLS_MAX};
pub use words::{VALUE_BYTES_MAX, VALUES_MAX, Words};
