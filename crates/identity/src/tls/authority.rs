//! The home's own certificate authority: it says, to clients that were told of it, that a listener is this home's.
//!
//! The adversary sits between a client and the home. The authority's key lies in the home's folder for its owner alone
//! and signs certificates of listeners, nothing else; a listener's own key is made when it starts and never written.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tipstaff_core::{Millis, digest};
use tipstaff_store::{Disk as _, NativeDisk, Random as _, StoreError};
use zeroize::Zeroizing;

use super::validity;
use crate::keys::{IdentityError, SystemRandom, refuse_exposed};

/// Where it lies in a home's folder of keys.
const KEY: &str = "tls.key";
const CERTIFICATE: &str = "tls-ca.pem";
/// Longest file of either, in bytes.
const BYTES_MAX: u64 = 16 << 10;
/// How long it lasts, and how long a listener's certificate does, in milliseconds.
const LASTS: u64 = 10 * 365 * 24 * 60 * 60 * 1000;
const LEAF_LASTS: u64 = 90 * 24 * 60 * 60 * 1000;

/// The authority of a home.
pub struct ServerAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A name by which a listener is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName(String);

/// A listener's certificate and its key, for the time that it listens.
pub struct Leaf {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivatePkcs8KeyDer<'static>,
}

impl ServerName {
    /// Reads a DNS name or an IP address, as they stand in addresses; in lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let read = rustls_pki_types::ServerName::try_from(lower.as_str()).ok()?;
        match read {
            rustls_pki_types::ServerName::IpAddress(_) => {
                lower.parse().ok().map(|address: IpAddr| Self(address.to_string()))
            }
            // A final dot is a second spelling, and a star many names.
            _ if lower.ends_with('.') || lower.contains('*') => None,
            _ => Some(Self(lower)),
        }
    }

    /// As it stands in an address: IPv6 in brackets.
    #[must_use]
    pub fn in_address(&self) -> String {
        if self.0.contains(':') { format!("[{}]", self.0) } else { self.0.clone() }
    }
}

impl std::fmt::Display for ServerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for ServerAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerAuthority")
    }
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leaf")
    }
}

impl ServerAuthority {
    /// The authority of the home whose log has this origin, made on first use.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub fn open_or_create(home: &Path, origin: &str, now: Millis) -> Result<Self, IdentityError> {
        let folder = home.join("keys");
        refuse_exposed(&folder)?;
        let path = folder.join(KEY);
        if !path.exists() {
            create(&folder, &path)?;
        }
        refuse_exposed(&path)?;
        let malformed = || IdentityError::Malformed(path.clone());
        let key = KeyPair::from_pem(&read(&path)?).map_err(|_| malformed())?;
        let params = params(origin, now).ok_or_else(malformed)?;
        let public = folder.join(CERTIFICATE);
        let pem = if public.exists() {
            read(&public)?.to_string()
        } else {
            let made = params.self_signed(&key).map_err(|_| malformed())?.pem();
            NativeDisk::new(&folder).replace(Path::new(CERTIFICATE), made.as_bytes())?;
            made
        };
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Where its certificate lies in a home.
    #[must_use]
    pub fn path(home: &Path) -> PathBuf {
        home.join("keys").join(CERTIFICATE)
    }

    /// What clients have to trust: its certificate in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate with a new key for a listener of these names.
    ///
    /// # Errors
    /// [`IdentityError::Unmade`]
    pub fn leaf(&self, names: &[ServerName], now: Millis) -> Result<Leaf, IdentityError> {
        let unmade = |_| IdentityError::Unmade;
        let names: Vec<String> = names.iter().map(|name| name.0.clone()).collect();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, "Tipstaff listener");
        let mut params = CertificateParams::new(names).map_err(unmade)?;
        params.distinguished_name = subject;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        validity(&mut params, now, LEAF_LASTS).ok_or(IdentityError::Unmade)?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(unmade)?;
        let made = params.signed_by(&key, &self.issuer).map_err(unmade)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Leaf { certificate: made.der().clone(), key })
    }
}

/// What the authority's certificate says. Its name is the home's, so that two homes' are told apart.
fn params(origin: &str, now: Millis) -> Option<CertificateParams> {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Tipstaff");
    subject.push(DnType::CommonName, origin);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    validity(&mut params, now, LASTS)?;
    Some(params)
}

fn read(path: &Path) -> Result<Zeroizing<String>, IdentityError> {
    let failed = |source| StoreError::Io { what: "read the keys".to_owned(), source };
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(failed)?;
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Two may start at once: whoever links first has made the key.
fn create(folder: &Path, path: &Path) -> Result<(), IdentityError> {
    let failed = |source| StoreError::Io { what: "write the key".to_owned(), source };
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
    let text = Zeroizing::new(key.map_err(|_| IdentityError::Unmade)?.serialize_pem());
    let mut unique = [0; 8];
    SystemRandom.fill(&mut unique)?;
    let made = folder.join(format!(".{KEY}.{}", digest::hex(&unique)));
    let file = File::options().write(true).create_new(true).mode(0o600).open(&made);
    let mut file = file.map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&made, path));
    let _ = fs::remove_file(&made);
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(error).into()),
        _ => Ok(NativeDisk::new(folder).sync_folder(Path::new(""))?),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};

    use super::*;

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::DirBuilder::new().mode(0o700).create(home.path().join("keys")).unwrap();
        home
    }

    #[test]
    fn made_once_for_its_owner_alone() {
        let home = home();
        let now = Millis(1_700_000_000_000);
        let open = || ServerAuthority::open_or_create(home.path(), "tipstaff.local/1", now);
        let first = open().unwrap();
        assert_eq!(first.pem(), open().unwrap().pem());
        assert_eq!(fs::read_to_string(ServerAuthority::path(home.path())).unwrap(), first.pem());
        let path = home.path().join("keys").join(KEY);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(open(), Err(IdentityError::Exposed(_))));
    }

    #[test]
    fn a_name_has_one_spelling() {
        for (text, name) in [
            ("Gateway.Example", "gateway.example"),
            ("10.0.0.5", "10.0.0.5"),
            ("[::1]", "[::1]"),
            ("2001:DB8::1", "[2001:db8::1]"),
        ] {
            assert_eq!(ServerName::parse(text).unwrap().in_address(), name, "{text}");
        }
        for wrong in ["", "*.example", "a b", "host:443", "example.", "https://x", "a/b"] {
            assert_eq!(ServerName::parse(wrong), None, "{wrong}");
        }
    }
}
