//! The home's keys: made once, one per purpose, in files that only their owner can read.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tipstaff_core::key::{SigningKey, VerifyingKey};
use tipstaff_core::{CoreError, digest};
use tipstaff_store::{Disk as _, NativeDisk, Random, StoreError};
use zeroize::Zeroizing;

use crate::principal::Name;

/// Why keys could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A key file or its folder can be read by others.
    #[error("{0} can be read by others; make it yours alone (chmod go-rwx) and renew its keys")]
    Exposed(PathBuf),
    /// A key file does not hold a key.
    #[error("{0} does not hold a key")]
    Malformed(PathBuf),
    /// A key file is missing though others of the home are there.
    #[error("{0} is missing; restore it from a backup")]
    Missing(PathBuf),
    /// A certificate can't be made with this key.
    #[error("the certificate can't be made")]
    Unmade,
    /// The library refused a key.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), StoreError> {
        aws_lc_rs::rand::fill(buffer).map_err(|_| StoreError::Io {
            what: "read random bytes".to_owned(),
            source: std::io::Error::from(ErrorKind::Other),
        })
    }
}

/// Every secret of a home.
#[derive(Debug)]
pub struct HomeKeys {
    /// Signs receipts.
    pub receipts: SigningKey,
    /// Signs checkpoints.
    pub log: SigningKey,
    home: Secret,
    pseudonyms: Secret,
    origin: String,
}

/// The public halves, for those who only check.
#[derive(Debug, Clone)]
pub struct PublicKeys {
    /// Verifies receipts.
    pub receipts: VerifyingKey,
    /// Verifies checkpoints.
    pub log: VerifyingKey,
    /// The log's origin.
    pub origin: String,
}

struct Secret(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl HomeKeys {
    /// The keys of the home folder, made on first use.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub fn open_or_create(home: &Path) -> Result<Self, IdentityError> {
        let folder = home.join("keys");
        if !folder.exists() {
            create(home, &folder)?;
        }
        Self::open(home)
    }

    /// The keys of a home that has them.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], [`IdentityError::Exposed`], [`IdentityError::Malformed`]
    pub fn open(home: &Path) -> Result<Self, IdentityError> {
        let folder = home.join("keys");
        refuse_exposed(&folder)?;
        let [receipts, log, home, pseudonyms] = FILES;
        let log = SigningKey::from_seed(&read_secret(&folder.join(log))?.0)?;
        // Bound to the log's key, the origin is as unique as the key is.
        let id = digest::hex(log.verifying_key().as_bytes());
        Ok(Self {
            receipts: SigningKey::from_seed(&read_secret(&folder.join(receipts))?.0)?,
            log,
            home: read_secret(&folder.join(home))?,
            pseudonyms: read_secret(&folder.join(pseudonyms))?,
            origin: format!("tipstaff.local/{}", id.get(..16).unwrap_or_default()),
        })
    }

    /// The key that an approver of this home signs with, made on first use. The monitor never holds it:
    /// it knows the public half.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub fn approver(home: &Path) -> Result<SigningKey, IdentityError> {
        let folder = home.join("keys");
        refuse_exposed(&folder)?;
        if !folder.join(APPROVER).exists() {
            write_seed(&NativeDisk::new(&folder), APPROVER)?;
        }
        Ok(SigningKey::from_seed(&read_secret(&folder.join(APPROVER))?.0)?)
    }

    /// Makes the key that is to replace the approver's, in a file with its thumbprint as a name. One that was made
    /// before and never came into force is thrown away.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub fn next_approver(home: &Path) -> Result<SigningKey, IdentityError> {
        let folder = home.join("keys");
        refuse_exposed(&folder)?;
        let disk = NativeDisk::new(&folder);
        for name in disk.list(Path::new(""))? {
            if name.starts_with(NEXT) && name.ends_with(KEY) && name != APPROVER {
                disk.remove(Path::new(&name))?;
            }
        }
        let fresh = FreshKey::make()?;
        let text = Zeroizing::new(digest::hex(fresh.seed.0.as_ref()));
        disk.replace(Path::new(&next_name(&fresh.public.key_id())), text.as_bytes())?;
        Ok(SigningKey::from_seed(&fresh.seed.0)?)
    }

    /// Puts the key of this thumbprint in the approver's place, if it waits for that: after the receipt that says
    /// so. Its file is not read.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub fn install_approver(home: &Path, key_id: &str) -> Result<bool, IdentityError> {
        let folder = home.join("keys");
        let next = folder.join(next_name(key_id));
        if !next.exists() {
            return Ok(false);
        }
        let failed = |source| StoreError::Io { what: "replace the key".to_owned(), source };
        fs::rename(next, folder.join(APPROVER)).map_err(failed)?;
        let folder = fs::File::open(&folder).and_then(|folder| folder.sync_all());
        folder.map_err(failed)?;
        Ok(true)
    }

    /// An approver's key from a file of its own.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub fn approver_at(file: &Path) -> Result<SigningKey, IdentityError> {
        key_at(file)
    }

    /// The log's origin, unique per home.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The key that wraps the inputs' keys.
    #[must_use]
    pub fn home_key(&self) -> &[u8; 32] {
        &self.home.0
    }

    /// The secret that pseudonyms are keyed by.
    #[must_use]
    pub fn pseudonym_key(&self) -> &[u8; 32] {
        &self.pseudonyms.0
    }

    /// The public halves.
    #[must_use]
    pub fn public(&self) -> PublicKeys {
        PublicKeys {
            receipts: self.receipts.verifying_key().clone(),
            log: self.log.verifying_key().clone(),
            origin: self.origin.clone(),
        }
    }
}

