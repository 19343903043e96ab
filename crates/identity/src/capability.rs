//! Capabilities: what an agent was given to do, and may give on in part (rows D1, I10; laws 6 and 8).
//!
//! The adversary has a token that is forged, cut short, stolen or wider than what it was made from, or one that costs
//! more to look at than to refuse. A capability is a Biscuit token whose first block an operator registered. Each
//! block narrows it; who presents it proves to have the key that the last holder was named by. There is one rule for
//! signatures, the system's own; what isn't understood is refused. Pure: the time, the position in the log and what
//! was used up are inputs.

mod caveat;
mod engine;
mod grants;
mod mint;
mod recognise;
mod request;
mod token;
mod wire;

pub use caveat::{Caveat, Compare, Many, Match, Named, Number, Pattern};
pub use grants::{Grant, GrantFault, Grants};
pub use mint::{Part, Shown, attenuate, grant, inspect};
pub use request::{Asked, Meter, Metered, hosts};
pub use token::{Capability, Handle, Token};

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

/// Largest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Most blocks of a token.
pub const BLOCKS_MAX: usize = 16;

/// Why a capability gives nothing, or not this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// More than [`TOKEN_BYTES_MAX`].
    #[error("the capability is larger than 16 KiB")]
    TooLarge,
    /// More than [`BLOCKS_MAX`].
    #[error("the capability has more than 16 blocks")]
    TooManyBlocks,
    /// No token, or one with a part that means nothing here.
    #[error("the capability is malformed: {0}")]
    Malformed(&'static str),
    /// A key of another kind than Ed25519.
    #[error("the capability has a key that is not Ed25519")]
    Algorithm,
    /// A key on which verifiers disagree.
    #[error("the capability has a key of small order, or one that is not canonical")]
    Key,
    /// Its first block was never granted here.
    #[error("the capability was not granted here")]
    Unknown,
    /// A block is not by the key that the block before it names.
    #[error("the capability is forged, cut short, or in another order than it was made")]
    Forged,
    /// Nobody is named who may present it.
    #[error("the capability names no holder")]
    NoHolder,
    /// Another holder is named, and not by the holder before.
    #[error("the capability names another holder without the signature of the one before")]
    HolderChanged,
    /// Who presents it is not its holder.
    #[error("the capability is another holder's")]
    NotHolder,
    /// One of its blocks was revoked.
    #[error("the capability was revoked")]
    Revoked,
    /// Somebody whom it went through may not act any more.
    #[error("somebody whom the capability went through may not act any more")]
    HolderEnded,
    /// Looking at it could take too long.
    #[error("the capability's checks cost more than is spent on one")]
    Costly,
    /// The action is not in it.
    #[error("the action is outside of the capability: block {block} has `{check}`")]
    Outside {
        /// The block, counted from 0.
        block: usize,
        /// What it demands.
        check: String,
    },
    /// What was kept of it can't be read.
    #[error("the capability that was kept can't be read")]
    Lost,
}

/// Reads a token's text: URL-safe base64, as Biscuit's own tools write it, with or without padding.
///
/// # Errors
/// [`Fault::TooLarge`], [`Fault::Malformed`]
pub fn from_text(text: &str) -> Result<Vec<u8>, Fault> {
    let text = text.trim();
    if text.len() > TOKEN_BYTES_MAX.div_ceil(3) * 4 {
        return Err(Fault::TooLarge);
    }
    let bare = text.trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(bare).map_err(|_| Fault::Malformed("it is not base64"))
}

/// A token's text.
#[must_use]
pub fn to_text(bytes: &[u8]) -> String {
    URL_SAFE.encode(bytes)
}

impl Fault {
    /// The reason in receipts.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::TooLarge => "capability_too_large",
            Self::TooManyBlocks => "capability_too_many_blocks",
            Self::Malformed(_) => "capability_malformed",
            Self::Algorithm => "capability_algorithm",
            Self::Key => "capability_key",
            Self::Unknown => "capability_unknown",
            Self::Forged => "capability_forged",
            Self::NoHolder => "capability_no_holder",
            Self::HolderChanged => "capability_holder_changed",
            Self::NotHolder => "capability_not_holder",
            Self::Revoked => "capability_revoked",
            Self::HolderEnded => "capability_holder_ended",
            Self::Costly => "capability_costly",
            Self::Outside { .. } => "outside_capability",
            Self::Lost => "capability_lost",
        }
    }

    /// Reads the reason back, of those that a presented token can have by itself.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::TooLarge,
            Self::TooManyBlocks,
            Self::Malformed("as it was presented"),
            Self::Algorithm,
            Self::Key,
            Self::Unknown,
            Self::Forged,
            Self::NoHolder,
            Self::HolderChanged,
            Self::NotHolder,
            Self::Revoked,
            Self::HolderEnded,
            Self::Costly,
            Self::Lost,
        ];
        all.into_iter().find(|fault| fault.as_str() == word)
    }
}

#[cfg(test)]
mod tests;
