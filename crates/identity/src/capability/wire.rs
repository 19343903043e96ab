//! A token's bytes: limits, structure, signatures.
//!
//! The adversary offers bytes that are large, deep or signed in a way that only some verifiers accept. Bounds come
//! before parsing, and every signature is checked by the one acceptance rule of the system, not by the library's: with
//! it the ids of the blocks, which are made from their signatures, have one spelling.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use biscuit_auth::format::schema;
use prost::Message as _;
use tipstaff_core::Digest;
use tipstaff_core::key::{Signature, VerifyingKey};
use zeroize::Zeroizing;

use super::{BLOCKS_MAX, Fault, TOKEN_BYTES_MAX};

/// Versions of the language that are known (Biscuit 3.0 to 3.3).
const VERSIONS: std::ops::RangeInclusive<u32> = 3..=6;
/// The form of signatures that binds a block to the one before it.
const BOUND: u32 = 1;

/// A token whose signatures nobody has looked at.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) bytes: Vec<u8>,
    /// INVARIANT: one at least, at most [`BLOCKS_MAX`].
    pub(super) blocks: Vec<Signed>,
    proof: Proof,
}

/// A block as it is signed.
#[derive(Debug)]
pub(super) struct Signed {
    data: Vec<u8>,
    next: [u8; 32],
    signature: [u8; 64],
    /// Who signed its contents beside the holder of the token.
    pub(super) external: Option<External>,
    version: u32,
    pub(super) block: schema::Block,
    /// SHA-256 of its signature, which is its revocation identifier.
    pub(super) id: Digest,
}

#[derive(Debug)]
pub(super) struct External {
    pub(super) key: VerifyingKey,
    signature: [u8; 64],
}

enum Proof {
    /// The secret half of the last block's next key: nothing was cut off.
    Secret(Zeroizing<[u8; 32]>),
    /// A signature with it: nothing can be added.
    Sealed([u8; 64]),
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret",
            Self::Sealed(_) => "Sealed",
        })
    }
}

impl Wire {
    /// Reads a token.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() > TOKEN_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let token =
            schema::Biscuit::decode(bytes).map_err(|_| Fault::Malformed("it is no Biscuit"))?;
        if token.blocks.len() >= BLOCKS_MAX {
            return Err(Fault::TooManyBlocks);
        }
        if token.authority.external_signature.is_some() {
            return Err(Fault::Malformed("its first block is signed twice"));
        }
        let blocks = std::iter::once(token.authority).chain(token.blocks).map(Signed::read);
        let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
        let proof = match token.proof.content {
            Some(schema::proof::Content::NextSecret(secret)) => {
                let secret = Zeroizing::new(secret);
                let secret = <[u8; 32]>::try_from(secret.as_slice());
                Proof::Secret(Zeroizing::new(secret.map_err(|_| Fault::Malformed("its proof"))?))
            }
            Some(schema::proof::Content::FinalSignature(signature)) => {
                Proof::Sealed(fixed(&signature, "its proof")?)
            }
            None => return Err(Fault::Malformed("it has no proof")),
        };
        Ok(Self { bytes: bytes.to_vec(), blocks, proof })
    }

    /// Checks that each block is by the key that the one before it names, the first by `root`, and that the last one
    /// is the last.
    pub(super) fn verify(&self, root: &VerifyingKey) -> Result<(), Fault> {
        let (mut key, mut before): (VerifyingKey, Option<&Signed>) = (root.clone(), None);
        for block in &self.blocks {
            if let Some(before) = before {
                key = strict(&before.next)?;
            }
            check(&key, &block.payload(before)?, &block.signature)?;
            if let (Some(external), Some(before)) = (&block.external, before) {
                let payload = external_payload(&block.data, &before.signature);
                check(&external.key, &payload, &external.signature)?;
            }
            before = Some(block);
        }
        let last = before.ok_or(Fault::Malformed("it has no block"))?;
        match &self.proof {
            Proof::Secret(secret) => {
                // Only compared: nothing is ever checked with it.
                let pair = Ed25519KeyPair::from_seed_unchecked(secret.as_ref());
                let pair = pair.map_err(|_| Fault::Key)?;
                let same = pair.public_key().as_ref() == last.next.as_slice();
                if same { Ok(()) } else { Err(Fault::Forged) }
            }
            Proof::Sealed(signature) => {
                let mut sealed = last.data.clone();
                sealed.extend(0_i32.to_le_bytes());
                sealed.extend(last.next);
                sealed.extend(last.signature);
                check(&strict(&last.next)?, &sealed, signature)
            }
        }
    }
}

