//! Canonical text read in place, without copying it.
//!
//! The adversary is the bulk of an honest log: rewriting every receipt to see whether it is canonical
//! costs more than most other checks. What needs no rewriting (no escapes, no fractions) is read here;
//! every other text is left to the full reader, which decides.

use std::cell::Cell;

use super::canonical::compare_names;
use super::{Json, Object};
use crate::limits::{BODY_BYTES_MAX, JSON_DEPTH_MAX, JSON_INTEGER_MAX, JSON_NODES_MAX};

/// A value within a text that is in RFC 8785 form as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plain<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A string, which is spelled without escapes.
    Text(&'a str),
    /// An array.
    Array(Vec<Plain<'a>>),
    /// An object, in canonical order.
    Object(Vec<Member<'a>>),
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    name: &'a str,
    value: Plain<'a>,
    text: &'a str,
}

/// What a receipt is read from: a value of either kind.
pub(crate) trait Node: Sized {
    /// The member of an object.
    fn get(&self, name: &str) -> Option<&Self>;
    /// The member of an object. `place` is where it is looked for first; the next place is left there.
    fn get_near(&self, name: &str, place: &Cell<usize>) -> Option<&Self>;
    /// The text of a string.
    fn as_str(&self) -> Option<&str>;
    /// The value of an integer.
    fn as_integer(&self) -> Option<i64>;
    /// The elements of an array.
    fn as_array(&self) -> Option<&[Self]>;
    /// Whether this is `null`.
    fn is_null(&self) -> bool;
    /// The value, by itself.
    fn to_json(&self) -> Json;
}

impl<'a> Plain<'a> {
    /// Reads a text. `None` does not mean that it is wrong, only that [`Json::parse`] has to say.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        if text.len() > BODY_BYTES_MAX {
            return None;
        }
        let mut reader = Reader { text, at: 0, nodes: 0 };
        let value = reader.value(0)?;
        (reader.at == text.len()).then_some(value)
    }

    /// The text of an object's member.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<&'a str> {
        self.member(name).map(|member| member.text)
    }

    fn member(&self, name: &str) -> Option<&Member<'a>> {
        match self {
            Self::Object(members) => members.iter().find(|member| member.name == name),
            _ => None,
        }
    }
}

impl Node for Plain<'_> {
    fn get(&self, name: &str) -> Option<&Self> {
        self.member(name).map(|member| &member.value)
    }

    fn get_near(&self, name: &str, place: &Cell<usize>) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        let near = members.get(place.get()).is_some_and(|member| member.name == name);
        let at = match near {
            true => place.get(),
            false => members.iter().position(|member| member.name == name)?,
        };
        place.set(at + 1);
        members.get(at).map(|member| &member.value)
    }

    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::from(*value),
            Self::Integer(value) => Json::from(*value),
            Self::Text(text) => Json::string(text),
            Self::Array(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Object(members) => {
                let members = members.iter().map(|m| (m.name.to_owned(), m.value.to_json()));
                // The order was checked when it was read.
                Json::Object(Object(members.collect()))
            }
        }
    }
}

impl Node for Json {
    fn get(&self, name: &str) -> Option<&Self> {
        Self::get(self, name)
    }

    fn get_near(&self, name: &str, _place: &Cell<usize>) -> Option<&Self> {
        Self::get(self, name)
    }

    fn as_str(&self) -> Option<&str> {
        Self::as_str(self)
    }

    fn as_integer(&self) -> Option<i64> {
        Self::as_integer(self)
    }

    fn as_array(&self) -> Option<&[Self]> {
        Self::as_array(self)
    }

    fn is_null(&self) -> bool {
        Self::is_null(self)
    }

