//! What can be wrong with bytes that claim to be one of our values.

/// Why a value could not be read. Named for what the sender can change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// The JSON text is not acceptable for judgement.
    #[error("{reason} at byte {at}")]
    Json {
        /// Byte offset of the first offending byte.
        at: usize,
        /// What is wrong there.
        reason: JsonFault,
    },
    /// A digest, key, signature or identifier is not in its only accepted spelling.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A signature does not verify under the one acceptance rule.
    #[error("bad signature")]
    BadSignature,
    /// A receipt lacks a member or has one of the wrong type.
    #[error("receipt member `{0}` is missing or of the wrong type")]
    ReceiptMember(&'static str),
    /// A value is over one of the limits of [`crate::limits`].
    #[error("{what} is over the limit of {limit}")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// The limit, in the unit that [`crate::limits`] states.
        limit: usize,
    },
}

/// The ways in which a JSON text is refused before judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// An object has two members of one name.
    #[error("duplicate object key")]
    DuplicateKey,
    /// A string escape encodes half of a surrogate pair.
    #[error("lone surrogate in a string")]
    LoneSurrogate,
    /// The text is not UTF-8.
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// A number's value would change when rewritten in canonical form.
    #[error("number has no exact canonical form")]
    InexactNumber,
    /// A number is outside ±(2^53 − 1).
    #[error("number outside ±(2^53-1)")]
    NumberRange,
    /// The text breaks the grammar of RFC 8259.
    #[error("not valid JSON")]
    Syntax,
    /// More nesting than the limit.
    #[error("nested too deeply")]
    TooDeep,
    /// More bytes or values than the limit.
    #[error("too large")]
    TooLarge,
    /// Bytes follow the value.
    #[error("bytes after the value")]
    Trailing,
}
