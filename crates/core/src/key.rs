//! Ed25519 keys and the one acceptance rule of the whole system.
//!
//! The adversary offers a signature or key on which verifiers disagree (small order, non-canonical
//! encodings, malleable S), so that one part of the system believes it and another doesn't. The rule is
//! RFC 8032, cofactorless, with canonical encodings and small-order keys refused: exactly what
//! `verify_strict` of ed25519-dalek accepts. Signing goes through aws-lc, which is faster; the two agree
//! on everything that an honest signer makes.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::error::CoreError;

/// What a key signs. There is one key per purpose, so that a signature of one kind is never one of
/// another, even if the bytes were made to look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Checkpoints of the Merkle log.
    Log,
    /// Receipts.
    Receipts,
}

/// A signing key. Neither `Clone` nor printable.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

/// A public key that passed the acceptance rule.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

/// A 64-byte signature, not yet verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032 §5.1.5).
    ///
    /// # Errors
    /// [`CoreError::Malformed`] if the library refuses the seed.
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Result<Self, CoreError> {
        let malformed = CoreError::Malformed("signing key");
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| malformed.clone())?;
        let public: &[u8] = pair.public_key().as_ref();
        let public = VerifyingKey::from_bytes(public.try_into().map_err(|_| malformed)?)?;
        Ok(Self { pair, public })
    }

    /// The public half.
    #[must_use]
    pub const fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        Signature(bytes)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public.key_id())
    }
}

impl VerifyingKey {
    /// A key from its 32 bytes.
    ///
    /// # Errors
    /// [`CoreError::Malformed`] if the point is not canonical or of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, CoreError> {
        let malformed = CoreError::Malformed("public key");
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| malformed.clone())?;
        if key.is_weak() { Err(malformed) } else { Ok(Self(key)) }
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Checks a signature by the one acceptance rule.
    ///
    /// # Errors
    /// [`CoreError::BadSignature`]
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), CoreError> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify_strict(message, &signature).map_err(|_| CoreError::BadSignature)
    }

    /// The key's JWK thumbprint (RFC 7638 over the OKP members of RFC 8037), base64url.
    #[must_use]
    pub fn key_id(&self) -> String {
        let x = self.x();
        let jwk = format!("{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{x}\"}}");
        URL_SAFE_NO_PAD.encode(Digest::of(jwk.as_bytes()).as_bytes())
    }

    /// The `x` member of the key's JWK.
    #[must_use]
    pub fn x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.as_bytes())
    }

    /// The `did:key` spelling: multibase base58btc of the multicodec prefix `0xed01` and the key.
    #[must_use]
    pub fn to_did_key(&self) -> String {
        let mut bytes = vec![0xed, 0x01];
        bytes.extend_from_slice(self.as_bytes());
        format!("did:key:z{}", bs58::encode(bytes).into_string())
    }

    /// Reads a `did:key` of an Ed25519 key.
    ///
    /// # Errors
    /// [`CoreError::Malformed`]
    pub fn from_did_key(did: &str) -> Result<Self, CoreError> {
        let malformed = CoreError::Malformed("did:key");
        let text = did.strip_prefix("did:key:z").ok_or_else(|| malformed.clone())?;
        // Bounds the quadratic decoding: an Ed25519 did:key has 48 digits.
        if text.len() > 64 {
            return Err(malformed);
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| malformed.clone())?;
        match bytes.strip_prefix(&[0xed, 0x01]) {
            Some(key) => Self::from_bytes(key.try_into().map_err(|_| malformed)?),
            None => Err(malformed),
        }
    }
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifyingKey({})", self.key_id())
    }
}

impl Signature {
    /// A signature from its 64 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Unpadded base64url.
    #[must_use]
    pub fn to_base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads unpadded base64url.
    ///
    /// # Errors
    /// [`CoreError::Malformed`]
    pub fn from_base64url(text: &str) -> Result<Self, CoreError> {
        let malformed = CoreError::Malformed("signature");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed.clone())?;
        Ok(Self(bytes.try_into().map_err(|_| malformed)?))
    }
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Signature({}…)",
            crate::digest::hex(self.0.first_chunk::<4>().map_or(&[], |c| c))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let pairs = text.as_bytes().chunks_exact(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    fn accepts(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) = (key.try_into(), signature.try_into()) else { return false };
        VerifyingKey::from_bytes(key)
            .is_ok_and(|key| key.verify(message, &Signature::from_bytes(signature)).is_ok())
    }

    #[test]
    fn accepts_exactly_the_strict_vectors() {
        let Some(folder) = crate::referees("ed25519") else { return };
        let text = std::fs::read(folder.join("cctv_ed25519vectors.json")).unwrap();
        let vectors: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
        let field = |v: &serde_json::Value, name: &str| v[name].as_str().unwrap().to_owned();
        let accepted = vectors.iter().filter(|v| {
            accepts(&unhex(&field(v, "key")), field(v, "msg").as_bytes(), &unhex(&field(v, "sig")))
        });
        assert_eq!((vectors.len(), accepted.count()), (914, 43));
    }

    #[test]
    fn agrees_with_wycheproof() {
        let Some(folder) = crate::referees("ed25519") else { return };
        let text = std::fs::read(folder.join("wycheproof_ed25519_test.json")).unwrap();
        let suite: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let mut cases = 0;
        for group in suite["testGroups"].as_array().unwrap() {
            let key = unhex(group["publicKey"]["pk"].as_str().unwrap());
            for test in group["tests"].as_array().unwrap() {
                let field = |name: &str| unhex(test[name].as_str().unwrap());
                let valid = test["result"] == "valid";
                assert_eq!(accepts(&key, &field("msg"), &field("sig")), valid, "{test}");
                cases += 1;
            }
        }
        assert_eq!(cases, 151);
    }

    #[test]
    fn signs_what_it_verifies_and_names_its_key() {
        let key = SigningKey::from_seed(&Zeroizing::new([7; 32])).unwrap();
        let signature = key.sign(b"message");
        assert!(key.verifying_key().verify(b"message", &signature).is_ok());
        assert!(key.verifying_key().verify(b"massage", &signature).is_err());
        let did = key.verifying_key().to_did_key();
        assert!(did.starts_with("did:key:z6Mk"));
        assert_eq!(&VerifyingKey::from_did_key(&did).unwrap(), key.verifying_key());
        assert!(VerifyingKey::from_did_key("did:key:zQ3s").is_err());
        assert_eq!(Signature::from_base64url(&signature.to_base64url()).unwrap(), signature);
        assert!(!format!("{key:?}").contains("0707"));
    }

    #[test]
    fn thumbprint_of_rfc8037_appendix_a() {
        // RFC 8037 A.1 and A.3: the example key and its thumbprint.
        let seed = unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let key = SigningKey::from_seed(&Zeroizing::new(seed.try_into().unwrap())).unwrap();
        assert_eq!(key.verifying_key().key_id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_key_of_small_order_is_none() {
        // The neutral element, and a point of order 4: each "verifies" messages that nobody signed.
        let (mut neutral, fourth) = ([0; 32], [0; 32]);
        neutral[0] = 1;
        assert!(VerifyingKey::from_bytes(&neutral).is_err());
        assert!(VerifyingKey::from_bytes(&fourth).is_err());
    }
}
