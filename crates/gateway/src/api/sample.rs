//! A small chain to try a verifier on: `GET /api/v1/aarm/sample-chain`.
//!
//! The adversary takes a sample for evidence. A sample of this home is a whole chain of its public log;
//! where there is none, one is made and signed with a key that is thrown away, and says so.

use tipstaff_core::key::SigningKey;
use tipstaff_core::receipt::SHAPE;
use tipstaff_core::{CoreError, Digest, Json, Millis};
use zeroize::Zeroizing;

/// A chain of the eight-field shape, signed by a key that exists for this answer alone.
pub(crate) fn made(
    seed: &Zeroizing<[u8; 32]>,
    now: Millis,
) -> Result<serde_json::Value, CoreError> {
    const ACTIONS: [(&str, u8); 4] =
        [("session:open", 1), ("fs:read", 1), ("fs:write", 3), ("session:close", 1)];
    let key = SigningKey::from_seed(seed)?;
    let (public, mut prev, mut receipts) = (key.verifying_key(), Digest::ZERO, Vec::new());
    for (seq, action) in (0..).zip(ACTIONS) {
        let receipt = eight_fields(action, (&now.to_string(), "agent://sample/none"), (seq, prev));
        let text = receipt.to_canonical();
        prev = Digest::of(text.as_bytes());
        receipts.push(serde_json::json!({
            "hash": prev.to_hex(),
            "key_id": public.key_id(),
            "receipt": serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default(),
            "signature": key.sign(text.as_bytes()).to_base64url(),
        }));
    }
    let jwk = serde_json::json!({
        "kty": "OKP", "crv": "Ed25519", "x": public.x(), "kid": public.key_id(), "use": "sig",
        "alg": "EdDSA",
    });
    Ok(serde_json::json!({
        "origin": "made",
        "note": "Nothing here happened: these receipts were made for this answer, and the key that \
                 signed them is gone. `jwks` has its public half; this home does not know it.",
        "receipts": receipts,
        "jwks": { "keys": [jwk] },
    }))
}

/// A receipt of the eight fields alone, for a chain that shows the shape.
pub(super) fn eight_fields(
    (action, tier): (&str, u8),
    (ts, actor): (&str, &str),
    (chain_seq, prev_hash): (i64, Digest),
) -> Json {
    let context = Json::object(vec![("count".to_owned(), Json::from(chain_seq))]);
    let context = context.unwrap_or(Json::Null).to_canonical();
    let context_digest = Digest::of(context.as_bytes());
    let members = vec![
        ("v".to_owned(), Json::string(SHAPE)),
        ("ts".to_owned(), Json::string(ts)),
        ("actor".to_owned(), Json::string(actor)),
        ("action".to_owned(), Json::string(action)),
        ("tier".to_owned(), Json::from(i64::from(tier))),
        ("context_digest".to_owned(), Json::String(context_digest.to_hex())),
        ("prev_hash".to_owned(), Json::String(prev_hash.to_hex())),
        ("chain_seq".to_owned(), Json::from(chain_seq)),
    ];
    Json::object(members).unwrap_or(Json::Null)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use tipstaff_core::key::VerifyingKey;
    use tipstaff_core::receipt::verify_links;

    use super::*;

    #[test]
    fn a_made_chain_verifies_with_the_key_that_it_names() {
        let made = made(&Zeroizing::new([1; 32]), Millis(1_776_772_800_000)).unwrap();
        let json = Json::parse(made.to_string().as_bytes()).unwrap();
        let x = json.pointer("/jwks/keys/0/x").and_then(Json::as_str).unwrap();
        let x: [u8; 32] = URL_SAFE_NO_PAD.decode(x).unwrap().try_into().unwrap();
        let key = VerifyingKey::from_bytes(&x).unwrap();
        let report = verify_links(json.get("receipts").and_then(Json::as_array).unwrap(), &[key]);
        assert_eq!((report.broken, report.signatures, report.length), (None, 4, 4));
        assert_eq!(json.get("origin").and_then(Json::as_str), Some("made"));
    }
}
