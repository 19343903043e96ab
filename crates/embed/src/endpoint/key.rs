//! The endpoint's key.
//!
//! The adversary reads logs, errors and memory dumps of types: the key is wiped after use, has no `Debug`
//! that shows it, and a fault names where it should be, never what is there.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::error::EmbedError;

/// Longest key, in bytes.
const KEY_BYTES_MAX: u64 = 4096;

/// A key for `Authorization: Bearer`. Neither `Clone` nor printable.
pub struct Key(Zeroizing<String>);

impl Key {
    /// The key that `setting` names: `env:NAME` for a variable, `file:PATH` for a file that only its owner
    /// can read. A key itself is refused here: it would lie in the configuration.
    ///
    /// # Errors
    /// [`EmbedError::Setting`], without what was found.
    pub fn resolve(setting: &str) -> Result<Self, EmbedError> {
        let wrong = |what: String| EmbedError::Setting { what };
        let text = if let Some(variable) = setting.strip_prefix("env:") {
            let value = std::env::var(variable);
            let why = |_| wrong(format!("key needs the variable {variable}, which is not set"));
            Zeroizing::new(value.map_err(why)?)
        } else if let Some(path) = setting.strip_prefix("file:") {
            private(Path::new(path)).map_err(|why| wrong(format!("key in {path} {why}")))?
        } else {
            return Err(wrong("key must be given as env:NAME or file:PATH".to_owned()));
        };
        let key = Self(Zeroizing::new(text.trim().to_owned()));
        if key.0.is_empty() || key.header().is_none() {
            let place = setting.split_once(':').map_or("", |(_, place)| place);
            return Err(wrong(format!("key in {place} is empty or can't be sent")));
        }
        Ok(key)
    }

    /// The header's value, marked as not to be shown.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        if !self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let text = Zeroizing::new(format!("Bearer {}", self.0.as_str()));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

fn private(path: &Path) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::new());
    let failed = |error: std::io::Error| format!("can't be read: {error}");
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err("is not in a file".to_owned());
    }
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(format!("can be read by others; run `chmod 600 {}`", path.display()));
    }
    file.take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}