/// A key from a file of its own, which its owner alone can read.
///
/// # Errors
/// [`IdentityError`]
pub fn key_at(file: &Path) -> Result<SigningKey, IdentityError> {
    Ok(SigningKey::from_seed(&read_secret(file)?.0)?)
}

/// The same key as other programs read it: PKCS #8 (RFC 8410) in PEM.
///
/// # Errors
/// [`IdentityError`]
pub fn key_pem_at(file: &Path) -> Result<Zeroizing<String>, IdentityError> {
    let seed = read_secret(file)?.0;
    let bytes = Zeroizing::new([&PKCS8_ED25519[..], seed.as_ref()].concat());
    let text = Zeroizing::new(STANDARD.encode(&*bytes));
    let lines = ["-----BEGIN PRIVATE KEY-----", &text, "-----END PRIVATE KEY-----", ""];
    Ok(Zeroizing::new(lines.join("\n")))
}

/// Makes a key in a file that its owner alone can read, and that must not be there yet.
///
/// # Errors
/// [`IdentityError`]
pub fn make_key(file: &Path) -> Result<SigningKey, IdentityError> {
    let mut seed = Zeroizing::new([0; 32]);
    SystemRandom.fill(seed.as_mut())?;
    let text = Zeroizing::new(digest::hex(seed.as_ref()));
    let failed = |source| StoreError::Io { what: "write the key".to_owned(), source };
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut made = made.map_err(failed)?;
    made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).map_err(failed)?;
    Ok(SigningKey::from_seed(&seed)?)
}

/// A key that is not in a file yet.
pub struct FreshKey {
    seed: Secret,
    public: VerifyingKey,
}

impl std::fmt::Debug for FreshKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FreshKey({})", self.public.key_id())
    }
}

impl FreshKey {
    /// Makes one.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub fn make() -> Result<Self, IdentityError> {
        let mut seed = Zeroizing::new([0; 32]);
        SystemRandom.fill(seed.as_mut())?;
        let public = SigningKey::from_seed(&seed)?.verifying_key().clone();
        Ok(Self { seed: Secret(seed), public })
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &VerifyingKey {
        &self.public
    }
}

/// The keys that a home makes for principals: `keys/principals/NAME.key`.
#[derive(Debug)]
pub struct KeyFolder(PathBuf);

impl KeyFolder {
    /// That of a home.
    #[must_use]
    pub fn of(home: &Path) -> Self {
        Self(home.join("keys").join("principals"))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The public half of the key that was made for somebody.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub fn find(&self, name: &Name) -> Result<Option<VerifyingKey>, IdentityError> {
        let file = self.file(name);
        if !file.exists() {
            return Ok(None);
        }
        Ok(Some(key_at(&file)?.verifying_key().clone()))
    }

    /// Writes keys that are not there yet, each in a file that its owner alone can read, and makes all of them durable.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub fn write<'a>(
        &self,
        keys: impl Iterator<Item = (&'a Name, &'a FreshKey)>,
    ) -> Result<(), IdentityError> {
        let failed = |source| StoreError::Io { what: "write a key".to_owned(), source };
        let mut count = 0_usize;
        for (name, key) in keys {
            if count == 0 {
                let folder = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
                folder.map_err(failed)?;
            }
            let text = Zeroizing::new(digest::hex(key.seed.0.as_ref()));
            // Half a file is none: it has its name when it is whole.
            let (file, made) = (self.file(name), self.0.join(format!(".{name}.new")));
            let open = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&made);
            let written = open.and_then(|mut file| file.write_all(text.as_bytes()));
            // A key that is there is never written over.
            written.and_then(|()| fs::hard_link(&made, &file)).map_err(failed)?;
            fs::remove_file(&made).map_err(failed)?;
            count += 1;
        }
        if count > 0 {
            NativeDisk::new(&self.0).sync_folder(Path::new(""))?;
        }
        Ok(())
    }

    fn file(&self, name: &Name) -> PathBuf {
        self.0.join(format!("{name}.key"))
    }
}

