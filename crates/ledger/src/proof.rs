//! A proof in one text file that a receipt is in the log (C2SP `tlog-proof`, version 1).
//!
//! The adversary hands over a proof they made. It is believed only through a checkpoint that the
//! expected log key signed; the extra data is signed by nobody and is carried, never believed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tipstaff_core::Digest;

use crate::merkle::{ProofError, leaf_hash, verify_inclusion};
use crate::note::{Checkpoint, NOTE_BYTES_MAX, NoteVerifier, parse_decimal, parse_hash};

/// Largest proof file in bytes: the largest checkpoint note, and as much again for the rest.
pub const PROOF_BYTES_MAX: usize = 2 * NOTE_BYTES_MAX;
/// Most hashes in a proof: one for each level below the root of the largest tree.
pub const PROOF_HASHES_MAX: usize = 63;

const HEADER: &str = "c2sp.org/tlog-proof@v1\n";

/// That a leaf is in the log, checkable offline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// The leaf's number in the log.
    pub index: u64,
    /// The sibling hashes from the leaf up.
    pub hashes: Vec<Digest>,
    /// The signed checkpoint, verbatim.
    pub checkpoint_note: String,
    /// Opaque data that nothing authenticates; empty for none.
    pub extra: Vec<u8>,
}

impl InclusionProof {
    /// The text of the proof file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = HEADER.to_owned();
        if !self.extra.is_empty() {
            text.push_str(&format!("extra {}\n", STANDARD.encode(&self.extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.hashes {
            text.push_str(&STANDARD.encode(hash.as_bytes()));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint_note);
        text
    }

    /// Reads a proof file. Nothing in it is verified yet.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] unless it is what [`InclusionProof::to_text`] writes,
    /// [`ProofError::TooLarge`].
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        if text.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLarge { what: "proof", limit: PROOF_BYTES_MAX as u64 });
        }
        Self::read(text)
            .filter(|proof| proof.to_text() == text)
            .ok_or(ProofError::Malformed("inclusion proof"))
    }

    /// Checks that `leaf_data` is in the log that `verifier` is the key of, and returns the checkpoint
    /// that says so.
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`verify_inclusion`].
    pub fn verify(
        &self,
        leaf_data: &[u8],
        verifier: &NoteVerifier,
    ) -> Result<Checkpoint, ProofError> {
        let checkpoint = Checkpoint::open(self.checkpoint_note.as_bytes(), verifier)?;
        let leaf = leaf_hash(leaf_data);
        verify_inclusion(self.index, checkpoint.size, &leaf, &self.hashes, &checkpoint.root)?;
        Ok(checkpoint)
    }

    fn read(text: &str) -> Option<Self> {
        // The checkpoint begins after the first empty line: no line before it may be empty.
        let (lines, checkpoint_note) = text.strip_prefix(HEADER)?.split_once("\n\n")?;
        let mut lines = lines.split('\n');
        let mut line = lines.next()?;
        let mut extra = Vec::new();
        if let Some(encoded) = line.strip_prefix("extra ") {
            extra = STANDARD.decode(encoded).ok()?;
            line = lines.next()?;
        }
        let index = parse_decimal(line.strip_prefix("index ")?)?;
        // One more than allowed is enough to see that there are too many.
        let hashes: Vec<Digest> =
            lines.take(PROOF_HASHES_MAX + 1).map(parse_hash).collect::<Option<_>>()?;
        if hashes.len() > PROOF_HASHES_MAX || checkpoint_note.is_empty() {
            return None;
        }
        Some(Self { index, hashes, checkpoint_note: checkpoint_note.to_owned(), extra })
    }
}
