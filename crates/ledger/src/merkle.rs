//! Merkle tree hashing and proofs over an append-only log (RFC 6962, RFC 9162 section 2.1).
//!
//! The adversary is whoever holds the log: they would drop a receipt, change one, or show different
//! logs to different people. A root commits to every leaf and its place; a short proof then shows that
//! a leaf is under a root, or that one root only added leaves to another. Proofs come from outside, so
//! verification checks their exact length and never reads an index it was not given.

mod build;
mod edge;
mod verify;

use tipstaff_core::Digest;

pub use build::{consistency_proof, inclusion_proof, tree_root};
pub use edge::RightEdge;
pub use verify::{
    verify_consistency, verify_inclusion, verify_subtree_consistency, verify_subtree_inclusion,
};

/// Largest tree size: the last that readers with signed 64-bit sizes can follow.
pub const TREE_SIZE_MAX: u64 = i64::MAX as u64;

/// Why a proof, tile, note or checkpoint was refused, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The bytes are not in the one accepted spelling of what they claim to be: fetch them again.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A value is over its limit: send less.
    #[error("{what} is over the limit of {limit}")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// The limit, in bytes or items.
        limit: u64,
    },
    /// The index or size asked about is not inside the tree: ask about another tree size.
    #[error("position outside the tree")]
    OutOfTree,
    /// The stored tree lacks a hash that every tree of this size has: repair or restore the log.
    #[error("no hash at level {level}, index {index}")]
    MissingHash {
        /// Height of the perfect subtree; 0 is a leaf.
        level: u8,
        /// Its number among those of its height, from the left.
        index: u64,
    },
    /// The proof has fewer or more hashes than the positions call for.
    #[error("proof has the wrong number of hashes")]
    ProofLength,
    /// The proof leads to another root: what it claims is not so.
    #[error("proof does not lead to the root")]
    RootMismatch,
    /// No signature is by the expected key: get the note from someone who has that signature.
    #[error("no signature by the expected key")]
    UnknownSigner,
    /// A signature claims the expected key and does not verify: treat the note as forged.
    #[error("bad signature")]
    BadSignature,
    /// The checkpoint is of a log other than the one that the key is for.
    #[error("checkpoint of another log")]
    WrongOrigin,
}

/// Hashes of perfect subtrees, from wherever the tree is stored.
pub trait HashReader {
    /// The root of the perfect subtree over leaves `index << level .. (index + 1) << level`, or `None`
    /// if the tree does not hold all of them.
    fn subtree(&self, level: u8, index: u64) -> Option<Digest>;
}

/// The hash of a leaf's bytes.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], data])
}

/// The hash of an inner node. The prefix differs from a leaf's, so no leaf can pass for a node.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The root of a tree without leaves.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of(&[])
}
