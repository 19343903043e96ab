//! The bearer token of a home.
//!
//! The adversary guesses it, measures how long a comparison takes, or finds it in a log. It has 256
//! random bits, is compared in constant time, lies in a file of its owner alone, and is never printed.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tipstaff_core::digest;
use tipstaff_identity::SystemRandom;
use tipstaff_store::Random as _;
use zeroize::Zeroizing;

use crate::error::GatewayError;

/// Where the token lies in a home.
const FILE: &str = "keys/http.token";

/// A home's bearer token. Neither `Clone` nor printable.
///
/// INVARIANT: 43 to 512 visible ASCII characters, as many as 256 bits take at least.
pub struct Token(Zeroizing<String>);

impl Token {
    /// The token of a home that was made before; a new one on first use.
    ///
    /// # Errors
    /// [`GatewayError::Secret`] if others can read the file or it holds no token,
    /// [`GatewayError::System`].
    pub fn open_or_create(home: &Path) -> Result<Self, GatewayError> {
        let path = Self::path(home);
        if !path.exists() {
            create(&path)?;
        }
        Self::open(home)
    }

    /// The token of a home.
    ///
    /// # Errors
    /// Like [`Token::open_or_create`].
    pub fn open(home: &Path) -> Result<Self, GatewayError> {
        let path = Self::path(home);
        let text = read_private(&path)?;
        let what = "does not hold a token; remove it, so that a new one is made";
        Self::parse(&text).ok_or(GatewayError::Secret { path, what })
    }

    /// The file of a home's token, to be named to its user.
    #[must_use]
    pub fn path(home: &Path) -> PathBuf {
        home.join(FILE)
    }

    /// The token that `text` spells, `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_long = (43..=512).contains(&text.len());
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        (is_long && is_plain).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// Whether `presented` is this token. Takes the same time whatever the difference is.
    #[must_use]
    pub fn matches(&self, presented: &str) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), presented.as_bytes()).is_ok()
    }

    /// A digest of this token and some parts, which nobody makes without the token.
    pub(crate) fn seal(&self, purpose: &str, part: &[u8]) -> tipstaff_core::Digest {
        // SHA-256 is applied twice and the purpose ends with a zero byte, so that nothing extends another.
        let key = self.0.as_bytes();
        let inner = tipstaff_core::Digest::of_parts(&[key, purpose.as_bytes(), b"\0", part]);
        tipstaff_core::Digest::of_parts(&[key, inner.as_bytes()])
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// 256 random bits in hexadecimal, or an error of the system.
pub(super) fn random_hex() -> Result<Zeroizing<String>, GatewayError> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom
        .fill(&mut *bytes)
        .map_err(|error| GatewayError::system("random bytes")(std::io::Error::other(error)))?;
    Ok(Zeroizing::new(digest::hex(&*bytes)))
}

/// A text in a file that only its owner can read.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, GatewayError> {
    let failed = |source| GatewayError::Folder { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || found.mode() & 0o077 != 0 {
        let what = "can be read by others; make it yours alone (chmod 600) and renew what it holds";
        return Err(GatewayError::Secret { path: path.to_owned(), what });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(64 << 10).read_to_string(&mut text).map_err(failed)?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Two servers may start at once: whoever links first has made the token.
fn create(path: &Path) -> Result<(), GatewayError> {
    let failed = || GatewayError::system("write the HTTP token");
    let random = |buffer: &mut [u8]| {
        SystemRandom.fill(buffer).map_err(|error| failed()(std::io::Error::other(error)))
    };
    let (mut secret, mut unique) = (Zeroizing::new([0; 32]), [0; 8]);
    random(secret.as_mut())?;
    random(&mut unique)?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_ref()));
    let folder = path.parent().unwrap_or(path);
    let made = folder.join(format!(".http.token.{}", digest::hex(&unique)));
    let mut file =
        File::options().write(true).create_new(true).mode(0o600).open(&made).map_err(failed())?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&made, path));
    let _ = fs::remove_file(&made);
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed()(error)),
        _ => File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("keys")).unwrap();
        home
    }

    #[test]
    fn made_once_for_its_owner_alone_and_never_printed() {
        let home = home();
        let token = Token::open_or_create(home.path()).unwrap();
        let text = fs::read_to_string(Token::path(home.path())).unwrap();
        assert_eq!(text.len(), 43);
        assert_eq!(fs::metadata(Token::path(home.path())).unwrap().mode() & 0o777, 0o600);
        let again = Token::open_or_create(home.path()).unwrap();
        assert!(token.matches(&text) && again.matches(&text));
        for wrong in ["", text.get(..42).unwrap(), &format!("{text}A"), &"A".repeat(43)] {
            assert!(!token.matches(wrong));
        }
        assert!(!format!("{token:?}").contains(&text));
        assert_eq!(fs::read_dir(home.path().join("keys")).unwrap().count(), 1);
    }

    #[test]
    fn what_others_can_read_or_is_none_is_refused() {
        let home = home();
        let path = Token::path(home.path());
        drop(Token::open_or_create(home.path()).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Token::open(home.path()), Err(GatewayError::Secret { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(matches!(Token::open_or_create(home.path()), Err(GatewayError::Secret { .. })));
    }

    #[test]
    fn made_by_several_at_once_it_is_one() {
        let home = home();
        let tokens: Vec<String> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Token::open_or_create(home.path()).unwrap().0.to_string()))
                .collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(tokens.windows(2).all(|two| two[0] == two[1]));
    }
}
