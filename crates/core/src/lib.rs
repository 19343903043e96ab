//! The vocabulary that every other crate shares: actions, verdicts, receipts, canonical forms, keys.
//!
//! The adversary here is whoever writes the bytes: an agent that hides one meaning behind another
//! (duplicate keys, numbers that change when they are rewritten, nesting that exhausts a stack), or a
//! forger who offers a signature that some verifiers accept and others refuse. Everything is parsed
//! once into values that cannot be ambiguous, and there is one rule for what a valid signature is.
//!
//! Pure: no clock, no file, no socket, no random source.

pub mod action;
pub mod digest;
pub mod error;
pub mod json;
pub mod key;
pub mod label;
pub mod limits;
pub mod receipt;
pub mod time;
pub mod verdict;

pub use action::Action;
pub use digest::Digest;
pub use error::CoreError;
pub use json::Json;
pub use label::{Label, Labels, Sensitivity, Sink};
pub use receipt::Receipt;
pub use time::Millis;
pub use verdict::{Tier, Verdict};

/// A folder of published test data, or `None` with a line that says that a test is skipped.
#[cfg(test)]
pub(crate) fn referees(name: &str) -> Option<std::path::PathBuf> {
    let root = std::env::var_os("TIPSTAFF_REFEREES").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/referees"),
        std::path::PathBuf::from,
    );
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("SKIPPED: no published vectors in {name}; set TIPSTAFF_REFEREES to their folder");
    None
}