    fn to_json(&self) -> Json {
        self.clone()
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Plain<'a>> {
        self.nodes += 1;
        if depth > JSON_DEPTH_MAX || self.nodes > JSON_NODES_MAX {
            return None;
        }
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(Plain::Text),
            b't' => self.word("true", Plain::Bool(true)),
            b'f' => self.word("false", Plain::Bool(false)),
            b'n' => self.word("null", Plain::Null),
            _ => self.integer().map(Plain::Integer),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Plain<'a>> {
        self.at += 1;
        let mut members: Vec<Member<'a>> = Vec::new();
        if self.take(b'}') {
            return Some(Plain::Object(members));
        }
        // A receipt has thirty members, its parts have up to eight: one allocation instead of four.
        members.reserve(if depth == 1 { 32 } else { 8 });
        loop {
            let name = self.string()?;
            if members.last().is_some_and(|last| compare_names(last.name, name).is_ge()) {
                return None;
            }
            if !self.take(b':') {
                return None;
            }
            let start = self.at;
            let value = self.value(depth + 1)?;
            members.push(Member { name, value, text: self.text.get(start..self.at)? });
            if self.take(b'}') {
                return Some(Plain::Object(members));
            }
            if !self.take(b',') {
                return None;
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Plain<'a>> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take(b']') {
            return Some(Plain::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Some(Plain::Array(items));
            }
            if !self.take(b',') {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<&'a str> {
        if !self.take(b'"') {
            return None;
        }
        let start = self.at;
        let rest = self.text.as_bytes().get(start..)?;
        let length = plain_length(rest);
        self.at += length;
        // Ends at a quote: at a backslash or a control character the full reader has to decide.
        if !self.take(b'"') {
            return None;
        }
        self.text.get(start..start + length)
    }

    fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        self.take(b'-');
        let digits = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        let text = self.text.get(digits..self.at)?;
        // A fraction or an exponent that follows is no end of a value, so the caller refuses it.
        let zero = text == "0" && digits == start;
        if text.is_empty() || text.len() > 16 || (text.starts_with('0') && !zero) {
            return None;
        }
        let value: i64 = self.text.get(start..self.at)?.parse().ok()?;
        (value.abs() <= JSON_INTEGER_MAX).then_some(value)
    }

    fn word(&mut self, word: &str, value: Plain<'a>) -> Option<Plain<'a>> {
        self.text.get(self.at..)?.starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }
}

/// How many bytes come before the first quote, backslash or control character: eight at a time, by the
/// usual test for a zero byte in a word.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut done = 0;
    for chunk in bytes.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if found | control != 0 {
            break;
        }
        done += 8;
    }
    let rest = bytes.get(done..).unwrap_or_default();
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    done + rest.iter().position(special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::canonical::tests::any_json;
    use super::*;

    /// What is read in place is what the full reader reads, from a text that is canonical.
    fn agrees(text: &str) -> bool {
        let Some(plain) = Plain::read(text) else { return false };
        let full = Json::parse(text.as_bytes()).unwrap();
        assert_eq!(plain.to_json(), full, "{text}");
        assert_eq!(full.to_canonical(), text);
        true
    }

    proptest! {
        #[test]
        fn never_more_lenient_than_the_full_reader(json in any_json(), at: usize, byte in 0x20_u8..0x7f) {
            let text = json.to_canonical();
            agrees(&text);
            let mut bytes = text.into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(text) = String::from_utf8(bytes) {
                agrees(&text);
            }
        }

        #[test]
        fn the_length_of_a_plain_run_is_exact(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let slow = bytes.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f));
            prop_assert_eq!(plain_length(&bytes), slow.unwrap_or(bytes.len()));
        }
    }

    #[test]
    fn plain_texts_are_read_and_others_left() {
        for text in ["{}", "[]", "0", "-7", "{\"a\":1,\"b\":[true,null,\"ü\"]}", "9007199254740991"]
        {
            assert!(agrees(text), "{text}");
        }
        for text in [
            "",
            " {}",
            "{\"b\":1,\"a\":2}",
            "{\"a\":1,\"a\":1}",
            "-0",
            "01",
            "1.5",
            "1e2",
            "9007199254740992",
            "\"\\n\"",
            "{\"a\":1}x",
            "{\"a\":1,}",
            "[1,]",
            "tru",
            "\"a",
            "-",
            "\"\u{1}\"",
        ] {
            assert!(!agrees(text), "{text}");
        }
        assert!(!agrees(&format!("{}1{}", "[".repeat(65), "]".repeat(65))));
    }
}
