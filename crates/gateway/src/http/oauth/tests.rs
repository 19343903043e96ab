//! Tokens that were made for this listener, and all the others.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};
use tipstaff_core::Millis;
use tipstaff_core::key::SigningKey;

use super::keys::KeySet;
use super::token::{Expected, Token, TokenFault};

const NOW: i64 = 1_700_000_000;
const EXPECTED: Expected<'static> = Expected {
    issuer: "https://login.example",
    audience: "https://gateway.example/mcp",
    typ: "at+jwt",
    scopes: &[],
};

struct Keys {
    ed: SigningKey,
    ec: EcdsaKeyPair,
    rsa: RsaKeyPair,
    set: KeySet,
    json: Value,
}

impl Keys {
    fn new() -> Self {
        let ed = SigningKey::from_seed(&[7; 32].into()).unwrap();
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = ec.public_key().as_ref();
        // An RSAPublicKey of 2048 bits: two integers after nine bytes, the first with a leading zero before.
        let parts = rsa.public_key().as_ref();
        let json = json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "x": ed.verifying_key().x(), "kid": "ed", "use": "sig" },
            { "kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]), "kid": "ec",
              "alg": "ES256" },
            { "kty": "RSA", "n": b64(&parts[9..265]),
              "e": b64(&parts[parts.len() - 3..]), "kid": "rsa", "key_ops": ["verify"] },
            { "kty": "oct", "k": b64(&[1; 32]), "kid": "secret", "alg": "HS256" },
        ]});
        let set = KeySet::parse(json.to_string().as_bytes()).unwrap();
        Self { ed, ec, rsa, set, json }
    }

    fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match alg {
            "EdDSA" | "Ed25519" => self.ed.sign(message).as_bytes().to_vec(),
            "ES256" => self.ec.sign(&random, message).unwrap().as_ref().to_vec(),
            "RS256" => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            // The attack: what is public is taken for a secret.
            "HS256" => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.ed.verifying_key().as_bytes());
                hmac::sign(&key, message).as_ref().to_vec()
            }
            _ => Vec::new(),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let b64 = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = self.sign(header["alg"].as_str().unwrap_or_default(), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn check(&self, token: &str) -> Result<String, TokenFault> {
        let now = Millis(u64::try_from(NOW).unwrap() * 1000);
        Token::parse(token)?.check(&self.set, EXPECTED, now).map(str::to_owned)
    }
}

fn header(alg: &str, kid: &str) -> Value {
    json!({ "alg": alg, "kid": kid, "typ": "at+jwt" })
}

fn claims() -> Value {
    json!({ "iss": EXPECTED.issuer, "aud": EXPECTED.audience, "sub": "1", "exp": NOW + 600, "iat": NOW })
}

#[test]
fn a_token_counts_by_each_algorithm_that_is_taken() {
    let keys = Keys::new();
    for (alg, kid) in [("EdDSA", "ed"), ("Ed25519", "ed"), ("ES256", "ec"), ("RS256", "rsa")] {
        assert_eq!(
            keys.check(&keys.token(&header(alg, kid), &claims())),
            Ok("1".to_owned()),
            "{alg}"
        );
        // Without a name the only key of the kind is meant.
        let unnamed = json!({ "alg": alg, "typ": "application/AT+JWT" });
        assert_eq!(keys.check(&keys.token(&unnamed, &claims())), Ok("1".to_owned()), "{alg}");
    }
    let mut several = claims();
    several["aud"] = json!(["https://other.example", EXPECTED.audience]);
    assert!(keys.check(&keys.token(&header("ES256", "ec"), &several)).is_ok());
}

#[test]
fn no_other_algorithm_and_no_key_of_another_kind_counts() {
    let keys = Keys::new();
    for (alg, kid, fault) in [
        ("none", "ed", TokenFault::Algorithm),
        ("None", "ed", TokenFault::Algorithm),
        ("HS256", "ed", TokenFault::Algorithm),
        ("HS256", "secret", TokenFault::Algorithm),
        ("RS384", "rsa", TokenFault::Algorithm),
        ("PS256", "rsa", TokenFault::Algorithm),
        ("", "ed", TokenFault::Algorithm),
        ("EdDSA", "rsa", TokenFault::Signature),
        ("ES256", "ed", TokenFault::Signature),
        ("RS256", "ec", TokenFault::Signature),
        ("EdDSA", "gone", TokenFault::Signature),
        ("EdDSA", "secret", TokenFault::Signature),
    ] {
        let token = keys.token(&header(alg, kid), &claims());
        assert_eq!(keys.check(&token), Err(fault), "{alg} {kid}");
    }
    // A key that the token brings along is none of the issuer's.
    let other = SigningKey::from_seed(&[8; 32].into()).unwrap();
    let mut brought = header("EdDSA", "ed");
    brought["jwk"] = json!({ "kty": "OKP", "crv": "Ed25519", "x": other.verifying_key().x() });
    let good = keys.token(&brought, &claims());
    let (signed, _) = good.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.encode(other.sign(signed.as_bytes()).as_bytes());
    assert_eq!(keys.check(&format!("{signed}.{signature}")), Err(TokenFault::Signature));
    // Two keys of one name are nobody's.
    let mut twice = keys.json.clone();
    let mut copy = twice["keys"][0].clone();
    copy["x"] = json!(other.verifying_key().x());
    twice["keys"].as_array_mut().unwrap().push(copy);
    let twice = KeySet::parse(twice.to_string().as_bytes()).unwrap();
    let token = keys.token(&header("EdDSA", "ed"), &claims());
    let now = Millis(u64::try_from(NOW).unwrap() * 1000);
    let checked = Token::parse(&token).unwrap().check(&twice, EXPECTED, now).map(str::to_owned);
    assert_eq!(checked, Err(TokenFault::Signature));
}

