//! Receipts by place, filter and hash, with the proof that they are in the log.
//!
//! The adversary asks for everything at once, or wants to be told of a receipt that is none. Pages are
//! bounded, a filter says what it knows and refuses the rest, and one receipt comes with a proof under
//! the signed checkpoint that anyone can check.

use ::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use tipstaff_core::Verdict;
use tipstaff_core::receipt::{Kind, Signed};
use tipstaff_ledger::LedgerError;

use super::library::{Filter, Found, Library, Page, Published, Start};
use super::reply::{Answered, Fault, json};

/// Receipts on a page where the request doesn't say.
const LIMIT: usize = 100;
/// Most receipts on a page.
const LIMIT_MAX: usize = 1000;
/// Longest query in bytes.
const QUERY_BYTES_MAX: usize = 1024;
/// Longest name of a chain in bytes.
const NAME_MAX: usize = 255;
/// Fewest digits of a hash that a receipt is named by.
const DIGITS_MIN: usize = 8;

const PARAMETERS: &str = "Known are chain, session, actor, kind, verdict, limit (1 to 1000), and from and after (a leaf's number).";

/// A receipt as it stands in an export, with its place in the log.
#[derive(Serialize)]
struct Shown {
    index: u64,
    hash: String,
    key_id: String,
    receipt: Option<Box<RawValue>>,
    signature: String,
}

impl Shown {
    fn of(index: u64, signed: &Signed) -> Self {
        Self {
            index,
            hash: signed.hash().to_hex(),
            key_id: signed.receipt().key_id.clone(),
            receipt: RawValue::from_string(signed.text().to_owned()).ok(),
            signature: signed.signature().to_base64url(),
        }
    }
}

/// A page of receipts, oldest first.
pub(crate) fn list(query: Option<&str>, library: &Library) -> Answered {
    #[derive(Serialize)]
    struct Listed {
        receipts: Vec<Shown>,
        next: u64,
        more: bool,
    }
    let Asked { filter, start, limit } = Asked::read(query.unwrap_or_default())?;
    let Page { leaves, next, more } = library.select(&filter, start, limit);
    let signed = library.leaves(&leaves).map_err(unreadable)?;
    let receipts = leaves.iter().zip(&signed).map(|(at, signed)| Shown::of(*at, signed)).collect();
    Ok(json(StatusCode::OK, &Listed { receipts, next, more }))
}

/// One receipt with its proof.
pub(crate) fn one(id: &str, library: &Library, under: Option<&Published>) -> Answered {
    #[derive(Serialize)]
    struct Proven {
        #[serde(flatten)]
        shown: Shown,
        leaf: String,
        proof: Proof,
    }
    #[derive(Serialize)]
    struct Proof {
        checkpoint: String,
        hashes: Vec<String>,
        index: u64,
        root: String,
        size: u64,
        text: String,
    }
    let digits = digits(id)?;
    let index = match library.find(&digits).map_err(unreadable)? {
        Found::One(index) => index,
        Found::Several => {
            let message = "Several receipts have a hash that begins like this.";
            return Err(Fault::new(
                StatusCode::CONFLICT,
                "ambiguous_id",
                message,
                "Give more digits.",
            ));
        }
        Found::Nothing => return Err(unknown()),
    };
    let under = under.ok_or_else(unknown)?;
    let signed = library.leaf(index).map_err(unreadable)?;
    let leaf = signed.to_leaf();
    let proof = library.prove(index, &leaf, under).map_err(unreadable)?;
    let hashes = proof.hashes.iter().map(|hash| STANDARD.encode(hash.as_bytes())).collect();
    let answer = Proven {
        shown: Shown::of(index, &signed),
        leaf,
        proof: Proof {
            hashes,
            index,
            root: STANDARD.encode(under.checkpoint.root.as_bytes()),
            size: under.checkpoint.size,
            text: proof.to_text(),
            checkpoint: proof.checkpoint_note,
        },
    };
    Ok(json(StatusCode::OK, &answer))
}

/// The digits of an id in one spelling.
pub(crate) fn digits(id: &str) -> Result<String, Fault> {
    let is_hash = (DIGITS_MIN..=64).contains(&id.len());
    if !is_hash || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let next = "Give 8 to 64 hex digits of its hash.";
        return Err(Fault::bad("bad_id", "The path names no receipt.", next));
    }
    Ok(id.to_ascii_lowercase())
}

/// What of the log can't be read is damaged; where, is the operator's to know.
pub(crate) fn unreadable(_: LedgerError) -> Fault {
    Fault::unavailable("log_unreadable", "The log can't be read.")
}

fn unknown() -> Fault {
    let message = "No published receipt has a hash that begins like this.";
    let next = "See /api/v1/receipts; what was recorded is published within a second.";
    Fault::new(StatusCode::NOT_FOUND, "unknown_receipt", message, next)
}

