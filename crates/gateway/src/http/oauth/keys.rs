//! An issuer's public keys (RFC 7517), and signatures by them.
//!
//! The adversary picks the key or the algorithm: a public key used as a secret, a key of one kind for a signature of
//! another, a name that two keys have. What a key verifies is settled by its kind when the set is read, secrets are
//! never read, and a name that is not one key's is nobody's.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tipstaff_core::Json;
use tipstaff_core::key::{Signature, VerifyingKey};

/// Most keys of a set.
const KEYS_MAX: usize = 64;
/// Longest name of a key, in bytes.
const NAME_MAX: usize = 256;

/// The algorithms that are taken (RFC 7518, RFC 8037, RFC 9864).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    EdDsa,
    Es256,
    Rs256,
}

/// An issuer's keys.
#[derive(Debug, Clone, Default)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Debug, Clone)]
struct Key {
    name: Option<String>,
    public: Public,
}

#[derive(Debug, Clone)]
enum Public {
    Ed25519(VerifyingKey),
    P256([u8; 65]),
    Rsa(PublicKeyComponents<Vec<u8>>),
}

impl Algorithm {
    /// Reads `alg`. `none`, secrets and everything else are none of these.
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

impl KeySet {
    /// Reads a JWK set. Keys that are not for these signatures are passed over; `None` if it is no set.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let set = Json::parse(bytes).ok()?;
        let keys = set.get("keys")?.as_array()?;
        if keys.len() > KEYS_MAX {
            return None;
        }
        Some(Self(keys.iter().filter_map(Key::read).collect()))
    }

    /// Whether there is a key of this name.
    pub(super) fn has(&self, name: Option<&str>) -> bool {
        self.0.iter().any(|key| key.name.as_deref() == name || name.is_none())
    }

    /// Whether the one key of this name, or the only one of its kind where a token names none, made the signature.
    pub(super) fn verify(
        &self,
        (name, algorithm): (Option<&str>, Algorithm),
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let is_meant = |key: &&Key| {
            key.public.algorithm() == algorithm && (name.is_none() || key.name.as_deref() == name)
        };
        let mut found = self.0.iter().filter(is_meant);
        match (found.next(), found.next()) {
            (Some(key), None) => key.public.verify(message, signature),
            _ => false,
        }
    }
}

impl Key {
    fn read(json: &Json) -> Option<Self> {
        let text = |name: &str| json.get(name).and_then(Json::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let public = match (text("kty")?, text("crv")) {
            ("OKP", Some("Ed25519")) => {
                let x: [u8; 32] = bytes("x")?.try_into().ok()?;
                Public::Ed25519(VerifyingKey::from_bytes(&x).ok()?)
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                Public::P256([&[4], x.as_slice(), y.as_slice()].concat().try_into().ok()?)
            }
            ("RSA", None) => Public::Rsa(PublicKeyComponents { n: bytes("n")?, e: bytes("e")? }),
            _ => return None,
        };
        let algorithm = json.get("alg").map(|alg| alg.as_str().and_then(Algorithm::parse));
        let is_other = |found: Option<Algorithm>| found != Some(public.algorithm());
        let verifies = |operations: &Json| {
            operations
                .as_array()
                .is_some_and(|all| all.iter().any(|op| op.as_str() == Some("verify")))
        };
        let is_unfit = algorithm.is_some_and(is_other)
            || json.get("use").is_some_and(|purpose| purpose.as_str() != Some("sig"))
            || json.get("key_ops").is_some_and(|operations| !verifies(operations))
            || json.get("kid").is_some() && text("kid").is_none_or(|name| name.len() > NAME_MAX);
        (!is_unfit).then(|| Self { name: text("kid").map(str::to_owned), public })
    }
}

impl Public {
    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::P256(_) => Algorithm::Es256,
            Self::Rsa(_) => Algorithm::Rs256,
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => signature
                .try_into()
                .is_ok_and(|bytes| key.verify(message, &Signature::from_bytes(bytes)).is_ok()),
            Self::P256(key) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
                .verify(message, signature)
                .is_ok(),
            Self::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
        }
    }
}
