//! HTTP Message Signatures (RFC 9421, Ed25519) with Content-Digest (RFC 9530): the part that has no clock and no
//! network.
//!
//! The adversary moves a signature to another request: another method, path, session or body, or adds parts that two
//! readers would read differently. One signature, one spelling of its parameters, and a fixed list of parts that it
//! has to cover; what isn't exactly so proves nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tipstaff_core::Digest;
use tipstaff_core::key::{Signature, VerifyingKey};

/// Longest value of the two headers together, in bytes.
const BYTES_MAX: usize = 4096;
/// Most parts that a signature covers.
const COVERED_MAX: usize = 16;
/// Parts that are no header fields (RFC 9421 §2.2), as far as they are known here.
const DERIVED: [&str; 4] = ["@method", "@authority", "@path", "@query"];
/// Longest key name and nonce, in bytes.
const TEXT_MAX: usize = 128;

/// Why a signature proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpSignatureFault {
    /// Not one signature in the strict form.
    #[error("Signature-Input and Signature have to be one signature with created, keyid and nonce")]
    Malformed,
    /// It leaves out what it has to cover.
    #[error("the signature does not cover `{0}`")]
    Uncovered(&'static str),
    /// It covers what the request doesn't have, or has twice.
    #[error("the signature covers a part that the request does not have once")]
    Absent,
    /// The body is another one.
    #[error("Content-Digest is missing, or not the SHA-256 of the body")]
    Body,
    /// It is not by the key that it names.
    #[error("the signature is not by the key that it names")]
    Forged,
}

/// The parts of a request that a signature can cover.
#[derive(Debug, Clone, Copy)]
pub struct HttpParts<'a> {
    /// The method.
    pub method: &'a str,
    /// The `Host` header, in lower case, without the scheme's own port.
    pub authority: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query with its `?`, if there is one.
    pub query: Option<&'a str>,
    /// Header fields, by lower-case name, in the order received.
    pub fields: &'a [(&'a str, &'a str)],
}

/// A signature as it was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSignature {
    covered: Vec<String>,
    /// The inner list with its parameters, as it was sent.
    params: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it ends, if it says so.
    pub expires: Option<u64>,
    /// The key that it names.
    pub key_id: String,
    /// What makes it the only one of its kind, if it says so.
    pub nonce: Option<String>,
    signature: Signature,
}

impl HttpSignature {
    /// Reads `Signature-Input` and `Signature`, one value each.
    ///
    /// # Errors
    /// [`HttpSignatureFault::Malformed`]
    pub fn parse(input: &str, signature: &str) -> Result<Self, HttpSignatureFault> {
        read(input, signature).ok_or(HttpSignatureFault::Malformed)
    }

