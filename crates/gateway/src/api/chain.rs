//! Checking a chain for whoever sends one: `POST /api/v1/aarm/verify-chain` (row A8).
//!
//! The adversary sends a chain that was edited, or one that is made to cost more than it is worth: too
//! large, of millions of tiny elements, nested without end. The answer is the same as the offline one;
//! what a chain of the contract's size can't hold is not looked at.

use ::http::StatusCode;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tipstaff_core::key::VerifyingKey;
use tipstaff_core::receipt::{ChainReport, Examined, Examiner, verify_examined};

use super::reply::{Fault, Reply, json, with_header};

/// Most elements that are looked at. The least receipt of eight fields has 161 bytes, so a chain of
/// more elements that is within [`super::route::CHAIN_BYTES_MAX`] has a malformed one among these.
const ELEMENTS_MAX: usize = 65_536;

const NEXT: &str = "Send a JSON array of receipts, or an object with it as `receipts` or `chain`.";

/// Checks the chain in a body. `key` is this home's: what bears its id and a signature must be its.
pub(crate) fn verify(body: &[u8], key: &VerifyingKey) -> Result<Reply, Fault> {
    let chain = read(body)?;
    let (elements, length) = (chain.kept, chain.length);
    let ours = std::slice::from_ref(key);
    let (by_key, by_links) = (Examiner::new(ours), Examiner::new(&[]));
    let key_id = key.key_id();
    let examined: Vec<Examined> = elements
        .iter()
        .map(|element| {
            let examiner = if is_signed_by(element.get(), &key_id) { &by_key } else { &by_links };
            examiner.examine_text(element.get())
        })
        .collect();
    Ok(answer(&ChainReport { length, ..verify_examined(&examined) }))
}

fn answer(report: &ChainReport) -> Reply {
    let body = match report.broken {
        None => serde_json::json!({ "valid": true, "length": report.length }),
        Some((at, reason)) => serde_json::json!({
            "valid": false, "brokenAt": at, "reason": reason.as_str(), "length": report.length,
        }),
    };
    // The body is the contract's and no more; what else is known stands beside it.
    let reply = json(StatusCode::OK, &body);
    let reply = with_header(reply, "x-tipstaff-head", &report.head.to_hex());
    with_header(reply, "x-tipstaff-signatures", &report.signatures.to_string())
}

/// Whether an element has a signature and says that it is by the key of this id. A receipt of another
/// home has one that can't be checked here.
fn is_signed_by(element: &str, key_id: &str) -> bool {
    let Ok(wrapped) = serde_json::from_str::<Wrapped<'_>>(element) else { return false };
    let named = |id: Option<&RawValue>| {
        id.and_then(|id| serde_json::from_str::<String>(id.get()).ok())
            .is_some_and(|id| id == key_id)
    };
    wrapped.signature.is_some()
        && (named(wrapped.key_id) || wrapped.receipt.is_some_and(|inner| named(inner.key_id)))
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow, default)]
    key_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    receipt: Option<Inner<'a>>,
    #[serde(borrow, default)]
    signature: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow, default)]
    key_id: Option<&'a RawValue>,
}

/// The elements of a chain as they stand, cut out and not read.
struct Elements<'a> {
    kept: Vec<&'a RawValue>,
    length: usize,
}

/// The shapes of a chain that are no bare array.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    receipts: Option<Elements<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    chain: Option<Elements<'a>>,
}

/// A member that is there has to be a chain: `null` is none.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<Elements<'a>>, D::Error> {
    Elements::deserialize(from).map(Some)
}

fn read(body: &[u8]) -> Result<Elements<'_>, Fault> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return serde_json::from_slice(body).map_err(|error| malformed(&error));
    }
    let found: Named<'_> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    match (found.receipts, found.chain) {
        (Some(elements), None) | (None, Some(elements)) => Ok(elements),
        (None, None) => Err(Fault::bad("no_chain", "The object has no chain.", NEXT)),
        (Some(_), Some(_)) => Err(Fault::bad("two_chains", "The object has two chains.", NEXT)),
    }
}

