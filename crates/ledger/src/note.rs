//! Signed notes and checkpoints (C2SP `signed-note` and `tlog-checkpoint`), Ed25519 only.
//!
//! The adversary edits a checkpoint, signs with a key of their own that looks like ours (a key hash is
//! only 32 bits), or writes one meaning in two spellings. Text comes out of a note only after a
//! signature by the one expected key, checked in full, and a checkpoint has one spelling.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tipstaff_core::Digest;
use tipstaff_core::key::{Signature, SigningKey, VerifyingKey};

use crate::merkle::{ProofError, TREE_SIZE_MAX};

/// Largest note in bytes.
pub const NOTE_BYTES_MAX: usize = 64 << 10;
/// Most signatures on a note: as many as every reader must accept.
pub const NOTE_SIGNATURES_MAX: usize = 16;

/// The type byte of plain Ed25519 signatures over the note's text.
const ED25519: u8 = 1;
const SIGNATURE_LINE: &str = "\u{2014} ";

/// The one key whose signature makes a note believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    key: VerifyingKey,
}

/// A key with the name it signs notes under.
#[derive(Debug)]
pub struct NoteSigner<'a> {
    name: String,
    key: &'a SigningKey,
}

/// A log's statement: with this many leaves, this is the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name: its key's name, by convention its address without the scheme.
    pub origin: String,
    /// The number of leaves.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// Further lines, opaque; ours has none.
    pub extensions: Vec<String>,
}

impl NoteVerifier {
    /// The verifier of `key` under `name`.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] if the name is empty or has spaces, control characters or a plus.
    pub fn new(name: &str, key: VerifyingKey) -> Result<Self, ProofError> {
        Ok(Self { name: checked_name(name)?, key })
    }

    /// Reads the usual text form, `name+hash+key`.
    ///
    /// # Errors
    /// [`ProofError::Malformed`], also if the hash is not the key's or the key is not Ed25519.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let read = || {
            let (name, rest) = text.split_once('+')?;
            let (_, key) = rest.split_once('+')?;
            let bytes = STANDARD.decode(key).ok()?;
            let key = bytes.strip_prefix(&[ED25519])?.try_into().ok()?;
            Self::new(name, VerifyingKey::from_bytes(key).ok()?).ok()
        };
        // Writing it again checks the hash and that nothing was spelled otherwise.
        let exact = read().filter(|verifier| verifier.to_vkey() == text);
        exact.ok_or(ProofError::Malformed("verifier key"))
    }

    /// The usual text form, `name+hash+key`.
    #[must_use]
    pub fn to_vkey(&self) -> String {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(self.key.as_bytes());
        let hash = u32::from_be_bytes(key_hash(&self.name, &self.key));
        format!("{}+{hash:08x}+{}", self.name, STANDARD.encode(bytes))
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }
}

impl<'a> NoteSigner<'a> {
    /// Signs with `key` under `name`.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] if the name is empty or has spaces, control characters or a plus.
    pub fn new(name: &str, key: &'a SigningKey) -> Result<Self, ProofError> {
        Ok(Self { name: checked_name(name)?, key })
    }

    /// The verifier of what this signs.
    #[must_use]
    pub fn verifier(&self) -> NoteVerifier {
        NoteVerifier { name: self.name.clone(), key: self.key.verifying_key().clone() }
    }
}

/// The note of `text` with one signature.
///
/// # Errors
/// [`ProofError::Malformed`] unless the text ends in a newline and has no other control character,
/// [`ProofError::TooLarge`].
pub fn sign_note(text: &str, signer: &NoteSigner<'_>) -> Result<String, ProofError> {
    if !text.ends_with('\n') || has_control(text) {
        return Err(ProofError::Malformed("note text"));
    }
    let mut bytes = key_hash(&signer.name, signer.key.verifying_key()).to_vec();
    bytes.extend_from_slice(signer.key.sign(text.as_bytes()).as_bytes());
    let note = format!("{text}\n{SIGNATURE_LINE}{} {}\n", signer.name, STANDARD.encode(bytes));
    if note.len() > NOTE_BYTES_MAX {
        return Err(ProofError::TooLarge { what: "note", limit: NOTE_BYTES_MAX as u64 });
    }
    Ok(note)
}

