//! Writes `vectors/receipts/`: `cargo run -p tipstaff-core --example vectors`.
//!
//! The adversary is a later version of ourselves that gives a member another meaning. Seeds and values
//! are fixed, so the files come out the same each time.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a generator fails by panicking")]

use std::path::{Path, PathBuf};

use tipstaff_core::key::{Signature, SigningKey};
use tipstaff_core::receipt::{
    AsOf, ContextRef, Control, DecisionRef, Door, Enforcement, Identity, Kind, Level, Outcome,
    Proof, SHAPE, Signed, Status, verify_links,
};
use tipstaff_core::{Digest, Json, Millis, Receipt, Tier, Verdict};

fn main() {
    let vectors = Vectors::new();
    let key = key(9);
    let good = good(&key, "c1");
    vectors.lines("good.jsonl", "a session from open to close", &good, None);
    vectors.lines("later-fields.jsonl", "members that later work fills", &later(&key), None);
    vectors.lines("truncated.jsonl", "the end cut off: valid, not closed", &good[..5], None);
    vectors.lines(
        "unknown-member.jsonl",
        "a member nobody knows",
        &unknown_member(&good, &key),
        None,
    );
    eight_fields(&vectors);
    damage(&vectors, &good, &key);
    vectors.finish(&key);
}

fn damage(vectors: &Vectors, good: &[Json], key: &SigningKey) {
    let broken = |name: &str, about: &str, elements: Vec<Json>, reason: &'static str, at: usize| {
        vectors.lines(&format!("damaged/{name}.jsonl"), about, &elements, Some((reason, at)));
    };
    let replaced = |at: usize, element: Json| {
        let mut elements = good.to_vec();
        elements[at] = element;
        elements
    };
    broken("empty", "no receipts", Vec::new(), "empty", 0);
    broken("first-dropped", "the first is missing", good[1..].to_vec(), "bad_genesis", 0);
    let dropped = [&good[..2], &good[3..]].concat();
    broken("dropped", "the third is missing", dropped, "seq_gap", 2);
    let mut swapped = good.to_vec();
    swapped.swap(2, 3);
    broken("swapped", "two changed places", swapped, "seq_gap", 2);
    let repeated = [&good[..3], &good[2..]].concat();
    broken("repeated", "the third is there twice", repeated, "seq_gap", 3);

    let denied = edit(receipt(&good[2]), "tier", Json::from(1));
    let beside = with(&good[2], "receipt", denied.clone());
    broken("edited", "a tier was lowered", replaced(2, beside), "hash_mismatch", 2);
    let hash = Json::String(Digest::of(denied.to_canonical().as_bytes()).to_hex());
    let rehashed = with(&with(&good[2], "receipt", denied.clone()), "hash", hash);
    broken("edited-hashed", "and hashed again", replaced(2, rehashed), "bad_signature", 2);
    let resigned = replaced(2, sign(&denied, key));
    broken(
        "edited-signed",
        "and signed again by the thief of the key",
        resigned,
        "prev_hash_mismatch",
        3,
    );
    let spliced = replaced(3, self::good(key, "c2")[3].clone());
    broken("spliced", "one of another chain", spliced, "prev_hash_mismatch", 3);

    let stranger = self::key(1);
    let named = edit(receipt(&good[0]), "key_id", Json::string(&stranger.verifying_key().key_id()));
    broken(
        "unknown-key",
        "a key that is not known",
        replaced(0, sign(&named, &stranger)),
        "bad_signature",
        0,
    );
    let under_our_name = sign(receipt(&good[4]), &stranger);
    broken("forged", "signed by another key", replaced(4, under_our_name), "bad_signature", 4);
    let outer = with(&good[1], "key_id", Json::string(&stranger.verifying_key().key_id()));
    broken("other-key-beside", "another key named beside", replaced(1, outer), "bad_signature", 1);
    let malleable = with(&good[1], "signature", Json::String(plus_order(&good[1])));
    broken("malleable", "S plus the group's order", replaced(1, malleable), "bad_signature", 1);
    let other = with(&good[1], "signature", good[2].get("signature").expect("a signature").clone());
    broken("other-signature", "the signature of another", replaced(1, other), "bad_signature", 1);

    let last = good.len() - 1;
    let object = receipt(&good[last]).as_object().expect("an object");
    let missing = sign(&Json::Object(object.without("door")), key);
    broken("member-missing", "no door", replaced(last, missing), "malformed", last);
    let typed = sign(&edit(receipt(&good[last]), "enforcement", Json::from(1)), key);
    broken("member-type", "a number for a word", replaced(last, typed), "malformed", last);
    let word = sign(&edit(receipt(&good[last]), "kind", Json::string("verdikt")), key);
    broken("member-word", "a kind that does not exist", replaced(last, word), "malformed", last);
    let time =
        sign(&edit(receipt(&good[last]), "ts", Json::string("2026-04-21T14:00:00.004+02:00")), key);
    broken(
        "time-spelling",
        "ts is not the spelling of now",
        replaced(last, time),
        "malformed",
        last,
    );

    let text: String = good.iter().map(|element| element.to_canonical() + "\n").collect();
    let twice = text.replacen("\"receipt\":{", "\"receipt\":{\"action\":\"fs:read\",", 1);
    vectors.text("damaged/duplicate-member.jsonl", "a name twice", &twice, Some(("malformed", 0)));
}

