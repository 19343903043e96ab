//! Reads the files of a model.
//!
//! The adversary puts something endless, or not a file at all, where a model should be.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::error::EmbedError;

/// The bytes of a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, EmbedError> {
    let failed = |why| EmbedError::File { path: path.to_owned(), why };
    // Asked before it is opened: opening a pipe waits for its writer.
    let about = std::fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        return Err(failed(io::Error::other("it is not a file")));
    }
    let too_large = || EmbedError::FileTooLarge { path: path.to_owned(), limit };
    if about.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    let file = File::open(path).map_err(failed)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}