/// What a query asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    filter: Filter,
    start: Start,
    limit: usize,
}

impl Asked {
    fn read(query: &str) -> Result<Self, Fault> {
        let bad = |what: &str| Fault::bad("bad_query", what.to_owned(), PARAMETERS);
        if query.len() > QUERY_BYTES_MAX {
            return Err(bad("The query is too long."));
        }
        let mut asked = Self { filter: Filter::default(), start: Start::Newest, limit: LIMIT };
        let mut seen: Vec<&str> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| bad("A parameter has no value."))?;
            let value = decode(value).ok_or_else(|| bad("A value is spelled wrong."))?;
            let number = || {
                let number = value.parse::<u64>().ok().filter(|number| number.to_string() == value);
                // The last leaf that a log can have.
                number
                    .filter(|number| *number <= i64::MAX as u64)
                    .ok_or_else(|| bad("A number is none."))
            };
            let is_name =
                value.len() <= NAME_MAX && value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            match name {
                "chain" | "session" | "actor" if !is_name => {
                    return Err(bad("A name is none of a chain or an actor."));
                }
                "actor" => asked.filter.actor = Some(value),
                "chain" => asked.filter.chain = Some(value),
                "session" => asked.filter.session = Some(value),
                "kind" => {
                    let kind = Kind::parse(&value).ok_or_else(|| bad("The kind is unknown."))?;
                    asked.filter.kind = Some(kind);
                }
                "verdict" => {
                    let verdict = Verdict::parse(&value);
                    let verdict = verdict.ok_or_else(|| bad("The verdict is unknown."))?;
                    asked.filter.verdict = Some(verdict);
                }
                "limit" => {
                    let limit = usize::try_from(number()?).unwrap_or(usize::MAX);
                    if !(1..=LIMIT_MAX).contains(&limit) {
                        return Err(bad("The limit is not from 1 to 1000."));
                    }
                    asked.limit = limit;
                }
                "from" => asked.start = asked.start.not_before(number()?),
                "after" => asked.start = asked.start.not_before(number()? + 1),
                _ => return Err(bad("A parameter is unknown.")),
            }
            if seen.contains(&name) {
                return Err(bad("A parameter is there twice."));
            }
            seen.push(name);
        }
        Ok(asked)
    }
}

/// The text of a value in a query (`application/x-www-form-urlencoded`); `None` if it is none.
fn decode(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_query_says_what_is_known_once_and_no_more() {
        let read = |query| Asked::read(query).unwrap();
        assert_eq!(read("").limit, LIMIT);
        assert_eq!(read("").start, Start::Newest);
        let asked = read("chain=s-1&kind=verdict&verdict=STEP_UP&limit=7&after=9");
        assert_eq!(asked.filter.chain.as_deref(), Some("s-1"));
        assert_eq!(asked.filter.kind, Some(Kind::Verdict));
        assert_eq!(asked.filter.verdict, Some(Verdict::StepUp));
        assert_eq!((asked.limit, asked.start), (7, Start::At(10)));
        assert_eq!(read("session=s%2D1+x").filter.session.as_deref(), Some("s-1 x"));
        assert_eq!(read("from=0").start, Start::At(0));
        assert_eq!(read("from=5&after=2").start, Start::At(5));
        assert_eq!(read("after=7&from=1").start, Start::At(8));
        for wrong in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=+1",
            "limit=01",
            "limit=x",
            "limit=",
            "limit",
            "kind=x",
            "verdict=allow",
            "from=9223372036854775808",
            "limit=1&limit=2",
            "chain=a&chain=a",
            "what=1",
            "from=99999999999999999999",
            "chain=%2",
            "chain=%zz",
            "chain=%ff",
            "CHAIN=x",
            "chain=%00",
            "chain=%C3%A4",
        ] {
            assert_eq!(Asked::read(wrong).unwrap_err().code, "bad_query", "{wrong}");
        }
        assert!(Asked::read(&format!("chain={}", "a".repeat(2000))).is_err());
    }

    #[test]
    fn an_id_is_hex_of_a_length() {
        assert_eq!(digits("00FFaa11").unwrap(), "00ffaa11");
        for wrong in ["", "1234567", "1234567g", &"0".repeat(65), "12345678 ", "0x123456"] {
            assert_eq!(digits(wrong).unwrap_err().code, "bad_id");
        }
    }

    proptest! {
        #[test]
        fn any_query_is_answered(query in "\\PC{0,200}") {
            let _ = Asked::read(&query);
        }

        #[test]
        fn what_is_encoded_is_decoded(text in "\\PC{0,40}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(&encoded), Some(text));
        }
    }
}