/// The text of a note that `verifier`'s key signed. Signatures by others are ignored, but have to be
/// well formed.
///
/// # Errors
/// [`ProofError::Malformed`], [`ProofError::TooLarge`], [`ProofError::UnknownSigner`],
/// [`ProofError::BadSignature`] if any signature that claims the key does not verify.
pub fn open_note<'a>(note: &'a [u8], verifier: &NoteVerifier) -> Result<&'a str, ProofError> {
    let malformed = || ProofError::Malformed("note");
    if note.len() > NOTE_BYTES_MAX {
        return Err(ProofError::TooLarge { what: "note", limit: NOTE_BYTES_MAX as u64 });
    }
    let note = std::str::from_utf8(note).map_err(|_| malformed())?;
    if has_control(note) {
        return Err(malformed());
    }
    // The last empty line ends the text, which keeps the newline before it.
    let (before, signatures) = note.rsplit_once("\n\n").ok_or_else(malformed)?;
    let text = note.get(..before.len() + 1).ok_or_else(malformed)?;
    let signatures = signatures.strip_suffix('\n').ok_or_else(malformed)?;
    if signatures.split('\n').count() > NOTE_SIGNATURES_MAX {
        let limit = NOTE_SIGNATURES_MAX as u64;
        return Err(ProofError::TooLarge { what: "number of signatures", limit });
    }
    let hash = key_hash(&verifier.name, &verifier.key);
    let mut verified = Err(ProofError::UnknownSigner);
    for line in signatures.split('\n') {
        let (name, bytes) = signature_line(line).ok_or_else(malformed)?;
        let (claimed, signature) = bytes.split_first_chunk::<4>().ok_or_else(malformed)?;
        if signature.is_empty() {
            return Err(malformed());
        }
        if name == verifier.name && *claimed == hash {
            let signature = signature.try_into().map_err(|_| ProofError::BadSignature)?;
            verifier
                .key
                .verify(text.as_bytes(), &Signature::from_bytes(signature))
                .map_err(|_| ProofError::BadSignature)?;
            verified = Ok(text);
        }
    }
    verified
}

impl Checkpoint {
    /// The note text, to be signed.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] if the origin or an extension is empty or has a control character, or
    /// the size is over [`TREE_SIZE_MAX`].
    pub fn to_text(&self) -> Result<String, ProofError> {
        let mut lines = std::iter::once(&self.origin).chain(&self.extensions);
        if lines.any(|line| line.is_empty() || line.chars().any(|c| c < ' '))
            || self.size > TREE_SIZE_MAX
        {
            return Err(ProofError::Malformed("checkpoint"));
        }
        let root = STANDARD.encode(self.root.as_bytes());
        let mut text = format!("{}\n{}\n{root}\n", self.origin, self.size);
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        Ok(text)
    }

    /// Reads a note text. Trust it only if it came out of [`open_note`]; [`Checkpoint::open`] does both.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] unless it is what [`Checkpoint::to_text`] writes.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let read = || {
            let mut lines = text.strip_suffix('\n')?.split('\n');
            let checkpoint = Self {
                origin: lines.next()?.to_owned(),
                size: parse_decimal(lines.next()?)?,
                root: parse_hash(lines.next()?)?,
                extensions: lines.map(str::to_owned).collect(),
            };
            (checkpoint.to_text().ok()? == text).then_some(checkpoint)
        };
        read().ok_or(ProofError::Malformed("checkpoint"))
    }

    /// The signed checkpoint.
    ///
    /// # Errors
    /// As [`Checkpoint::to_text`] and [`sign_note`]; [`ProofError::WrongOrigin`] unless the origin is
    /// the signer's name.
    pub fn sign(&self, signer: &NoteSigner<'_>) -> Result<String, ProofError> {
        if self.origin != signer.name {
            return Err(ProofError::WrongOrigin);
        }
        sign_note(&self.to_text()?, signer)
    }

    /// The checkpoint in a note that the log's key signed.
    ///
    /// # Errors
    /// As [`open_note`] and [`Checkpoint::parse`]; [`ProofError::WrongOrigin`] unless the origin is the
    /// key's name.
    pub fn open(note: &[u8], verifier: &NoteVerifier) -> Result<Self, ProofError> {
        let checkpoint = Self::parse(open_note(note, verifier)?)?;
        if checkpoint.origin == verifier.name {
            Ok(checkpoint)
        } else {
            Err(ProofError::WrongOrigin)
        }
    }
}

/// A decimal number of at most [`TREE_SIZE_MAX`] in its only spelling.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok().filter(|number| *number <= TREE_SIZE_MAX)?;
    (number.to_string() == text).then_some(number)
}

/// A hash in standard base64.
pub(crate) fn parse_hash(text: &str) -> Option<Digest> {
    Some(Digest::from_bytes(STANDARD.decode(text).ok()?.try_into().ok()?))
}

fn signature_line(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, signature) = line.strip_prefix(SIGNATURE_LINE)?.split_once(' ')?;
    checked_name(name).ok()?;
    Some((name, STANDARD.decode(signature).ok()?))
}

fn checked_name(name: &str) -> Result<String, ProofError> {
    let refused = |c: char| c == '+' || c.is_whitespace() || c < ' ';
    if name.is_empty() || name.contains(refused) {
        return Err(ProofError::Malformed("key name"));
    }
    Ok(name.to_owned())
}

fn key_hash(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let digest = Digest::of_parts(&[name.as_bytes(), b"\n", &[ED25519], key.as_bytes()]);
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

fn has_control(text: &str) -> bool {
    text.chars().any(|c| c < ' ' && c != '\n')
}
