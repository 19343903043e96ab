//! Granting, giving on and looking at tokens: what needs randomness and no home.
//!
//! The adversary is a key that lies around. A grant's root key is made for it and forgotten; narrowing needs no key at
//! all, and giving on needs that of the holder alone.

use biscuit_auth::builder::{BlockBuilder, Check, Fact};
use biscuit_auth::format::schema;
use biscuit_auth::{Biscuit, KeyPair, PrivateKey, ThirdPartyRequest, UnverifiedBiscuit};
use prost::Message as _;
use tipstaff_core::Digest;
use tipstaff_core::key::{SigningKey, VerifyingKey};

use super::caveat::{Caveat, fact, string};
use super::token::Token;
use super::wire::external_payload;
use super::{BLOCKS_MAX, Fault, TOKEN_BYTES_MAX};

/// What a block demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// One of our forms.
    Caveat(Caveat),
    /// A check in Biscuit's own words.
    Check(String),
}

/// What a token says, whether or not it is good for anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The block's id, by which it is revoked.
    pub id: Digest,
    /// Whom it names.
    pub holder: Option<String>,
    /// Who signed its contents, beside the holder of the token.
    pub signed_by: Option<String>,
    /// What it says, in Biscuit's words.
    pub source: String,
}

/// A new token for a holder, and the key that signed it, whose secret half nobody has any more.
///
/// # Errors
/// [`Fault`] if a check can't be read, or the token would be too large.
pub fn grant(holder: &VerifyingKey, parts: &[Part]) -> Result<(Vec<u8>, VerifyingKey), Fault> {
    let pair = KeyPair::new();
    let root = pair.public().to_bytes();
    let root = <[u8; 32]>::try_from(root.as_slice()).map_err(|_| Fault::Key)?;
    let root = VerifyingKey::from_bytes(&root).map_err(|_| Fault::Key)?;
    let made = Biscuit::builder().merge(block(Some(holder), parts)?).build(&pair);
    let bytes = made.and_then(|token| token.to_vec()).map_err(unmade)?;
    fits(bytes).map(|bytes| (bytes, root))
}

/// A token made narrower and, with the key of its holder, given on to another.
///
/// # Errors
/// [`Fault`]; [`Fault::NotHolder`] if the key is not the holder's.
pub fn attenuate(
    bytes: &[u8],
    to: Option<(&VerifyingKey, &SigningKey)>,
    parts: &[Part],
) -> Result<Vec<u8>, Fault> {
    let token = Token::decode(bytes)?;
    if token.wire().blocks.len() >= BLOCKS_MAX {
        return Err(Fault::TooManyBlocks);
    }
    let before = UnverifiedBiscuit::from(bytes).map_err(unmade)?;
    let Some((holder, key)) = to else {
        let made = before.append(block(None, parts)?).and_then(|token| token.to_vec());
        return fits(made.map_err(unmade)?);
    };
    let named = inspect(bytes)?.into_iter().filter_map(|block| block.holder).next_back();
    if named != Some(key.verifying_key().to_did_key()) {
        return Err(Fault::NotHolder);
    }
    let request = before.third_party_request().map_err(unmade)?;
    let signature = request.serialize().map_err(unmade)?;
    let signed = signed_by(key, &signature, block(Some(holder), parts)?)?;
    let made = before.append_third_party(&signed).and_then(|token| token.to_vec());
    fits(made.map_err(unmade)?)
}

/// A block's contents with the holder's signature over them and their place. The library makes the contents; its own
/// signature, by a key of the moment, is replaced, so that the holder's key stays where it is.
fn signed_by(key: &SigningKey, request: &[u8], block: BlockBuilder) -> Result<Vec<u8>, Fault> {
    let malformed = |_| Fault::Malformed("the new block");
    let before = schema::ThirdPartyBlockRequest::decode(request).map_err(malformed)?;
    let request = ThirdPartyRequest::deserialize(request).map_err(unmade)?;
    let moment: PrivateKey = KeyPair::new().private();
    let contents = request.create_block(&moment, block).and_then(|made| made.serialize());
    let mut contents =
        schema::ThirdPartyBlockContents::decode(contents.map_err(unmade)?.as_slice())
            .map_err(malformed)?;
    let payload = external_payload(&contents.payload, &before.previous_signature);
    contents.external_signature = schema::ExternalSignature {
        signature: key.sign(&payload).as_bytes().to_vec(),
        public_key: schema::PublicKey {
            algorithm: schema::public_key::Algorithm::Ed25519 as i32,
            key: key.verifying_key().as_bytes().to_vec(),
        },
    };
    Ok(contents.encode_to_vec())
}

/// The blocks of a token, in order.
///
/// # Errors
/// [`Fault`]
pub fn inspect(bytes: &[u8]) -> Result<Vec<Shown>, Fault> {
    let token = Token::decode(bytes)?;
    let read = UnverifiedBiscuit::from(bytes).map_err(unmade)?;
    let blocks = token.wire().blocks.iter().enumerate().map(|(index, signed)| {
        let source = read.print_block_source(index).map_err(unmade)?;
        let names = |line: &&str| line.starts_with("holder(\"");
        let holder = source.lines().find(names).and_then(|line| line.split('"').nth(1));
        Ok(Shown {
            id: signed.id,
            holder: holder.map(str::to_owned),
            signed_by: signed.external.as_ref().map(|external| external.key.to_did_key()),
            source: source.clone(),
        })
    });
    blocks.collect()
}

fn block(holder: Option<&VerifyingKey>, parts: &[Part]) -> Result<BlockBuilder, Fault> {
    let mut block = BlockBuilder::new();
    if let Some(holder) = holder {
        let named = fact("holder", vec![string(&holder.to_did_key())]);
        block = block.fact(Fact::new(named.name, named.terms)).map_err(unmade)?;
    }
    for part in parts {
        let check = match part {
            Part::Caveat(caveat) => caveat.to_check(),
            Part::Check(text) => Check::try_from(text.as_str())
                .map_err(|_| Fault::Malformed("a check is not in Biscuit's language"))?,
        };
        block = block.check(check).map_err(unmade)?;
    }
    Ok(block)
}

fn fits(bytes: Vec<u8>) -> Result<Vec<u8>, Fault> {
    if bytes.len() > TOKEN_BYTES_MAX { Err(Fault::TooLarge) } else { Ok(bytes) }
}

fn unmade(_: biscuit_auth::error::Token) -> Fault {
    Fault::Malformed("the library refuses it")
}
