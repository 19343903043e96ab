//! Certificates for TLS: those that principals make for their own keys, and the home's own authority (row D5).
//!
//! The adversary presents a certificate of a key that is not his, one that is over, or one whose issuer promises
//! something. Of a client's certificate nothing counts but its key: an Ed25519 key that signed the certificate itself,
//! within the time that the certificate states. Who has the key is the log's word, and is asked elsewhere.

mod authority;
mod certificate;

pub use authority::{Leaf, ServerAuthority, ServerName};
pub use certificate::{CertificateFault, certificate_key, principal_certificate};

use rcgen::CertificateParams;
use time::OffsetDateTime;
use tipstaff_core::Millis;

/// How far before now a new certificate begins: clocks differ.
const BEFORE: u64 = 5 * 60 * 1000;

/// Sets the time in which a certificate is valid.
fn validity(params: &mut CertificateParams, now: Millis, lasts: u64) -> Option<()> {
    let at =
        |millis: u64| OffsetDateTime::from_unix_timestamp(i64::try_from(millis / 1000).ok()?).ok();
    params.not_before = at(now.0.saturating_sub(BEFORE))?;
    params.not_after = at(now.0.saturating_add(lasts))?;
    Some(())
}
