//! What kind of data a piece of bytes holds: secrets, personal data, text that instructs the reader's
//! agent, text that hides from the reader, and encoded payloads. The adversary carries a secret or a
//! person's data out of a session unseen, or speaks to the agent through data.
//!
//! Fast and local: no model, no network, no file. One linear pass over the bytes, any bytes, in bounded
//! memory. What is found is reported as ranges and counts; the text itself is never kept or printed.
//! `docs/detectors.md` says what each detector finds and misses, with measured rates.

#![forbid(unsafe_code)]

mod bytes;
mod encoded;
mod findings;
mod hidden;
mod instruct;
mod personal;
mod secret;
mod view;
mod walk;

pub use findings::{Detector, Finding, Findings, Kind};

/// Bounds of one scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many bytes are looked at; what is longer has `truncated` set. Default 64 MiB.
    pub bytes_max: usize,
    /// How many ranges are kept for each kind; counting goes on. Default 16.
    pub findings_max: usize,
    /// How many layers of encoding are opened. Default 3.
    pub decode_depth_max: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 64 << 20, findings_max: 16, decode_depth_max: 3 }
    }
}

/// Scans bytes of any kind.
///
/// Takes time linear in the length, and memory for one block and what is decoded from it. JSON escapes are read as
/// what they stand for. Encoded text is decoded and scanned again; what is found in it has the range of
/// the encoded text. The caller must treat what was not looked at ([`Findings::truncated`]) as unknown.
#[must_use]
pub fn scan(bytes: &[u8], limits: &Limits) -> Findings {
    view::scan(bytes, limits)
}

#[cfg(test)]
mod tests;
