//! Where the values of a JSON text with comments stand, so that some can be replaced and every other
//! byte stays as its owner wrote it.
//!
//! The adversary is a text that another reader understands differently: a name that occurs twice, nesting
//! that overflows a stack. Such a text is refused and left alone.

use std::collections::HashSet;
use std::ops::Range;

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 128;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// An object.
    Object(Object),
    /// An array.
    Array(Array),
    /// A string: its text, without quotes and escapes.
    Text(Range<usize>, String),
    /// `null`, `true`, `false` or a number.
    Plain(Range<usize>),
}

/// An object and where it stands, braces included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) span: Range<usize>,
    pub(crate) members: Vec<Member>,
}

/// One member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) name_span: Range<usize>,
    pub(crate) value: Node,
}

/// An array and where it stands, brackets included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Array {
    pub(crate) span: Range<usize>,
    pub(crate) items: Vec<Node>,
}

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(crate) struct JsoncError {
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Node {
    /// Reads a text with `//` and `/* */` comments and commas before a closing bracket.
    pub(crate) fn parse(text: &str) -> Result<Self, JsoncError> {
        let mut reader = Reader { text, at: 0 };
        if text.starts_with('\u{feff}') {
            reader.at = '\u{feff}'.len_utf8();
        }
        let node = reader.value(0)?;
        reader.blank()?;
        if reader.at == text.len() { Ok(node) } else { Err(reader.fault("more than one value")) }
    }

    pub(crate) fn span(&self) -> Range<usize> {
        match self {
            Self::Object(object) => object.span.clone(),
            Self::Array(array) => array.span.clone(),
            Self::Text(span, _) | Self::Plain(span) => span.clone(),
        }
    }

    pub(crate) const fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(crate) const fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(_, text) => Some(text),
            _ => None,
        }
    }

    /// The member of an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }
}

impl Object {
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.member(name).map(|member| &member.value)
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fault(&self, what: &str) -> JsoncError {
        let before = self.text.get(..self.at).unwrap_or_default();
        JsoncError { line: before.matches('\n').count() + 1, what: what.to_owned() }
    }

    /// Passes over white space and comments.
    fn blank(&mut self) -> Result<(), JsoncError> {
        loop {
            let rest = self.rest();
            let skipped = if rest.starts_with([' ', '\t', '\r', '\n']) {
                1
            } else if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                let end = rest.get(2..).unwrap_or_default().find("*/");
                end.ok_or_else(|| self.fault("a comment that does not end"))? + 4
            } else {
                return Ok(());
            };
            self.at += skipped;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, JsoncError> {
        self.blank()?;
        if depth > DEPTH_MAX {
            return Err(self.fault("nested too deep"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => {
                let (span, text) = self.string()?;
                Ok(Node::Text(span, text))
            }
            Some(_) => self.plain(),
            None => Err(self.fault("a value is missing")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node, JsoncError> {
        let start = self.at;
        let (mut members, mut names) = (Vec::new(), HashSet::new());
        while self.next_child(b'}', members.is_empty())? {
            let (name_span, name) = self.string()?;
            if !names.insert(name.clone()) {
                return Err(self.fault(&format!("the name {name:?} occurs twice in one object")));
            }
            self.blank()?;
            if self.peek() != Some(b':') {
                return Err(self.fault("a colon is missing"));
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            members.push(Member { name, name_span, value });
        }
        Ok(Node::Object(Object { span: start..self.at, members }))
    }

    fn array(&mut self, depth: usize) -> Result<Node, JsoncError> {
        let start = self.at;
        let mut items = Vec::new();
        while self.next_child(b']', items.is_empty())? {
            items.push(self.value(depth + 1)?);
        }
        Ok(Node::Array(Array { span: start..self.at, items }))
    }

    /// Goes to the next member or element; false behind the closing bracket.
    fn next_child(&mut self, close: u8, first: bool) -> Result<bool, JsoncError> {
        if first {
            self.at += 1;
        }
        self.blank()?;
        if !first && self.peek() == Some(b',') {
            self.at += 1;
            self.blank()?;
        } else if !first && self.peek() != Some(close) {
            return Err(self.fault("a comma or a closing bracket is missing"));
        }
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    fn string(&mut self) -> Result<(Range<usize>, String), JsoncError> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("a quoted text is missing"));
        }
        let start = self.at;
        let mut escaped = false;
        let inner = self.rest().bytes().enumerate().skip(1).find(|(_, byte)| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        let Some((length, _)) = inner else { return Err(self.fault("a text that does not end")) };
        let span = start..start + length + 1;
        let raw = self.text.get(span.clone()).unwrap_or_default();
        let text = serde_json::from_str(raw).map_err(|_| self.fault("a text that is no JSON"))?;
        self.at = span.end;
        Ok((span, text))
    }

    fn plain(&mut self) -> Result<Node, JsoncError> {
        let start = self.at;
        let length = self.rest().find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
        let end = start + length.unwrap_or(self.rest().len());
        let word = self.text.get(start..end).unwrap_or_default();
        if serde_json::from_str::<serde_json::Value>(word).is_err() {
            return Err(self.fault("this is no JSON value"));
        }
        self.at = end;
        Ok(Node::Plain(start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_where_they_stand() {
        let text =
            "\u{feff}// a\r\n{ \"a\\u0062\": [1, \"x\\\"\", /* no */ true,], \"c\": {} , }\n";
        let node = Node::parse(text).unwrap();
        let items = &node.get("ab").unwrap().as_array().unwrap().items;
        let spelled: Vec<&str> = items.iter().map(|item| text.get(item.span()).unwrap()).collect();
        assert_eq!(spelled, ["1", "\"x\\\"\"", "true"]);
        assert_eq!(items[1].as_text(), Some("x\""));
        assert_eq!(text.get(node.get("c").unwrap().span()), Some("{}"));
        let name = node.as_object().unwrap().members[0].name_span.clone();
        assert_eq!(text.get(name), Some("\"a\\u0062\""));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for (text, line) in [
            ("", 1),
            ("{\n\"a\":1,\n\"\\u0061\":2}", 3),
            ("{\"a\" 1}", 1),
            ("{\"a\":1 \"b\":2}", 1),
            ("[1,,2]", 1),
            ("{,}", 1),
            ("[1]\n[2]", 2),
            ("/* x", 1),
            ("\"x", 1),
            ("{\"a\":nul}", 1),
            ("{'a':1}", 1),
            ("\"a\nb\"", 1),
            ("[1}", 1),
        ] {
            let error = Node::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error}");
        }
        assert!(Node::parse(&"[".repeat(100_000)).is_err());
        assert!(Node::parse(&format!("{}{}", "[".repeat(100), "]".repeat(100))).is_ok());
    }
}