impl PublicKeys {
    /// The JSON Web Key Set (RFC 7517, OKP keys of RFC 8037) of both keys.
    #[must_use]
    pub fn to_jwks(&self) -> serde_json::Value {
        let jwk = |key: &VerifyingKey, purpose: &str| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "x": key.x(), "kid": key.key_id(),
                "use": "sig", "alg": "EdDSA", "tipstaff/purpose": purpose,
                "tipstaff/did": key.to_did_key(),
            })
        };
        serde_json::json!({ "keys": [jwk(&self.receipts, "receipts"), jwk(&self.log, "log")] })
    }
}

/// Several doors may start at once on a new home: whoever renames first has made its keys, and the
/// others' are thrown away unused.
fn create(home: &Path, folder: &Path) -> Result<(), IdentityError> {
    let failed = |source| StoreError::Io { what: "create keys".to_owned(), source };
    let mut unique = [0; 8];
    SystemRandom.fill(&mut unique)?;
    let made = home.join(format!("keys.{}", digest::hex(&unique)));
    fs::DirBuilder::new().mode(0o700).create(&made).map_err(failed)?;
    let disk = NativeDisk::new(&made);
    for name in FILES {
        write_seed(&disk, name)?;
    }
    let renamed = fs::rename(&made, folder);
    let _ = fs::remove_dir_all(&made);
    match renamed {
        Err(source) if !folder.exists() => Err(failed(source).into()),
        _ => Ok(NativeDisk::new(home).sync_folder(Path::new(""))?),
    }
}

fn write_seed(disk: &NativeDisk, name: &str) -> Result<(), IdentityError> {
    let mut seed = Zeroizing::new([0; 32]);
    SystemRandom.fill(seed.as_mut())?;
    let text = Zeroizing::new(digest::hex(seed.as_ref()));
    Ok(disk.replace(Path::new(name), text.as_bytes())?)
}

/// What stands before the 32 bytes of a key: a sequence of version 0, the algorithm, and an octet string in another.
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const APPROVER: &str = "approver.key";
/// A key that is to replace it is `approver.THUMBPRINT.key`.
const NEXT: &str = "approver.";
const KEY: &str = ".key";
const FILES: [&str; 4] = ["receipts.key", "log.key", "home.key", "pseudonyms.key"];

fn next_name(key_id: &str) -> String {
    format!("{NEXT}{key_id}{KEY}")
}

pub(crate) fn refuse_exposed(path: &Path) -> Result<(), IdentityError> {
    match fs::metadata(path) {
        Ok(found) if found.mode() & 0o077 == 0 => Ok(()),
        Ok(_) => Err(IdentityError::Exposed(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(IdentityError::Missing(path.to_owned()))
        }
        Err(source) => Err(StoreError::Io { what: "look at the keys".to_owned(), source }.into()),
    }
}

fn read_secret(path: &Path) -> Result<Secret, IdentityError> {
    refuse_exposed(path)?;
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|source| match source.kind() {
        // Not text, so no key.
        ErrorKind::InvalidData => IdentityError::Malformed(path.to_owned()),
        _ => StoreError::Io { what: "read the keys".to_owned(), source }.into(),
    })?;
    let bytes = tipstaff_core::Digest::from_hex(text.trim())
        .map_err(|_| IdentityError::Malformed(path.to_owned()))?;
    Ok(Secret(Zeroizing::new(*bytes.as_bytes())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_made_once_and_refused_when_exposed() {
        let home = tempfile::tempdir().unwrap();
        let first = HomeKeys::open_or_create(home.path()).unwrap();
        let again = HomeKeys::open_or_create(home.path()).unwrap();
        assert_eq!(first.public().receipts, again.public().receipts);
        assert_ne!(first.public().receipts, first.public().log);
        assert!(first.origin().starts_with("tipstaff.local/"));
        let key = home.path().join("keys/receipts.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(HomeKeys::open(home.path()), Err(IdentityError::Exposed(_))));
        fs::remove_file(&key).unwrap();
        assert!(matches!(HomeKeys::open(home.path()), Err(IdentityError::Missing(_))));
    }

    #[test]
    fn keys_made_by_several_at_once_are_one_set() {
        let home = tempfile::tempdir().unwrap();
        let made: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| HomeKeys::open_or_create(home.path()).unwrap().public()))
                .collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(made.windows(2).all(|two| two[0].receipts == two[1].receipts));
        assert!(made.windows(2).all(|two| two[0].log == two[1].log));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_signature_of_one_purpose_is_none_of_another() {
        let home = tempfile::tempdir().unwrap();
        let keys = HomeKeys::open_or_create(home.path()).unwrap();
        let signature = keys.receipts.sign(b"m");
        assert!(keys.public().log.verify(b"m", &signature).is_err());
    }

    #[test]
    fn keys_in_an_exposed_folder_are_refused() {
        let home = tempfile::tempdir().unwrap();
        HomeKeys::open_or_create(home.path()).unwrap();
        fs::set_permissions(home.path().join("keys"), fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(HomeKeys::open(home.path()), Err(IdentityError::Exposed(_))));
    }
}