fn eight_fields(vectors: &Vectors) {
    let (mut prev, mut raw, mut wrapped) = (Digest::ZERO, Vec::new(), Vec::new());
    for seq in 0..3 {
        let receipt = object(vec![
            ("v", Json::string(SHAPE)),
            ("ts", Json::string("2026-04-21T12:00:00.000Z")),
            ("actor", Json::string("agent://example.com/a")),
            ("action", Json::string("fs:read")),
            ("tier", Json::from(1)),
            ("context_digest", Json::string("4a8f3b")),
            ("prev_hash", Json::String(prev.to_hex())),
            ("chain_seq", Json::from(seq)),
        ]);
        prev = Digest::of(receipt.to_canonical().as_bytes());
        wrapped.push(object(vec![
            ("hash", Json::String(prev.to_hex())),
            ("receipt", receipt.clone()),
        ]));
        raw.push(receipt);
    }
    let edited = [raw[0].clone(), edit(&raw[1], "tier", Json::from(2)), raw[2].clone()];
    let broken = Some(("prev_hash_mismatch", 2));
    vectors.array("eight-field.json", "/raw/receipts", "the eight fields alone", &raw, None);
    vectors.array("eight-field.json", "/wrapped/receipts", "with hashes, unsigned", &wrapped, None);
    vectors.array(
        "damaged/eight-field.json",
        "/raw/receipts",
        "a tier was raised",
        &edited,
        broken,
    );
    let list = |items: &[Json]| object(vec![("receipts", Json::Array(items.to_vec()))]);
    let both = object(vec![("raw", list(&raw)), ("wrapped", list(&wrapped))]);
    vectors.write("eight-field.json", &(both.to_canonical() + "\n"));
    let both = object(vec![("raw", list(&edited))]);
    vectors.write("damaged/eight-field.json", &(both.to_canonical() + "\n"));
}

fn good(key: &SigningKey, chain: &str) -> Vec<Json> {
    let mut session = Session::new(key, chain);
    session.push(Kind::Session, |r| r.action = "session:open".to_owned());
    session.push(Kind::Control, |r| {
        r.action = "control:policy-set".to_owned();
        let what = "policy-set".to_owned();
        r.control = Some(Control { from: None, to: Digest::of(b"policies"), what });
    });
    let allowed = session.push(Kind::Verdict, |r| decide(r, Verdict::Allow, "permitted"));
    session.push(Kind::Outcome, |r| {
        r.of = Some(allowed);
        r.outcome = Some(Outcome {
            bytes: 12,
            duration_us: 1500,
            labels: None,
            result_digest: Some(Digest::of_parts(&[&[5; 16], b"hello, world"])),
            status: Status::Ok,
        });
    });
    session.push(Kind::Verdict, |r| decide(r, Verdict::Deny, "forbidden"));
    session.push(Kind::Session, |r| r.action = "session:close".to_owned());
    session.elements
}

