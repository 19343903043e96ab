//! A principal's certificate: made without the home, and read for the key in it.
//!
//! The adversary makes a certificate that two readers read differently. It has to be the one DER encoding of what it
//! says, and its signature is checked by the one rule for all signatures.

use der::asn1::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PublicKeyData, SignatureAlgorithm,
};
use tipstaff_core::Millis;
use tipstaff_core::key::{Signature, SigningKey, VerifyingKey};
use x509_cert::Certificate;
use x509_cert::certificate::Version;

use super::validity;

/// Longest certificate that is looked at, in bytes.
const BYTES_MAX: usize = 8 << 10;
/// Ed25519, as a key and as a signature (RFC 8410).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// Extensions that may be critical: what they say is known here, and takes nothing from the rule.
const KNOWN: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];

/// Why a certificate proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// It can't be read, or could be read in two ways.
    #[error("the certificate is malformed")]
    Malformed,
    /// Its key is not Ed25519.
    #[error("the certificate's key is not an Ed25519 key")]
    KeyType,
    /// It is not signed with its own key.
    #[error("the certificate is not signed with its own key")]
    Signature,
    /// It begins later.
    #[error("the certificate is not valid yet")]
    Early,
    /// It is over.
    #[error("the certificate has expired")]
    Expired,
    /// It can't be made.
    #[error("the certificate can't be made")]
    Unmade,
}

/// The key of a client's certificate, if it is valid now. Its issuer and its names count for nothing.
///
/// # Errors
/// [`CertificateFault`]
pub fn certificate_key(bytes: &[u8], now: Millis) -> Result<VerifyingKey, CertificateFault> {
    let malformed = CertificateFault::Malformed;
    if bytes.len() > BYTES_MAX {
        return Err(malformed);
    }
    let read = Certificate::from_der(bytes).map_err(|_| malformed)?;
    let stated = read.tbs_certificate();
    let strange = |critical, id: &ObjectIdentifier| critical && !KNOWN.contains(id);
    let extensions = stated.extensions().map_or(&[][..], Vec::as_slice);
    let is_read = read.to_der().is_ok_and(|again| again == bytes)
        && stated.version() == Version::V3
        && !extensions.iter().any(|found| strange(found.critical, &found.extn_id));
    if !is_read {
        return Err(malformed);
    }
    let info = stated.subject_public_key_info();
    let key = info.subject_public_key.as_bytes().and_then(|bytes| bytes.try_into().ok());
    let key = key.filter(|_| info.algorithm.oid == ED25519 && info.algorithm.parameters.is_none());
    let key = key.and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
    let key = key.ok_or(CertificateFault::KeyType)?;
    let plain = [read.signature_algorithm(), stated.signature()];
    let is_plain = plain.iter().all(|found| found.oid == ED25519 && found.parameters.is_none());
    let signed = stated.to_der().map_err(|_| malformed)?;
    let signature = read.signature().as_bytes().and_then(|bytes| bytes.try_into().ok());
    let signature = signature.filter(|_| is_plain).ok_or(CertificateFault::Signature)?;
    key.verify(&signed, &Signature::from_bytes(signature))
        .map_err(|_| CertificateFault::Signature)?;
    let (from, until) = (stated.validity().not_before, stated.validity().not_after);
    let now = now.0 / 1000;
    if now < from.to_unix_duration().as_secs() {
        return Err(CertificateFault::Early);
    }
    if now > until.to_unix_duration().as_secs() {
        return Err(CertificateFault::Expired);
    }
    Ok(key)
}

/// A certificate for a key, signed with it: PEM. It names who has the key for people alone.
///
/// # Errors
/// [`CertificateFault::Unmade`]
pub fn principal_certificate(
    key: &SigningKey,
    name: &str,
    (now, lasts): (Millis, u64),
) -> Result<String, CertificateFault> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    validity(&mut params, now, lasts).ok_or(CertificateFault::Unmade)?;
    let made = params.self_signed(&Own(key)).map_err(|_| CertificateFault::Unmade)?;
    Ok(made.pem())
}

/// A key of ours, as the library that writes certificates wants it.
struct Own<'a>(&'a SigningKey);

impl PublicKeyData for Own<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.verifying_key().as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Own<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);
    const HOUR: u64 = 3_600_000;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32].into()).unwrap()
    }

    fn der(pem: &str) -> Vec<u8> {
        let lines = pem.lines().filter(|line| !line.starts_with('-'));
        STANDARD.decode(lines.collect::<String>()).unwrap()
    }

    fn made(seed: u8) -> Vec<u8> {
        der(&principal_certificate(&key(seed), "coder", (NOW, HOUR)).unwrap())
    }

    #[test]
    fn a_certificate_gives_its_key_within_its_time() {
        let made = made(1);
        let at = |now: u64| certificate_key(&made, Millis(now));
        assert_eq!(at(NOW.0), Ok(key(1).verifying_key().clone()));
        assert_eq!(at(NOW.0 + HOUR), Ok(key(1).verifying_key().clone()));
        assert_eq!(at(NOW.0 + HOUR + 1000), Err(CertificateFault::Expired));
        assert_eq!(at(NOW.0 - HOUR), Err(CertificateFault::Early));
    }

    #[test]
    fn only_an_ed25519_key_that_signed_it_itself_counts() {
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        validity(&mut params, NOW, HOUR).unwrap();
        let curve = params.self_signed(&other).unwrap();
        assert_eq!(certificate_key(curve.der(), NOW), Err(CertificateFault::KeyType));
        // Issued by somebody for a key of another: what the issuer says counts for nothing.
        for issuer in [&key(2), &key(3)] {
            let issuer = rcgen::Issuer::from_params(&params, Own(issuer));
            let issued = params.signed_by(&Own(&key(1)), &issuer).unwrap();
            assert_eq!(certificate_key(issued.der(), NOW), Err(CertificateFault::Signature));
        }
        let long = [made(1), vec![0; BYTES_MAX]].concat();
        assert_eq!(certificate_key(&long, NOW), Err(CertificateFault::Malformed));
        assert_eq!(certificate_key(&[], NOW), Err(CertificateFault::Malformed));
        let longer = [made(1), vec![0]].concat();
        assert_eq!(certificate_key(&longer, NOW), Err(CertificateFault::Malformed));
    }

    #[test]
    fn what_is_critical_and_not_known_is_refused() {
        let mut params = CertificateParams::default();
        validity(&mut params, NOW, HOUR).unwrap();
        let mut strange = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 5], vec![5, 0]);
        for (critical, read) in
            [(false, Ok(key(1).verifying_key().clone())), (true, Err(CertificateFault::Malformed))]
        {
            strange.set_criticality(critical);
            params.custom_extensions = vec![strange.clone()];
            let made = params.self_signed(&Own(&key(1))).unwrap();
            assert_eq!(certificate_key(made.der(), NOW), read, "{critical}");
        }
    }

    proptest! {
        #[test]
        fn no_changed_byte_counts(at in 0_usize..1000, to in any::<u8>()) {
            let mut bytes = made(1);
            let at = at % bytes.len();
            let changed = bytes[at] != to;
            bytes[at] = to;
            prop_assert_eq!(certificate_key(&bytes, NOW).is_err(), changed);
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(certificate_key(&bytes, NOW).is_err());
        }
    }
}
