//! What can go wrong with an embedder, named for what its operator can do about it.

use std::path::PathBuf;

/// Why there is no vector or no distance.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// A file can't be read.
    #[error("{path} can't be read: {why}; give the folder of the model as it was published")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// A file is larger than anything that this crate reads.
    #[error("{path} is larger than {limit} bytes; it is not a file of a supported model")]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file is damaged: fetching the model again may help.
    #[error("{path} is damaged: {what}; fetch the model again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The model is whole but of a kind that this crate doesn't run.
    #[error("{path}: {what} is not supported; use all-MiniLM-L6-v2 as it was published")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported.
        what: String,
    },
    /// A text over [`crate::TEXT_BYTES_MAX`].
    #[error("the text is larger than {} bytes; shorten it", crate::TEXT_BYTES_MAX)]
    TextTooLarge,
    /// Values that are not finite, or two vectors of different length.
    #[error("the vectors can't be compared; check that one whole model made both")]
    NotComparable,
    /// A setting of the endpoint can't be used.
    #[error("the endpoint's {what}")]
    Setting {
        /// The setting and what it should be.
        what: String,
    },
    /// The endpoint can't be reached.
    #[error("the endpoint can't be reached: {why}")]
    Unreachable {
        /// What the system said.
        why: String,
    },
    /// The endpoint took longer than its time limit.
    #[error("the endpoint did not answer within {wait:?}")]
    Late {
        /// The limit.
        wait: std::time::Duration,
    },
    /// The endpoint answered with another status than 200.
    #[error("the endpoint answered HTTP {status}; check its address, model and key")]
    Refused {
        /// The status.
        status: u16,
    },
    /// The endpoint's answer is not what its interface promises.
    #[error("the endpoint's answer can't be used: {what}")]
    Answer {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A labelled set can't be read.
    #[error("line {line} of the labelled sessions: {what}")]
    Session {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}