fn later(key: &SigningKey) -> Vec<Json> {
    let mut session = Session::new(key, "c3");
    session.push(Kind::Session, |r| r.action = "session:open".to_owned());
    let held = session.push(Kind::Verdict, |r| {
        decide(r, Verdict::StepUp, "held");
        r.authority = json(r#"{"budget":{"calls":3},"capabilities":["cap-1"],"holder":"h"}"#);
        r.obligations = json(r#"[{"step_up":"operator"}]"#);
        let context = r.context.as_mut().expect("a context");
        context.labels = Some(vec!["secret".to_owned(), "untrusted".to_owned()]);
        context.distance_ppm = Some(120_000);
        context.distance_method = Some("hash-bag/1".to_owned());
    });
    session.push(Kind::Approval, |r| {
        r.of = Some(held);
        r.approval = json(r#"{"answer":"approved","by":"p1","expires":1776772900000}"#);
        r.identity.principal = level("p1", Proof::Oauth);
    });
    let waits = session.push(Kind::Deferral, |r| {
        r.of = Some(held);
        r.deferral = json(r#"{"missing":["context.label"],"until":1776772900000}"#);
        r.identity.service = level("s1", Proof::Mtls);
        r.identity.agent = level("a1", Proof::Key);
    });
    session.push(Kind::Verdict, |r| {
        decide(r, Verdict::Modify, "permitted-with-obligations");
        r.continues = Some(held);
        r.requested_digest = Some(Digest::of(b"asked"));
        r.deferral = Some(object(vec![("resolves", Json::String(waits.to_hex()))]));
        r.door = Door::McpHttp;
        r.enforcement = Enforcement::Observe;
    });
    session.push(Kind::Void, |r| r.action = "chain:void".to_owned());
    session.push(Kind::Session, |r| r.action = "session:close".to_owned());
    session.elements
}

fn unknown_member(good: &[Json], key: &SigningKey) -> Vec<Json> {
    let last = good.len() - 1;
    let value = json(r#"{"é€😀":[1.5,-0.000001,"\u0007\"\\/"],"a":null}"#).expect("a value");
    let mut elements = good.to_vec();
    elements[last] = sign(&edit(receipt(&good[last]), "zz_later", value), key);
    elements
}

struct Session<'k> {
    key: &'k SigningKey,
    chain: String,
    elements: Vec<Json>,
    head: Digest,
}

impl<'k> Session<'k> {
    fn new(key: &'k SigningKey, chain: &str) -> Self {
        Self { key, chain: chain.to_owned(), elements: Vec::new(), head: Digest::ZERO }
    }

    fn push(&mut self, kind: Kind, fill: impl FnOnce(&mut Receipt)) -> Digest {
        let seq = self.elements.len() as u64;
        let none = || Level { id: None, proof: Proof::None };
        let mut receipt = Receipt {
            action: "fs:write".to_owned(),
            actor: "agent://example.com/vectors/a1".to_owned(),
            approval: None,
            as_of: AsOf {
                control: u64::from(seq > 1),
                log: "example.com/vectors".to_owned(),
                size: seq,
            },
            authority: None,
            chain: self.chain.clone(),
            chain_seq: seq,
            context: None,
            context_digest: Digest::of(b"context"),
            continues: None,
            control: None,
            decision: None,
            deferral: None,
            door: Door::McpStdio,
            enforcement: Enforcement::Inline,
            identity: Identity {
                agent: level("a1", Proof::Local),
                principal: none(),
                roles: none(),
                service: none(),
                session: level("x1", Proof::Local),
            },
            inputs_digest: None,
            key_id: self.key.verifying_key().key_id(),
            kind,
            now: Millis(1_776_772_800_000 + seq),
            obligations: None,
            of: None,
            outcome: None,
            prev_hash: self.head,
            requested_digest: None,
            session: "x1".to_owned(),
            tier: Tier::T3,
        };
        fill(&mut receipt);
        let signed = Signed::new(receipt, self.key).expect("a receipt");
        self.head = signed.hash();
        self.elements.push(Json::parse(signed.to_leaf().as_bytes()).expect("a leaf"));
        self.head
    }
}

fn decide(receipt: &mut Receipt, verdict: Verdict, reason: &str) {
    receipt.context = Some(ContextRef {
        count: receipt.chain_seq,
        distance_method: None,
        distance_ppm: None,
        head: receipt.prev_hash,
        labels: None,
    });
    receipt.inputs_digest = Some(Digest::of(b"inputs"));
    receipt.decision = Some(DecisionRef {
        catalogue: Digest::of(b"catalogue"),
        engine: "tipstaff-decide/1".to_owned(),
        policy_set: Digest::of(b"policies"),
        reason: reason.to_owned(),
        rule: Some("inside-roots".to_owned()),
        schema: Digest::of(b"schema"),
        tool_pins: Digest::of(b"pins"),
        verdict,
    });
}

struct Vectors {
    root: PathBuf,
    cases: std::cell::RefCell<Vec<Json>>,
}

impl Vectors {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/receipts");
        Self { root, cases: Vec::new().into() }
    }

    fn lines(&self, file: &str, about: &str, elements: &[Json], broken: Option<(&str, usize)>) {
        let text: String = elements.iter().map(|element| element.to_canonical() + "\n").collect();
        self.case(file, None, about, Some(elements), broken);
        self.write(file, &text);
    }

    fn text(&self, file: &str, about: &str, text: &str, broken: Option<(&str, usize)>) {
        self.case(file, None, about, None, broken);
        self.write(file, text);
    }

    fn array(
        &self,
        file: &str,
        at: &str,
        about: &str,
        items: &[Json],
        broken: Option<(&str, usize)>,
    ) {
        self.case(file, Some(at), about, Some(items), broken);
    }

    /// What is expected is written down here by hand, and only the head of a good chain is computed.
    fn case(
        &self,
        file: &str,
        pointer: Option<&str>,
        about: &str,
        elements: Option<&[Json]>,
        broken: Option<(&str, usize)>,
    ) {
        let number = |at: usize| Json::from(i64::try_from(at).unwrap_or(0));
        let mut members = vec![
            ("about", Json::string(about)),
            ("brokenAt", broken.map_or(Json::Null, |(_, at)| number(at))),
            ("file", Json::string(file)),
            ("pointer", pointer.map_or(Json::Null, Json::string)),
            ("reason", broken.map_or(Json::Null, |(reason, _)| Json::string(reason))),
            ("valid", Json::Bool(broken.is_none())),
        ];
        if let (None, Some(elements)) = (broken, elements) {
            let report = verify_links(elements, &[]);
            members.push(("closed", Json::Bool(report.closed)));
            members.push(("head", Json::String(report.head.to_hex())));
            members.push(("length", number(report.length)));
        }
        self.cases.borrow_mut().push(object(members));
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.root.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn finish(&self, key: &SigningKey) {
        let public = key.verifying_key();
        let jwks = format!(
            "{{\"keys\":[{{\"alg\":\"EdDSA\",\"crv\":\"Ed25519\",\"kid\":\"{}\",\"kty\":\"OKP\",\"use\":\"sig\",\"x\":\"{}\"}}]}}\n",
            public.key_id(),
            public.x()
        );
        self.write("jwks.json", &jwks);
        let lines: Vec<String> = self.cases.borrow().iter().map(Json::to_canonical).collect();
        self.write("manifest.json", &format!("{{\"cases\":[\n{}\n]}}\n", lines.join(",\n")));
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).expect("a key")
}

fn level(id: &str, proof: Proof) -> Level {
    Level { id: Some(id.to_owned()), proof }
}

fn json(text: &str) -> Option<Json> {
    Some(Json::parse(text.as_bytes()).expect("JSON"))
}

fn object(members: Vec<(&str, Json)>) -> Json {
    let members = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Json::object(members).expect("distinct names")
}

fn receipt(element: &Json) -> &Json {
    element.get("receipt").expect("a receipt")
}

fn edit(receipt: &Json, name: &str, value: Json) -> Json {
    with(receipt, name, value)
}

fn with(json: &Json, name: &str, value: Json) -> Json {
    Json::Object(json.as_object().expect("an object").with(name, value))
}

fn sign(receipt: &Json, key: &SigningKey) -> Json {
    let text = receipt.to_canonical();
    object(vec![
        ("hash", Json::String(Digest::of(text.as_bytes()).to_hex())),
        ("key_id", receipt.get("key_id").expect("a key id").clone()),
        ("receipt", receipt.clone()),
        ("signature", Json::String(key.sign(text.as_bytes()).to_base64url())),
    ])
}

/// The same signature with S + L: verifiers without the range check accept it.
fn plus_order(element: &Json) -> String {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let text = element.get("signature").and_then(Json::as_str).expect("a signature");
    let mut bytes = *Signature::from_base64url(text).expect("a signature").as_bytes();
    let mut carry = 0;
    for (byte, add) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    Signature::from_bytes(bytes).to_base64url()
}