fn malformed(error: &serde_json::Error) -> Fault {
    let place = (error.line(), error.column());
    let message = format!("The body is no chain in JSON: line {}, column {}.", place.0, place.1);
    Fault::bad("malformed_json", message, NEXT)
}

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Cut;
        impl<'de> Visitor<'de> for Cut {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of receipts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let (mut kept, mut length) = (Vec::new(), 0);
                while kept.len() < ELEMENTS_MAX {
                    let Some(item) = items.next_element::<&RawValue>()? else { break };
                    kept.push(item);
                    length += 1;
                }
                while items.next_element::<IgnoredAny>()?.is_some() {
                    length += 1;
                }
                Ok(Elements { kept, length })
            }
        }
        deserializer.deserialize_seq(Cut)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tipstaff_core::key::SigningKey;
    use tipstaff_core::{Digest, Json};
    use zeroize::Zeroizing;

    use super::super::route::CHAIN_BYTES_MAX;
    use super::super::sample::eight_fields;
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&Zeroizing::new([4; 32])).unwrap()
    }

    fn raw(length: i64) -> Vec<Json> {
        let mut prev = Digest::ZERO;
        let mut receipts = Vec::new();
        for seq in 0..length {
            let receipt = eight_fields(
                ("fs:read", 1),
                ("2026-04-21T12:00:00.000Z", "agent://a/b"),
                (seq, prev),
            );
            prev = Digest::of(receipt.to_canonical().as_bytes());
            receipts.push(receipt);
        }
        receipts
    }

    fn wrap(receipt: &Json, more: Vec<(&str, Json)>) -> Json {
        let hash = Json::String(Digest::of(receipt.to_canonical().as_bytes()).to_hex());
        let more = more.into_iter().map(|(name, value)| (name.to_owned(), value));
        let fixed = [("receipt".to_owned(), receipt.clone()), ("hash".to_owned(), hash)];
        Json::object(fixed.into_iter().chain(more).collect()).unwrap()
    }

    fn signed(receipt: &Json, by: &SigningKey, says: &SigningKey) -> Json {
        let signature = by.sign(receipt.to_canonical().as_bytes()).to_base64url();
        let key_id = Json::String(says.verifying_key().key_id());
        wrap(receipt, vec![("signature", Json::String(signature)), ("key_id", key_id)])
    }

    fn ask(body: &[u8]) -> (u16, serde_json::Value, Option<String>) {
        let reply = verify(body, key().verifying_key()).unwrap_or_else(Reply::from);
        let signatures = reply.headers().get("x-tipstaff-signatures");
        let signatures = signatures.map(|count| count.to_str().unwrap().to_owned());
        (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap(), signatures)
    }

    fn verdict(chain: &[Json]) -> serde_json::Value {
        let body = Json::Array(chain.to_vec()).to_canonical();
        let (status, answer, _) = ask(body.as_bytes());
        assert_eq!(status, 200, "{answer}");
        for name in ["receipts", "chain"] {
            let wrapped = format!(" {{\"{name}\":{body},\"note\":[]}}\n");
            assert_eq!(ask(wrapped.as_bytes()).1, answer);
        }
        answer
    }

    fn broken(at: usize, reason: &str, length: usize) -> serde_json::Value {
        serde_json::json!({"valid": false, "brokenAt": at, "reason": reason, "length": length})
    }

    #[test]
    fn the_eight_fields_verify_raw_and_wrapped_in_every_shape() {
        let valid = serde_json::json!({"valid": true, "length": 3});
        let plain = raw(3);
        assert_eq!(verdict(&plain), valid);
        let wrapped: Vec<Json> = plain.iter().map(|receipt| wrap(receipt, vec![])).collect();
        assert_eq!(verdict(&wrapped), valid);
        // Signed by a key that nobody here knows, with and without its name.
        let stranger = SigningKey::from_seed(&Zeroizing::new([5; 32])).unwrap();
        let strange: Vec<Json> =
            plain.iter().map(|receipt| signed(receipt, &stranger, &stranger)).collect();
        assert_eq!(verdict(&strange), valid);
        let text = Json::string("x");
        let unnamed: Vec<Json> =
            plain.iter().map(|r| wrap(r, vec![("signature", text.clone())])).collect();
        assert_eq!(verdict(&unnamed), valid);
        let mixed = [plain[0].clone(), wrapped[1].clone(), strange[2].clone()];
        assert_eq!(verdict(&mixed), valid);
    }

    #[test]
    fn receipts_as_others_write_them_verify_as_they_stand() {
        let (mut prev, mut receipts, mut wrapped) = (Digest::ZERO, Vec::new(), Vec::new());
        for seq in 0..3 {
            // Members in the order of the published example, with blanks and a digest cut short.
            let text = format!(
                "{{\n \"v\": \"aarm-1.0\",\n \"ts\": \"2026-04-21T12:00:00.000Z\",\n \"actor\": \
                 \"agent://acme/cursor-session-7c3f\",\n \"action\": \"fs:read\",\n \"tier\": 1,\n \
                 \"context_digest\": \"4a8f3b\u{2026}\",\n \"prev_hash\": \"{prev}\",\n \"chain_seq\": {seq}\n}}"
            );
            let canonical = Json::parse(text.as_bytes()).unwrap().to_canonical();
            prev = Digest::of(canonical.as_bytes());
            wrapped.push(format!("{{ \"receipt\": {text}, \"hash\": \"{prev}\" }}"));
            receipts.push(text);
        }
        for elements in [receipts, wrapped] {
            let body = format!("{{\n  \"receipts\": [\n{}\n]\n}}\n", elements.join(",\n"));
            let valid = serde_json::json!({ "valid": true, "length": 3 });
            assert_eq!(ask(body.as_bytes()), (200, valid, Some("0".to_owned())));
        }
    }

    #[test]
    fn every_reason_of_the_contract_is_given() {
        let good = raw(4);
        let length = 4;
        assert_eq!(verdict(&[]), broken(0, "empty", 0));
        assert_eq!(verdict(&good[1..]), broken(0, "bad_genesis", 3));
        assert_eq!(verdict(&[good[0].clone(), good[2].clone()]), broken(1, "seq_gap", 2));
        let edit = |receipt: &Json, name: &str, value: Json| {
            Json::Object(receipt.as_object().unwrap().with(name, value))
        };
        let mut edited = good.clone();
        edited[1] = edit(&good[1], "tier", Json::from(5));
        assert_eq!(verdict(&edited), broken(2, "prev_hash_mismatch", length));
        let mut stated = good.clone();
        stated[1] = edit(&wrap(&good[1], vec![]), "receipt", edited[1].clone());
        assert_eq!(verdict(&stated), broken(1, "hash_mismatch", length));
        for bad in
            [Json::Null, Json::from(7), Json::Array(vec![]), edit(&good[3], "tier", Json::from(9))]
        {
            let mut malformed = good.clone();
            malformed[3] = bad;
            assert_eq!(verdict(&malformed), broken(3, "malformed", length));
        }
        let twice = format!("[{},{{\"v\":1,\"v\":1}}]", good[0].to_canonical());
        assert_eq!(ask(twice.as_bytes()).1, broken(1, "malformed", 2));
        // What says that this home signed it, and it didn't.
        let other = SigningKey::from_seed(&Zeroizing::new([5; 32])).unwrap();
        let mut forged: Vec<Json> = good.iter().map(|r| signed(r, &key(), &key())).collect();
        assert_eq!(verdict(&forged), serde_json::json!({"valid": true, "length": 4}));
        let body = Json::Array(forged.clone()).to_canonical();
        assert_eq!(ask(body.as_bytes()).2.as_deref(), Some("4"));
        forged[2] = signed(&good[2], &other, &key());
        assert_eq!(verdict(&forged), broken(2, "bad_signature", length));
        // A name that is spelled otherwise is the same name.
        let body = Json::Array(forged.clone()).to_canonical();
        let body = body.replace("\"key_id\"", "\"key\\u005fid\"");
        assert_eq!(ask(body.as_bytes()).1, broken(2, "bad_signature", length));
    }

    #[test]
    fn what_is_no_chain_is_a_fault_of_the_caller() {
        let deep = "[".repeat(100_000);
        for body in [
            "",
            " ",
            "{",
            "[",
            "[}",
            "nul",
            "{}",
            "null",
            "1",
            "\"x\"",
            "[1]x",
            "[1],",
            "{\"receipts\":{}}",
            "{\"receipts\":null}",
            "{\"receipts\":[],\"chain\":[]}",
            "{\"receipts\":[],\"receipts\":[]}",
            "{\"chain\":\"s-1\"}",
            "{\"chain\":null,\"receipts\":[]}",
            &deep,
        ] {
            let (status, answer, _) = ask(body.as_bytes());
            assert_eq!(status, 400, "{}", body.get(..20).unwrap_or(body));
            assert!(answer.pointer("/error/code").is_some());
        }
        assert_eq!(ask(b"[\"\xff\"]").0, 400);
        assert_eq!(ask(b"\xef\xbb\xbf[]").0, 400);
    }

    #[test]
    fn more_elements_than_a_chain_can_have_are_counted_and_not_looked_at() {
        let least = r#"{"v":"","ts":"","actor":"","action":"","tier":1,"context_digest":"","prev_hash":"0000000000000000000000000000000000000000000000000000000000000000","chain_seq":0}"#;
        let chain = format!("[{least}]");
        assert_eq!(ask(chain.as_bytes()).1, serde_json::json!({"valid": true, "length": 1}));
        assert!((least.len() + 1) * ELEMENTS_MAX > CHAIN_BYTES_MAX);
        let tiny = format!("[{}0]", "0,".repeat(CHAIN_BYTES_MAX / 2 - 2));
        assert!(tiny.len() <= CHAIN_BYTES_MAX);
        assert_eq!(ask(tiny.as_bytes()).1, broken(0, "malformed", CHAIN_BYTES_MAX / 2 - 1));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let status = ask(&bytes).0;
            prop_assert!(status == 200 || status == 400);
        }

        #[test]
        fn any_json_like_text_is_answered(text in "[\\[\\]{}\",:0-9a-z \\\\.-]{0,120}") {
            let status = ask(text.as_bytes()).0;
            prop_assert!(status == 200 || status == 400);
        }

        #[test]
        fn a_chain_with_one_byte_changed_is_answered(at in 0usize..2000, byte: u8) {
            let elements: Vec<Json> = raw(3).iter().map(|r| signed(r, &key(), &key())).collect();
            let mut body = Json::Array(elements).to_canonical().into_bytes();
            let length = body.len();
            let old = std::mem::replace(&mut body[at % length], byte);
            let (status, answer, _) = ask(&body);
            prop_assert!(status == 200 || status == 400);
            // Names beside the receipts may change; the receipts may not.
            if byte != old && answer.get("valid") == Some(&true.into()) {
                let body = String::from_utf8(body).unwrap();
                prop_assert!(raw(3).iter().all(|receipt| body.contains(&receipt.to_canonical())));
            }
        }
    }
}