    /// Whether it covers all of these.
    ///
    /// # Errors
    /// [`HttpSignatureFault::Uncovered`] with the first that is left out.
    pub fn covers(&self, parts: &[&'static str]) -> Result<(), HttpSignatureFault> {
        let left_out = parts.iter().find(|part| !self.covered.iter().any(|named| named == *part));
        left_out.map_or(Ok(()), |part| Err(HttpSignatureFault::Uncovered(part)))
    }

    /// Checks it.
    ///
    /// # Errors
    /// [`HttpSignatureFault::Absent`], [`HttpSignatureFault::Forged`]
    pub fn verify(
        &self,
        parts: HttpParts<'_>,
        key: &VerifyingKey,
    ) -> Result<(), HttpSignatureFault> {
        let base = self.base(parts).ok_or(HttpSignatureFault::Absent)?;
        key.verify(base.as_bytes(), &self.signature).map_err(|_| HttpSignatureFault::Forged)
    }

    /// The signature base (RFC 9421 §2.5).
    fn base(&self, parts: HttpParts<'_>) -> Option<String> {
        let mut base = String::new();
        for name in &self.covered {
            let value = match name.as_str() {
                "@method" => parts.method,
                "@authority" => parts.authority,
                "@path" => parts.path,
                // An absent query is signed as a question mark alone (§2.2.7).
                "@query" => parts.query.unwrap_or("?"),
                field => {
                    let mut values = parts.fields.iter().filter(|(found, _)| *found == field);
                    let (Some((_, value)), None) = (values.next(), values.next()) else {
                        return None;
                    };
                    value.trim()
                }
            };
            base.push_str(&format!("\"{name}\": {value}\n"));
        }
        base.push_str("\"@signature-params\": ");
        base.push_str(&self.params);
        Some(base)
    }
}

/// Checks a `Content-Digest` (RFC 9530) of one SHA-256 against a body.
///
/// # Errors
/// [`HttpSignatureFault::Body`]
pub fn check_content_digest(given: &str, body: &[u8]) -> Result<(), HttpSignatureFault> {
    let expected = format!("sha-256=:{}:", STANDARD.encode(Digest::of(body).as_bytes()));
    if given.trim() == expected { Ok(()) } else { Err(HttpSignatureFault::Body) }
}

fn read(input: &str, signature: &str) -> Option<HttpSignature> {
    if input.len() + signature.len() > BYTES_MAX || !(input.is_ascii() && signature.is_ascii()) {
        return None;
    }
    let (label, params) = input.trim().split_once('=')?;
    let is_label = !label.is_empty()
        && label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let (named, value) = signature.trim().split_once('=')?;
    if !is_label || named != label {
        return None;
    }
    let bytes = STANDARD.decode(value.strip_prefix(':')?.strip_suffix(':')?).ok()?;
    let (list, rest) = params.strip_prefix('(')?.split_once(')')?;
    let mut covered = Vec::new();
    for item in list.split(' ') {
        let name = item.strip_prefix('"')?.strip_suffix('"')?;
        let fits = DERIVED.contains(&name) || !name.is_empty() && name.bytes().all(is_field);
        if !fits || covered.iter().any(|found| found == name) || covered.len() >= COVERED_MAX {
            return None;
        }
        covered.push(name.to_owned());
    }
    let mut found = HttpSignature {
        covered,
        params: params.to_owned(),
        created: 0,
        expires: None,
        key_id: String::new(),
        nonce: None,
        signature: Signature::from_bytes(*bytes.first_chunk::<64>().filter(|_| bytes.len() == 64)?),
    };
    let mut seen: Vec<&str> = Vec::new();
    for param in rest.strip_prefix(';')?.split(';') {
        let (name, value) = param.split_once('=')?;
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match name {
            "created" => found.created = whole(value)?,
            "expires" => found.expires = Some(whole(value)?),
            "keyid" => found.key_id = quoted(value)?.to_owned(),
            "nonce" => found.nonce = Some(quoted(value)?.to_owned()),
            "alg" if quoted(value)? == "ed25519" => {}
            "tag" => {
                quoted(value)?;
            }
            _ => return None,
        }
    }
    (seen.contains(&"created") && seen.contains(&"keyid")).then_some(found)
}

const fn is_field(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
}

fn whole(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// A quoted text without anything that would need an escape.
fn quoted(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let plain = inner
        .bytes()
        .all(|byte| (0x20..0x7f).contains(&byte) && !matches!(byte, b'"' | b'\\' | b';' | b'='));
    (plain && !inner.is_empty() && inner.len() <= TEXT_MAX).then_some(inner)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use tipstaff_core::key::SigningKey;

    use super::*;

    /// The request of RFC 9421 appendix B.2, with its signature B.2.6.
    const FIELDS: &[(&str, &str)] = &[
        ("host", "example.com"),
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-type", "application/json"),
        ("content-length", "18"),
    ];
    const INPUT: &str = "sig-b26=(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \
                         \"content-length\");created=1618884473;keyid=\"test-key-ed25519\"";
    const SIGNATURE: &str = "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv\
                             5lIp5WPpBKRCw==:";

    fn request() -> HttpParts<'static> {
        HttpParts {
            method: "POST",
            authority: "example.com",
            path: "/foo",
            query: Some("?param=Value&Pet=dog"),
            fields: FIELDS,
        }
    }

    fn published() -> VerifyingKey {
        let x = URL_SAFE_NO_PAD.decode("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs").unwrap();
        VerifyingKey::from_bytes(x.as_slice().try_into().unwrap()).unwrap()
    }

    #[test]
    fn the_published_signature_verifies_and_no_other_request_has_it() {
        let signature = HttpSignature::parse(INPUT, SIGNATURE).unwrap();
        assert_eq!(signature.key_id, "test-key-ed25519");
        assert_eq!(signature.created, 1_618_884_473);
        assert_eq!(signature.verify(request(), &published()), Ok(()));
        let fields = [FIELDS, &[("date", "now")]].concat();
        for (other, fault) in [
            (HttpParts { method: "GET", ..request() }, HttpSignatureFault::Forged),
            (HttpParts { path: "/bar", ..request() }, HttpSignatureFault::Forged),
            (HttpParts { authority: "example.org", ..request() }, HttpSignatureFault::Forged),
            (HttpParts { fields: &[], ..request() }, HttpSignatureFault::Absent),
            (HttpParts { fields: &fields, ..request() }, HttpSignatureFault::Absent),
        ] {
            assert_eq!(signature.verify(other, &published()), Err(fault));
        }
        let key = SigningKey::from_seed(&[1; 32].into()).unwrap();
        let other = signature.verify(request(), key.verifying_key());
        assert_eq!(other, Err(HttpSignatureFault::Forged));
        assert_eq!(signature.covers(&["@method", "@path"]), Ok(()));
        let uncovered = Err(HttpSignatureFault::Uncovered("@query"));
        assert_eq!(signature.covers(&["@method", "@query"]), uncovered);
    }

    #[test]
    fn what_could_be_read_in_two_ways_proves_nothing() {
        for (from, to) in [
            ("sig-b26=(", "sig-b27=("),
            ("sig-b26=(", "Sig=("),
            ("\"date\" ", "\"date\"  "),
            ("\"date\" ", "\"date\" \"date\" "),
            ("\"date\"", "\"Date\""),
            ("\"@path\"", "\"@target\""),
            ("\"@path\"", "\"@path\";req"),
            (";created=1618884473", ""),
            (";created=1618884473", ";created=-1"),
            (";created=1618884473", ";created=1618884473;created=1"),
            (";keyid=\"test-key-ed25519\"", ""),
            ("\"test-key-ed25519\"", "\"a;b\""),
            ("\"test-key-ed25519\"", "\"a\\\"b\""),
            (";keyid", ";more=1;keyid"),
            (";keyid", ";alg=\"rsa-v1_5-sha256\";keyid"),
        ] {
            let input = INPUT.replacen(from, to, 1);
            assert_ne!(input, INPUT, "{from}");
            let read = HttpSignature::parse(&input, SIGNATURE);
            assert_eq!(read, Err(HttpSignatureFault::Malformed), "{input}");
        }
        let two = format!("{SIGNATURE}, {SIGNATURE}");
        for signature in [two.as_str(), "sig-b26=:AA==:", "sig-b26=wq", ""] {
            assert!(HttpSignature::parse(INPUT, signature).is_err(), "{signature}");
        }
    }

    #[test]
    fn a_body_is_what_its_digest_says() {
        let digest = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
        assert_eq!(check_content_digest(digest, b"{\"hello\": \"world\"}"), Ok(()));
        let other = check_content_digest(digest, b"{\"hello\": \"worlds\"}");
        assert_eq!(other, Err(HttpSignatureFault::Body));
        assert!(check_content_digest("sha-512=:AA==:", b"").is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_verifies_is_what_was_signed(
            input in "[ -~]{0,200}", signature in "[ -~]{0,120}", at in 0_usize..400, to in any::<u8>(),
        ) {
            let _ = HttpSignature::parse(&input, &signature);
            let mut bytes = INPUT.as_bytes().to_vec();
            let at = at % bytes.len();
            let changed = bytes[at] != to;
            bytes[at] = to;
            if let Ok(text) = std::str::from_utf8(&bytes)
                && let Ok(read) = HttpSignature::parse(text, SIGNATURE)
                && changed
            {
                prop_assert!(read.verify(request(), &published()).is_err(), "{}", text);
            }
        }
    }
}
