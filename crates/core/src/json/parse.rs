//! The strict reader. Recursion is bounded by [`JSON_DEPTH_MAX`].

use super::{Json, Number, Object};
use crate::error::{CoreError, JsonFault};
use crate::limits::{BODY_BYTES_MAX, JSON_DEPTH_MAX, JSON_NODES_MAX};

pub(super) fn parse(bytes: &[u8]) -> Result<Json, CoreError> {
    let fault = |at, reason| CoreError::Json { at, reason };
    if bytes.len() > BODY_BYTES_MAX {
        return Err(fault(BODY_BYTES_MAX, JsonFault::TooLarge));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| fault(error.valid_up_to(), JsonFault::InvalidUtf8))?;
    let mut reader = Reader { text, at: 0, nodes: 0 };
    let parsed = reader.document();
    parsed.map_err(|reason| fault(reader.at, reason))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
}

type Parsed<T> = Result<T, JsonFault>;

impl<'a> Reader<'a> {
    fn document(&mut self) -> Parsed<Json> {
        let value = self.value(0)?;
        self.blank();
        if self.at == self.text.len() { Ok(value) } else { Err(JsonFault::Trailing) }
    }

    fn value(&mut self, depth: usize) -> Parsed<Json> {
        if depth > JSON_DEPTH_MAX {
            return Err(JsonFault::TooDeep);
        }
        self.nodes += 1;
        if self.nodes > JSON_NODES_MAX {
            return Err(JsonFault::TooLarge);
        }
        self.blank();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(JsonFault::Syntax),
        }
    }

    fn object(&mut self, depth: usize) -> Parsed<Json> {
        self.at += 1;
        let mut members = Vec::new();
        self.blank();
        if self.take(b'}') {
            return Ok(Json::Object(Object::default()));
        }
        loop {
            self.blank();
            if self.peek() != Some(b'"') {
                return Err(JsonFault::Syntax);
            }
            let name = self.string()?;
            self.blank();
            if !self.take(b':') {
                return Err(JsonFault::Syntax);
            }
            members.push((name, self.value(depth + 1)?));
            self.blank();
            if self.take(b'}') {
                return Object::new(members).map(Json::Object).ok_or(JsonFault::DuplicateKey);
            }
            if !self.take(b',') {
                return Err(JsonFault::Syntax);
            }
        }
    }

    fn array(&mut self, depth: usize) -> Parsed<Json> {
        self.at += 1;
        let mut items = Vec::new();
        self.blank();
        if self.take(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blank();
            if self.take(b']') {
                return Ok(Json::Array(items));
            }
            if !self.take(b',') {
                return Err(JsonFault::Syntax);
            }
        }
    }

    fn string(&mut self) -> Parsed<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = rest
                .bytes()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
                .ok_or(JsonFault::Syntax)?;
            out.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                _ => return Err(JsonFault::Syntax),
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let kind = self.peek().ok_or(JsonFault::Syntax)?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex4()?;
                match high {
                    0xd800..=0xdbff => {
                        if !(self.take(b'\\') && self.take(b'u')) {
                            return Err(JsonFault::LoneSurrogate);
                        }
                        let low = self.hex4()?;
                        if !(0xdc00..=0xdfff).contains(&low) {
                            return Err(JsonFault::LoneSurrogate);
                        }
                        let scalar = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                        char::from_u32(scalar).ok_or(JsonFault::LoneSurrogate)?
                    }
                    _ => char::from_u32(high).ok_or(JsonFault::LoneSurrogate)?,
                }
            }
            _ => return Err(JsonFault::Syntax),
        })
    }

    fn hex4(&mut self) -> Parsed<u32> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(JsonFault::Syntax)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(JsonFault::Syntax);
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| JsonFault::Syntax)
    }

    fn number(&mut self) -> Parsed<Json> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let text = self.text.get(start..self.at).ok_or(JsonFault::Syntax)?;
        Number::parse(text).map(Json::Number)
    }

    fn digits(&mut self) -> Parsed<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(JsonFault::Syntax) }
    }

    fn word(&mut self, word: &str, value: Json) -> Parsed<Json> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(JsonFault::Syntax)
        }
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &[u8]) -> JsonFault {
        match Json::parse(text) {
            Err(CoreError::Json { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        assert_eq!(fault(br#"{"a":1,"a":2}"#), JsonFault::DuplicateKey);
        assert_eq!(fault(br#"{"a":1,"\u0061":2}"#), JsonFault::DuplicateKey);
        assert_eq!(fault(b"\"\xff\""), JsonFault::InvalidUtf8);
        assert_eq!(fault(br#""\ud800""#), JsonFault::LoneSurrogate);
        assert_eq!(fault(br#""\ud800\u0041""#), JsonFault::LoneSurrogate);
        assert_eq!(fault(b"9007199254740992"), JsonFault::NumberRange);
        assert_eq!(fault(b"1e400"), JsonFault::NumberRange);
        assert_eq!(fault(b"0.1000000000000000000000001"), JsonFault::InexactNumber);
        assert_eq!(fault(b"01"), JsonFault::Trailing);
        assert_eq!(fault(b"[1,]"), JsonFault::Syntax);
        assert_eq!(fault(b"{} {}"), JsonFault::Trailing);
        assert_eq!(fault(b"\"a\tb\""), JsonFault::Syntax);
        assert_eq!(fault(b"NaN"), JsonFault::Syntax);
    }

    #[test]
    fn depth_is_bounded_by_one_limit() {
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(Json::parse(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(fault(nested(JSON_DEPTH_MAX + 1).as_bytes()), JsonFault::TooDeep);
        assert_eq!(fault("[".repeat(1_000_000).as_bytes()), JsonFault::TooDeep);
    }

    #[test]
    fn accepts_numbers_that_keep_their_value() {
        for (text, canonical) in [
            ("-0", "0"),
            ("1.50", "1.5"),
            ("1e2", "100"),
            ("0.000001", "0.000001"),
            ("-7.25e-3", "-0.00725"),
        ] {
            assert_eq!(Json::parse(text.as_bytes()).unwrap().to_canonical(), canonical);
        }
        assert_eq!(Json::parse(b"9007199254740991").unwrap().as_integer(), Some((1 << 53) - 1));
    }
}
