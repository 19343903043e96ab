//! The home's token for clients that the kernel can't vouch for.
//!
//! The adversary reads it where it lies, guesses it, or measures how much of a guess was right. It is 256
//! random bits in a file of its owner's alone, and what is compared are digests, in constant time.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tipstaff_core::{Digest, digest};
use tipstaff_identity::SystemRandom;
use tipstaff_store::Random as _;
use zeroize::Zeroizing;

use crate::error::GatewayError;

/// The token, as a digest.
pub(super) struct Token(Digest);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The token of a home, made on first use in `keys/http.token`.
    pub(super) fn open_or_create(home: &Path) -> Result<Self, GatewayError> {
        let path = path(home);
        match read_private(&path) {
            Err(GatewayError::Folder { source, .. }) if source.kind() == ErrorKind::NotFound => {
                create(home, &path)?;
                read_private(&path)
            }
            read => read,
        }
        .and_then(|text| {
            if text.len() < 43 {
                let source = std::io::Error::new(ErrorKind::InvalidData, "it is too short");
                return Err(GatewayError::Folder { path: path.clone(), source });
            }
            Ok(Self(Digest::of(text.as_bytes())))
        })
    }

    /// Whether `given` is the token.
    pub(super) fn is(&self, given: &str) -> bool {
        let given = Digest::of(given.as_bytes());
        let pairs = self.0.as_bytes().iter().zip(given.as_bytes());
        // No early end: how many bytes agree is nobody's business.
        std::hint::black_box(pairs.fold(0, |different, (a, b)| different | (a ^ b))) == 0
    }
}

/// 256 random bits in hexadecimal, or an error of the system.
pub(super) fn random_hex() -> Result<Zeroizing<String>, GatewayError> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom.fill(&mut *bytes).map_err(|error| GatewayError::System {
        what: "random bytes",
        source: std::io::Error::other(error.to_string()),
    })?;
    Ok(Zeroizing::new(digest::hex(&*bytes)))
}

/// A text in a file that only its owner can read.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, GatewayError> {
    let failed = |source| GatewayError::Folder { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || found.mode() & 0o077 != 0 {
        let what = "others can read it; run chmod 600 on it and renew what it holds";
        return Err(failed(std::io::Error::new(ErrorKind::PermissionDenied, what)));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(64 << 10).read_to_string(&mut text).map_err(failed)?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

fn path(home: &Path) -> PathBuf {
    home.join("keys/http.token")
}

fn create(home: &Path, path: &Path) -> Result<(), GatewayError> {
    let failed = |source| GatewayError::Folder { path: path.to_owned(), source };
    let token = random_hex()?;
    let staged = home.join("keys/http.token.new");
    let _ = fs::remove_file(&staged);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged);
    let mut file = file.map_err(failed)?;
    file.write_all(token.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    // Put in place whole, and never over one that is there.
    let placed = fs::hard_link(&staged, path);
    let _ = fs::remove_file(&staged);
    match placed {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        placed => placed.map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn made_once_kept_private_and_compared_whole() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("keys")).unwrap();
        let token = Token::open_or_create(home.path()).unwrap();
        let file = path(home.path());
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!((text.len(), fs::metadata(&file).unwrap().mode() & 0o777), (64, 0o600));
        let again = Token::open_or_create(home.path()).unwrap();
        assert!(token.is(&text) && again.is(&text));
        for wrong in ["", text.get(..63).unwrap(), &format!("{text}0"), &"0".repeat(64)] {
            assert!(!token.is(wrong), "{wrong}");
        }
        assert!(!format!("{token:?}").contains(text.get(..8).unwrap()));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Token::open_or_create(home.path()).is_err());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "short").unwrap();
        assert!(Token::open_or_create(home.path()).is_err());
    }
}
