//! The RFC 8785 writer, and a check that a text is already in that form without rewriting it.

use std::cmp::Ordering;

use super::Json;

/// Member names are ordered by their UTF-16 code units (RFC 8785 §3.2.3).
pub(super) fn compare_names(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

pub(super) fn write(json: &Json, out: &mut String) {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Number(number) => number.write(out),
        Json::String(text) => write_string(out, text),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Json::Object(object) => {
            out.push('{');
            for (index, (name, value)) in object.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(out, name);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

/// Appends a JSON string with the escapes of RFC 8785 §3.2.2.2.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(text.get(plain..at).unwrap_or_default());
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                out.push_str("\\u00");
                out.push_str(&crate::digest::hex(&[byte]));
            }
        }
    }
    out.push_str(text.get(plain..).unwrap_or_default());
    out.push('"');
}

/// Whether `text` is one value in RFC 8785 form, by the strict rules of [`Json::parse`].
#[must_use]
pub fn is_canonical(text: &str) -> bool {
    // Escapes and fractions are rare in what we verify; only those texts are rewritten to compare.
    Json::parse(text.as_bytes()).is_ok_and(|json| json.to_canonical() == text)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::{Number, Object};
    use super::*;

    pub(crate) fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            (-(1_i64 << 53) + 1..(1_i64 << 53)).prop_map(Json::from),
            any::<String>().prop_map(Json::String),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Json::Object(Object::new(map.into_iter().collect()).unwrap())),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_text_parses_to_itself(json in any_json()) {
            let text = json.to_canonical();
            prop_assert_eq!(&Json::parse(text.as_bytes()).unwrap(), &json);
            prop_assert!(is_canonical(&text));
            let spaced = format!(" {text}");
            prop_assert!(!is_canonical(&spaced));
        }

        #[test]
        fn the_parser_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Json::parse(&bytes);
        }

        #[test]
        fn fractions_survive(value in -1e15_f64..1e15) {
            let text = ryu_js::Buffer::new().format_finite(value).to_owned();
            prop_assert_eq!(Json::parse(text.as_bytes()).unwrap().to_canonical(), text);
        }
    }

    /// A foreign reader's value, with the numbers that our own parser would refuse.
    fn lenient(value: &serde_json::Value) -> Json {
        match value {
            serde_json::Value::Null => Json::Null,
            serde_json::Value::Bool(value) => Json::Bool(*value),
            serde_json::Value::Number(number) => {
                Json::Number(Number::lenient(number.as_f64().unwrap()))
            }
            serde_json::Value::String(text) => Json::String(text.clone()),
            serde_json::Value::Array(items) => Json::Array(items.iter().map(lenient).collect()),
            serde_json::Value::Object(map) => {
                let members = map.iter().map(|(name, value)| (name.clone(), lenient(value)));
                Json::object(members.collect()).unwrap()
            }
        }
    }

    #[test]
    fn writes_the_published_rfc8785_vectors() {
        let Some(folder) = crate::referees("jcs") else { return };
        for entry in std::fs::read_dir(folder.join("input")).unwrap() {
            let name = entry.unwrap().file_name();
            let input = std::fs::read(folder.join("input").join(&name)).unwrap();
            let expected = std::fs::read_to_string(folder.join("output").join(&name)).unwrap();
            let value: serde_json::Value = serde_json::from_slice(&input).unwrap();
            assert_eq!(lenient(&value).to_canonical(), expected.trim_end(), "{name:?}");
        }
    }

    #[test]
    fn astral_names_sort_by_utf16() {
        let json = Json::parse("{\"\u{ffff}\":1,\"\u{10000}\":2}".as_bytes()).unwrap();
        assert_eq!(json.to_canonical(), "{\"\u{10000}\":2,\"\u{ffff}\":1}");
    }
}
