//! What happened: receipt chains, the Merkle log over them, and the inputs kept beside it.
//!
//! The adversary edits, drops, reorders or invents receipts after the fact, or pulls the plug at the
//! worst moment. A receipt is durable before the effect that it permits; every receipt is a leaf of an
//! RFC 6962 tree published as a C2SP tiled log under a signed checkpoint, which others' tools read.
//! Reading top-down: [`Ledger`] appends, [`LogReader`] reads, `wal` makes durable, `publish` projects,
//! `recover` starts, [`merkle`], [`tile`], [`note`] and [`proof`] are the formats.

mod error;
mod inputs;
mod ledger;
pub mod merkle;
pub mod note;
pub mod proof;
mod publish;
mod reader;
mod recover;
mod state;
pub mod tile;
mod waiting;
mod wal;

pub use error::LedgerError;
pub use inputs::{Kept, SealingKey};
pub use ledger::{Appended, Draft, Identity, Ledger};
pub use reader::{Fsck, LogReader};
pub use state::{ChainState, State};
