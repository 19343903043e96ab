//! Strict JSON and its one canonical form (RFC 8259, RFC 8785).
//!
//! The adversary writes a text that two readers understand differently: two members of one name, half
//! a surrogate pair, a number that changes when it is rewritten, nesting that overflows a stack. Such
//! a text is refused before anything is judged; what is accepted has exactly one canonical spelling.

mod canonical;
mod number;
mod parse;
mod plain;

pub use canonical::{is_canonical, write_string};
pub use number::Number;
pub(crate) use plain::Node;
pub use plain::Plain;

use crate::error::CoreError;

/// A JSON value with sorted, unique members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number with an exact canonical form.
    Number(Number),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Object),
}

/// An object's members.
///
/// INVARIANT: sorted by UTF-16 code units of the name (RFC 8785 §3.2.3), no name twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object(Vec<(String, Json)>);

impl Json {
    /// Reads one value and nothing else.
    ///
    /// # Errors
    /// [`CoreError::Json`] with the offset and the fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, CoreError> {
        parse::parse(bytes)
    }

    /// An object from members, `None` if a name occurs twice.
    #[must_use]
    pub fn object(members: Vec<(String, Self)>) -> Option<Self> {
        Object::new(members).map(Self::Object)
    }

    /// A string value.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self::String(text.to_owned())
    }

    /// The RFC 8785 text.
    #[must_use]
    pub fn to_canonical(&self) -> String {
        let mut out = String::new();
        self.write_canonical(&mut out);
        out
    }

    /// Appends the RFC 8785 text.
    pub fn write_canonical(&self, out: &mut String) {
        canonical::write(self, out);
    }

    /// The member of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(object) => object.get(name),
            _ => None,
        }
    }

    /// The value at an RFC 6901 pointer.
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        let mut here = self;
        for token in pointer.strip_prefix('/')?.split('/') {
            let token = token.replace("~1", "/").replace("~0", "~");
            here = match here {
                Self::Object(object) => object.get(&token)?,
                Self::Array(items) => items.get(token.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(here)
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of an integer.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Number(number) => number.as_integer(),
            _ => None,
        }
    }

    /// The value of a boolean.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements of an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members of an object.
    #[must_use]
    pub const fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Whether this is `null`.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Calls `visit` with the JSON pointer and text of every string in the value, keys excluded.
    pub fn each_string<'a>(&'a self, visit: &mut impl FnMut(&str, &'a str)) {
        fn walk<'a>(json: &'a Json, at: &mut String, visit: &mut impl FnMut(&str, &'a str)) {
            match json {
                Json::String(text) => visit(at, text),
                Json::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        let length = at.len();
                        at.push('/');
                        at.push_str(&index.to_string());
                        walk(item, at, visit);
                        at.truncate(length);
                    }
                }
                Json::Object(object) => {
                    for (name, item) in object.iter() {
                        let length = at.len();
                        at.push('/');
                        for part in name.chars() {
                            match part {
                                '~' => at.push_str("~0"),
                                '/' => at.push_str("~1"),
                                plain => at.push(plain),
                            }
                        }
                        walk(item, at, visit);
                        at.truncate(length);
                    }
                }
                Json::Null | Json::Bool(_) | Json::Number(_) => {}
            }
        }
        walk(self, &mut String::new(), visit);
    }
}

impl From<i64> for Json {
    /// Integers beyond ±(2^53 − 1) have no exact form and saturate there.
    fn from(value: i64) -> Self {
        Self::Number(Number::integer(value))
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl Object {
    /// Sorts the members; `None` if a name occurs twice.
    #[must_use]
    pub fn new(mut members: Vec<(String, Json)>) -> Option<Self> {
        members.sort_by(|(a, _), (b, _)| canonical::compare_names(a, b));
        let twice = members.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
        (!twice).then_some(Self(members))
    }

    /// The member of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The members in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same object with one member set or replaced.
    #[must_use]
    pub fn with(&self, name: &str, value: Json) -> Self {
        let mut members = self.0.clone();
        match members.binary_search_by(|(key, _)| canonical::compare_names(key, name)) {
            Ok(at) => {
                if let Some((_, old)) = members.get_mut(at) {
                    *old = value;
                }
            }
            Err(at) => members.insert(at, (name.to_owned(), value)),
        }
        Self(members)
    }

    /// The same object without one member.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(key, _)| key != name).cloned().collect())
    }
}
