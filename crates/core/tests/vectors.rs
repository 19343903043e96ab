//! The published receipt vectors come out as their manifest says.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::path::{Path, PathBuf};

use tipstaff_core::Json;
use tipstaff_core::key::VerifyingKey;
use tipstaff_core::receipt::{BreakReason, Signed, verify_links};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/receipts")
}

fn read(file: &str) -> Json {
    Json::parse(&std::fs::read(folder().join(file)).unwrap()).unwrap()
}

fn keys() -> Vec<VerifyingKey> {
    let jwks = read("jwks.json");
    let keys = jwks.get("keys").and_then(Json::as_array).unwrap().iter().map(|jwk| {
        use base64::Engine as _;
        let x = jwk.get("x").and_then(Json::as_str).unwrap();
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(x).unwrap();
        let key = VerifyingKey::from_bytes(bytes.as_slice().try_into().unwrap()).unwrap();
        assert_eq!(Some(key.key_id().as_str()), jwk.get("kid").and_then(Json::as_str));
        key
    });
    keys.collect()
}

/// The elements of a case, or the number of the first line that is not acceptable JSON.
fn elements(case: &Json) -> Result<Vec<Json>, usize> {
    let file = case.get("file").and_then(Json::as_str).unwrap();
    if let Some(pointer) = case.get("pointer").and_then(Json::as_str) {
        return Ok(read(file).pointer(pointer).and_then(Json::as_array).unwrap().to_vec());
    }
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    let parsed =
        text.lines().enumerate().map(|(at, line)| Json::parse(line.as_bytes()).map_err(|_| at));
    parsed.collect()
}

#[test]
fn every_vector_comes_out_as_its_manifest_says() {
    let (manifest, keys) = (read("manifest.json"), keys());
    let cases = manifest.get("cases").and_then(Json::as_array).unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let name = case.get("file").and_then(Json::as_str).unwrap();
        let text = |member| case.get(member).and_then(Json::as_str);
        let number = |member| case.get(member).and_then(Json::as_integer);
        let expected = text("reason").map(|reason| (reason, number("brokenAt").unwrap()));
        assert_eq!(case.get("valid").and_then(Json::as_bool), Some(expected.is_none()), "{name}");
        let elements = match elements(case) {
            Ok(elements) => elements,
            Err(at) => {
                let found = Some((BreakReason::Malformed.as_str(), i64::try_from(at).unwrap()));
                assert_eq!(found, expected, "{name}");
                continue;
            }
        };
        let is_signed = elements.iter().any(|element| element.get("signature").is_some());
        let report = verify_links(&elements, if is_signed { &keys } else { &[] });
        let broken = report.broken.map(|(at, why)| (why.as_str(), i64::try_from(at).unwrap()));
        assert_eq!(broken, expected, "{name}");
        if expected.is_none() {
            assert_eq!(Some(report.head.to_hex().as_str()), text("head"), "{name}");
            assert_eq!(Some(report.closed), case.get("closed").and_then(Json::as_bool), "{name}");
            assert_eq!(i64::try_from(report.length).ok(), number("length"), "{name}");
            assert_eq!(report.signatures, if is_signed { report.length } else { 0 }, "{name}");
        }
    }
}

#[test]
fn our_own_receipts_keep_their_bytes() {
    for file in ["good.jsonl", "later-fields.jsonl"] {
        for line in std::fs::read_to_string(folder().join(file)).unwrap().lines() {
            let signed = Signed::from_leaf(line).unwrap();
            assert_eq!(signed.receipt().to_canonical(), signed.text());
        }
    }
}
