//! Results of servers, looked at without being rewritten.
//!
//! The adversary is a server that writes a receipt of its own into a result, or a frame that we and the
//! client would read differently. Members are found in the raw text, ours are put in, what claims to be
//! ours is taken out, and every other byte, numbers above all, stays as it was sent.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tipstaff_core::Digest;
use tipstaff_core::json::write_string;

/// The prefix of `_meta` members that only the gateway writes.
const OWN_META: &str = "tipstaff/";
/// The member that names a verdict's receipt.
const RECEIPT: &str = "tipstaff/receipt";

/// An object's members in the order of the text.
#[derive(Debug)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// What stands under a name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Member<'a> {
    /// Nothing.
    Absent,
    /// One raw value.
    One(&'a str),
    /// Two or more: readers would disagree.
    Several,
}

impl<'a> Members<'a> {
    /// The members of the object that `text` is.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// What stands under `name`.
    pub(crate) fn get(&self, name: &str) -> Member<'a> {
        let mut found = self.0.iter().filter(|(key, _)| key == name);
        match (found.next(), found.next()) {
            (None, _) => Member::Absent,
            (Some((_, value)), None) => Member::One(value.get()),
            (Some(_), Some(_)) => Member::Several,
        }
    }

    /// The one value under `name`.
    pub(crate) fn one(&self, name: &str) -> Option<&'a str> {
        match self.get(name) {
            Member::One(raw) => Some(raw),
            Member::Absent | Member::Several => None,
        }
    }
}

/// The text of a raw JSON string.
pub(crate) fn text(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

/// Where `part`, a piece of `whole`, stands in it.
pub(crate) fn place(whole: &str, part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (whole.get(start..end)? == part).then_some(start..end)
}

/// Appends `line` with `part` of it replaced.
pub(crate) fn replace(out: &mut String, line: &str, part: Range<usize>, with: &str) {
    out.push_str(line.get(..part.start).unwrap_or_default());
    out.push_str(with);
    out.push_str(line.get(part.end..).unwrap_or_default());
}

/// Appends `line` with the receipt in the `_meta` of its `result`, a piece of it.
///
/// `None` if the result is an object whose members readers would disagree on.
pub(crate) fn splice(
    out: &mut String,
    line: &str,
    result: &str,
    receipt: Option<Digest>,
) -> Option<()> {
    if !result.starts_with('{') {
        out.push_str(line);
        return Some(());
    }
    let members = Members::read(result)?;
    let ours = receipt.map(|receipt| format!("\"{RECEIPT}\":\"{receipt}\""));
    let (part, with) = match (members.get("_meta"), ours) {
        (Member::Several, _) => return None,
        (Member::Absent, None) => (0..0, String::new()),
        (Member::Absent, Some(ours)) => {
            let at = place(line, result)?.start + 1;
            let comma = if members.0.is_empty() { "" } else { "," };
            (at..at, format!("\"_meta\":{{{ours}}}{comma}"))
        }
        (Member::One(meta), ours) => (place(line, meta)?, merge(meta, ours)?),
    };
    replace(out, line, part, &with);
    Some(())
}

fn merge(meta: &str, ours: Option<String>) -> Option<String> {
    if !meta.starts_with('{') {
        return Some(ours.map_or_else(|| meta.to_owned(), |ours| format!("{{{ours}}}")));
    }
    let mut out = String::with_capacity(meta.len() + 96);
    out.push('{');
    out.extend(ours);
    for (name, value) in Members::read(meta)?.0 {
        if !name.starts_with(OWN_META) {
            if out.len() > 1 {
                out.push(',');
            }
            write_string(&mut out, &name);
            out.push(':');
            out.push_str(value.get());
        }
    }
    out.push('}');
    Some(out)
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(4);
                while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
                    members.push((name, map.next_value()?));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Collect).map(Self)
    }
}

/// A member's name, borrowed where it holds no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text).map(Name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spliced(line: &str, receipt: Option<Digest>) -> Option<String> {
        let result = Members::read(line).unwrap().one("result").unwrap();
        let mut out = String::new();
        splice(&mut out, line, result, receipt).map(|()| out)
    }

    fn ours() -> String {
        format!("\"tipstaff/receipt\":\"{}\"", "0".repeat(64))
    }

    #[test]
    fn the_receipt_goes_in_and_every_other_byte_stays() {
        let zero = Some(Digest::ZERO);
        let line =
            r#"{"jsonrpc":"2.0", "id":1,"result" : {"x":1.50e+3,"y":12345678901234567890} }"#;
        let expected = line.replace("{\"x\"", &format!("{{\"_meta\":{{{}}},\"x\"", ours()));
        assert_eq!(spliced(line, zero), Some(expected));
        assert_eq!(
            spliced(r#"{"result":{}}"#, zero),
            Some(format!("{{\"result\":{{\"_meta\":{{{}}}}}}}", ours()))
        );
        let line = r#"{"result":{"_meta":{ "a" : 1.0 ,"tipstaff/receipt":"forged","\u0074ipstaff/x":1},"b":2}}"#;
        let expected = format!("{{\"result\":{{\"_meta\":{{{},\"a\":1.0}},\"b\":2}}}}", ours());
        assert_eq!(spliced(line, zero), Some(expected));
        assert_eq!(spliced(line, None).as_deref(), Some(r#"{"result":{"_meta":{"a":1.0},"b":2}}"#));
        assert_eq!(
            spliced(r#"{"result":{"_meta":null}}"#, zero),
            Some(format!("{{\"result\":{{\"_meta\":{{{}}}}}}}", ours()))
        );
        assert_eq!(spliced(r#"{"result":[1]}"#, zero).as_deref(), Some(r#"{"result":[1]}"#));
        assert_eq!(spliced(r#"{"result":{"_meta":{},"_meta":{}}}"#, zero), None);
    }

    #[test]
    fn two_members_of_one_name_are_seen() {
        let members = Members::read(r#"{"id":1,"\u0069d":2,"x":3}"#).unwrap();
        assert!(matches!(members.get("id"), Member::Several));
        assert!(matches!(members.get("x"), Member::One("3")));
        assert!(matches!(members.get("y"), Member::Absent));
        assert!(Members::read("[1]").is_none());
    }

    proptest! {
        #[test]
        fn what_is_spliced_reads_as_the_same_result(
            members in prop::collection::btree_map("[a-z\"\\\\é]{1,5}", "[a-z\"]{0,5}", 0..5),
            meta in prop::option::of(prop::collection::btree_map("[a-z/]{1,5}", any::<i64>(), 0..4)),
        ) {
            let mut result = serde_json::to_value(&members).unwrap();
            if let Some(meta) = &meta {
                result["_meta"] = serde_json::to_value(meta).unwrap();
            }
            let line = serde_json::json!({ "id": 1, "result": result }).to_string();
            let spliced = spliced(&line, Some(Digest::ZERO)).unwrap();
            let mut read: serde_json::Value = serde_json::from_str(&spliced).unwrap();
            let meta_read = read["result"]["_meta"].as_object_mut().unwrap();
            prop_assert!(meta_read.remove(RECEIPT).is_some());
            if meta.is_none() {
                prop_assert!(meta_read.is_empty());
                read["result"].as_object_mut().unwrap().remove("_meta");
            }
            prop_assert_eq!(&read["result"], &result);
        }
    }
}