impl Signed {
    fn read(signed: schema::SignedBlock) -> Result<Self, Fault> {
        let version = signed.version.unwrap_or_default();
        let external = match signed.external_signature {
            None => None,
            // Without its place in the chain it would be good at any other.
            Some(_) if version != BOUND => {
                return Err(Fault::Malformed("a block of a third party is not bound to its place"));
            }
            Some(external) => Some(External {
                key: strict(&public(&external.public_key)?)?,
                signature: fixed(&external.signature, "a signature")?,
            }),
        };
        let block = schema::Block::decode(signed.block.as_slice())
            .map_err(|_| Fault::Malformed("a block"))?;
        if !block.version.is_some_and(|version| VERSIONS.contains(&version)) {
            return Err(Fault::Malformed("a block is of an unknown version"));
        }
        let signature = fixed(&signed.signature, "a signature")?;
        Ok(Self {
            next: public(&signed.next_key)?,
            id: Digest::of(&signature),
            data: signed.block,
            signature,
            external,
            version,
            block,
        })
    }

    /// What the block's signature is over.
    fn payload(&self, before: Option<&Self>) -> Result<Vec<u8>, Fault> {
        let algorithm = 0_i32.to_le_bytes();
        let external = self.external.as_ref().map(|external| external.signature.as_slice());
        let parts: Vec<&[u8]> = match self.version {
            0 => vec![&self.data, external.unwrap_or_default(), &algorithm, &self.next],
            BOUND => {
                let mut parts: Vec<&[u8]> = vec![
                    b"\0BLOCK\0\0VERSION\0\x01\0\0\0\0PAYLOAD\0",
                    &self.data,
                    b"\0ALGORITHM\0",
                    &algorithm,
                    b"\0NEXTKEY\0",
                    &self.next,
                ];
                if let Some(before) = before {
                    parts.extend([b"\0PREVSIG\0".as_slice(), &before.signature]);
                }
                if let Some(external) = external {
                    parts.extend([b"\0EXTERNALSIG\0".as_slice(), external]);
                }
                parts
            }
            _ => return Err(Fault::Malformed("a signature is of an unknown version")),
        };
        Ok(parts.concat())
    }
}

/// What a third party signs to have its contents at one place in one chain.
pub(super) fn external_payload(data: &[u8], before: &[u8]) -> Vec<u8> {
    [b"\0EXTERNAL\0\0VERSION\0\x01\0\0\0\0PAYLOAD\0".as_slice(), data, b"\0PREVSIG\0", before]
        .concat()
}

fn check(key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> Result<(), Fault> {
    key.verify(message, &Signature::from_bytes(*signature)).map_err(|_| Fault::Forged)
}

fn strict(key: &[u8; 32]) -> Result<VerifyingKey, Fault> {
    VerifyingKey::from_bytes(key).map_err(|_| Fault::Key)
}

fn public(key: &schema::PublicKey) -> Result<[u8; 32], Fault> {
    if key.algorithm != schema::public_key::Algorithm::Ed25519 as i32 {
        return Err(Fault::Algorithm);
    }
    fixed(&key.key, "a key")
}

fn fixed<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::Malformed(what))
}