#[test]
fn a_token_is_for_one_audience_by_one_issuer_within_its_time() {
    let keys = Keys::new();
    for (name, value, fault) in [
        ("aud", json!("https://gateway.example"), TokenFault::Audience),
        ("aud", json!("https://gateway.example/mcp/"), TokenFault::Audience),
        ("aud", json!(["https://other.example"]), TokenFault::Audience),
        ("aud", json!(1), TokenFault::Audience),
        ("aud", Value::Null, TokenFault::Audience),
        ("iss", json!("https://login.example/"), TokenFault::Issuer),
        ("iss", json!("https://evil.example"), TokenFault::Issuer),
        ("exp", json!(NOW - 60), TokenFault::Expired),
        ("exp", Value::Null, TokenFault::Expired),
        ("exp", json!("never"), TokenFault::Malformed),
        ("nbf", json!(NOW + 61), TokenFault::Early),
        ("iat", json!(NOW + 61), TokenFault::Early),
        ("cnf", json!({ "jkt": "x" }), TokenFault::Bound),
        ("sub", Value::Null, TokenFault::Subject),
        ("sub", json!(1), TokenFault::Subject),
    ] {
        let mut changed = claims();
        changed[name] = value.clone();
        if value.is_null() {
            changed.as_object_mut().unwrap().remove(name);
        }
        let token = keys.token(&header("EdDSA", "ed"), &changed);
        assert_eq!(keys.check(&token), Err(fault), "{name} {value}");
    }
    for (typ, fault) in
        [("JWT", TokenFault::Type), ("id+jwt", TokenFault::Type), ("", TokenFault::Type)]
    {
        let mut other = header("EdDSA", "ed");
        other["typ"] = json!(typ);
        assert_eq!(keys.check(&keys.token(&other, &claims())), Err(fault), "{typ}");
    }
    let now = Millis(u64::try_from(NOW).unwrap() * 1000);
    let wanted = ["tools".to_owned()];
    let expected = Expected { scopes: &wanted, ..EXPECTED };
    for (scope, is_enough) in [("", false), ("toolsy", false), ("a tools", true)] {
        let mut scoped = claims();
        scoped["scope"] = json!(scope);
        let token = keys.token(&header("EdDSA", "ed"), &scoped);
        let checked = Token::parse(&token).unwrap().check(&keys.set, expected, now).is_ok();
        assert_eq!(checked, is_enough, "{scope}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_no_token() {
    let keys = Keys::new();
    let good = keys.token(&header("EdDSA", "ed"), &claims());
    let (head, rest) = good.split_once('.').unwrap();
    let twice = URL_SAFE_NO_PAD.encode("{\"alg\":\"none\",\"alg\":\"EdDSA\"}");
    let critical = URL_SAFE_NO_PAD.encode("{\"alg\":\"EdDSA\",\"crit\":[\"exp\"],\"exp\":1}");
    for wrong in [
        String::new(),
        "a".to_owned(),
        "a.b".to_owned(),
        "..".to_owned(),
        format!("{good}."),
        format!("{good}="),
        format!("{good}.x.y"),
        format!(" {good}"),
        format!("{twice}.{rest}"),
        format!("{critical}.{rest}"),
        format!("{head}.{}.{}", URL_SAFE_NO_PAD.encode("[]"), ""),
        format!("{good}{}", "A".repeat(8 << 10)),
    ] {
        assert_eq!(keys.check(&wrong), Err(TokenFault::Malformed), "{wrong}");
    }
    assert!(KeySet::parse(b"{\"keys\":{}}").is_none());
    let many: Vec<Value> = vec![keys.json["keys"][0].clone(); 65];
    assert!(KeySet::parse(json!({ "keys": many }).to_string().as_bytes()).is_none());
}

proptest! {
    #[test]
    fn nothing_panics_and_no_changed_token_counts(
        text in "[ -~]{0,200}", at in 0_usize..1000, to in any::<u8>(),
    ) {
        let _ = Token::parse(&text);
        let key = SigningKey::from_seed(&[7; 32].into()).unwrap();
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": key.verifying_key().x(), "kid": "ed" });
        let set = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
        let b64 = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", b64(&header("EdDSA", "ed")), b64(&claims()));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).as_bytes());
        let mut bytes = format!("{signed}.{signature}").into_bytes();
        let at = at % bytes.len();
        let changed = bytes[at] != to;
        bytes[at] = to;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let now = Millis(u64::try_from(NOW).unwrap() * 1000);
            let token = Token::parse(text);
            let counts = token.is_ok_and(|token| token.check(&set, EXPECTED, now).is_ok());
            prop_assert_eq!(counts, !changed, "{}", text);
        }
    }
}
