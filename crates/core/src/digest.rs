//! SHA-256 digests as a type, with one spelling: 64 lower-case hex digits.

use sha2::{Digest as _, Sha256};

use crate::error::CoreError;

/// A SHA-256 digest (FIPS 180-4), 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The genesis `prev_hash`: 64 zeros (row A7).
    pub const ZERO: Self = Self([0; 32]);

    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of several parts, one after another, with nothing between them.
    #[must_use]
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// A digest from its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A digest from its only accepted spelling.
    ///
    /// # Errors
    /// [`CoreError::Malformed`] unless `text` is 64 lower-case hex digits.
    pub fn from_hex(text: &str) -> Result<Self, CoreError> {
        let malformed = CoreError::Malformed("digest");
        if text.len() != 64 {
            return Err(malformed);
        }
        let (mut bytes, mut wrong) = ([0; 32], 0);
        for (byte, [high, low]) in bytes.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
            // What is no digit has high bits, which are looked at once, at the end.
            let (high, low) = (nibble(*high), nibble(*low));
            wrong |= high | low;
            *byte = high << 4 | low & 15;
        }
        if wrong > 15 {
            return Err(malformed);
        }
        Ok(Self(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// The first 12 hex digits: enough for a person to tell two digests apart, never for a check.
    #[must_use]
    pub fn short(&self) -> String {
        hex(self.0.first_chunk::<6>().map_or(&[][..], |head| &head[..]))
    }
}

/// Lower-case hex of any bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

/// Appends lower-case hex.
pub(crate) fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut pairs = [0; 64];
    for part in bytes.chunks(pairs.len() / 2) {
        for (pair, byte) in pairs.as_chunks_mut::<2>().0.iter_mut().zip(part) {
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        let written = pairs.get(..part.len() * 2).unwrap_or_default();
        // Digits are always text.
        out.push_str(std::str::from_utf8(written).unwrap_or_default());
    }
}

/// The value of a lower-case hex digit, more than 15 for anything else.
const fn nibble(digit: u8) -> u8 {
    let (decimal, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
    if decimal < 10 {
        decimal
    } else if letter < 6 {
        letter + 10
    } else {
        u8::MAX
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_has_one_spelling() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            digest.to_hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(Digest::from_hex(&digest.to_hex()), Ok(digest));
        assert!(Digest::from_hex(&digest.to_hex().to_uppercase()).is_err());
        assert!(Digest::from_hex("00").is_err());
        assert_eq!(Digest::of_parts(&[b"a", b"bc"]), digest);
    }
}
