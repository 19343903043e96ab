//! Finds the top-level `id` of a JSON text of any length in a bounded amount of memory.
//!
//! The adversary sends a frame that is too large to keep, or that the strict parser refuses, so that
//! whoever waits for it is never told. One pass over the bytes, however they are cut into pieces,
//! finds the `id` wherever it stands among the members; a second `id` makes the frame anonymous.

use crate::message::{ID_BYTES_MAX, Id};

/// Longest raw spelling of a member name that is looked at: `method` with every letter escaped.
const KEY_BYTES_MAX: usize = 40;
/// Longest raw spelling of an id: every byte escaped.
const VALUE_BYTES_MAX: usize = 6 * ID_BYTES_MAX + 2;

/// What one pass over a frame found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skim {
    /// The id, if there is exactly one, it is a string or an integer, and the frame is a whole object.
    pub(crate) id: Option<Id>,
    /// Whether a `method` stands at the top level, so that the frame is no answer.
    pub(crate) method: bool,
}

/// A pass over one frame, fed in pieces.
#[derive(Debug)]
pub(crate) struct Skimmer {
    phase: Phase,
    escaped: bool,
    in_string: bool,
    depth: u64,
    text: Vec<u8>,
    overflow: bool,
    name: Name,
    id: Found,
    method: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Start,
    BeforeKey,
    Key,
    Colon,
    BeforeValue,
    Text,
    Scalar,
    Nested,
    AfterValue,
    Done,
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Id,
    Other,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    One(Id),
    Unusable,
}

impl Skimmer {
    /// A pass that has seen nothing yet.
    pub(crate) const fn new() -> Self {
        Self {
            phase: Phase::Start,
            escaped: false,
            in_string: false,
            depth: 0,
            text: Vec::new(),
            overflow: false,
            name: Name::Other,
            id: Found::Nothing,
            method: false,
        }
    }

    /// The whole of a frame at once.
    pub(crate) fn skim(frame: &[u8]) -> Skim {
        let mut skimmer = Self::new();
        skimmer.feed(frame);
        skimmer.finish()
    }

    /// The next piece of the frame.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        for byte in piece {
            self.step(*byte);
        }
    }

    /// The end of the frame.
    pub(crate) fn finish(self) -> Skim {
        let id = match (self.phase, self.id) {
            (Phase::Done, Found::One(id)) => Some(id),
            _ => None,
        };
        Skim { id, method: self.method }
    }

    fn step(&mut self, byte: u8) {
        let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self.phase {
            Phase::Nested => self.nested(byte),
            Phase::Text | Phase::Key => self.text(byte),
            Phase::Scalar => match byte {
                b',' | b'}' => {
                    self.value_ends();
                    self.after_value(byte);
                }
                _ if blank => self.value_ends(),
                _ => self.keep(byte),
            },
            _ if blank => {}
            Phase::Start if byte == b'{' => self.phase = Phase::BeforeKey,
            Phase::BeforeKey if byte == b'"' => self.open(Phase::Key),
            Phase::BeforeKey if byte == b'}' => self.phase = Phase::Done,
            Phase::Colon if byte == b':' => self.phase = Phase::BeforeValue,
            Phase::BeforeValue => match byte {
                b'"' => self.open(Phase::Text),
                b'{' | b'[' => {
                    self.depth = 1;
                    self.in_string = false;
                    self.overflow = true;
                    self.phase = Phase::Nested;
                }
                _ => {
                    self.open(Phase::Scalar);
                    self.text.clear();
                    self.keep(byte);
                }
            },
            Phase::AfterValue => self.after_value(byte),
            Phase::Start | Phase::BeforeKey | Phase::Colon | Phase::Done | Phase::Broken => {
                self.phase = Phase::Broken;
            }
        }
    }

    fn open(&mut self, phase: Phase) {
        self.text.clear();
        self.text.push(b'"');
        self.overflow = false;
        self.escaped = false;
        self.phase = phase;
    }

    fn keep(&mut self, byte: u8) {
        let (wanted, limit) = match (self.phase, self.name) {
            (Phase::Key, _) => (true, KEY_BYTES_MAX),
            (_, Name::Id) => (true, VALUE_BYTES_MAX),
            (_, Name::Other) => (false, 0),
        };
        if wanted && self.text.len() < limit {
            self.text.push(byte);
        } else {
            self.overflow = true;
        }
    }

    fn text(&mut self, byte: u8) {
        self.keep(byte);
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' if self.phase == Phase::Key => self.key_ends(),
            b'"' => self.value_ends(),
            _ => {}
        }
    }

    fn nested(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            b'{' | b'[' if !self.in_string => self.depth = self.depth.saturating_add(1),
            b'}' | b']' if !self.in_string => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.value_ends();
                }
            }
            _ => {}
        }
    }

    fn key_ends(&mut self) {
        let name =
            if self.overflow { None } else { serde_json::from_slice::<String>(&self.text).ok() };
        self.name = match name.as_deref() {
            Some("id") => Name::Id,
            Some("method") => {
                self.method = true;
                Name::Other
            }
            _ => Name::Other,
        };
        self.phase = Phase::Colon;
    }

    fn value_ends(&mut self) {
        self.phase = Phase::AfterValue;
        if self.name == Name::Id {
            let id = if self.overflow { None } else { std::str::from_utf8(&self.text).ok() };
            self.id = match (&self.id, id.and_then(Id::of_raw)) {
                (Found::Nothing, Some(id)) => Found::One(id),
                _ => Found::Unusable,
            };
        }
        self.name = Name::Other;
    }

    const fn after_value(&mut self, byte: u8) {
        self.phase = match byte {
            b',' => Phase::BeforeKey,
            b'}' => Phase::Done,
            _ => Phase::Broken,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(frame: &str) -> Option<Id> {
        Skimmer::skim(frame.as_bytes()).id
    }

    #[test]
    fn the_id_is_found_wherever_it_stands() {
        assert_eq!(id(r#"{"id":7,"result":{"id":8}}"#), Some(Id::Integer(7)));
        assert_eq!(
            id(r#" {"result":{"id":8,"x":"}\"{"},"id" : "a\"b" } "#),
            Some(Id::Text("a\"b".into()))
        );
        assert_eq!(id(r#"{"result":[[{"id":1}]],"\u0069d":-3}"#), Some(Id::Integer(-3)));
        assert_eq!(id(r#"{"a":"id","id":12}"#), Some(Id::Integer(12)));
        assert!(Skimmer::skim(br#"{"params":{},"method":"x"}"#).method);
        assert!(!Skimmer::skim(br#"{"result":{"method":"x"},"id":1}"#).method);
    }

    #[test]
    fn two_ids_or_half_a_frame_are_anonymous() {
        for frame in [
            r#"{"id":1,"id":1}"#,
            r#"{"id":1,"i\u0064":2}"#,
            r#"{"id":null}"#,
            r#"{"id":1.5}"#,
            r#"{"id":{}}"#,
            r#"{"id":1"#,
            r#"{"id":1}}"#,
            r#"{"id":1 2}"#,
            r#"[{"id":1}]"#,
            "",
        ] {
            assert_eq!(id(frame), None, "{frame}");
        }
    }

    #[test]
    fn memory_stays_bounded_on_a_long_frame() {
        let mut skimmer = Skimmer::new();
        skimmer.feed(b"{\"");
        for _ in 0..4096 {
            skimmer.feed(&[b'k'; 1024]);
        }
        skimmer.feed(b"\":\"");
        for _ in 0..4096 {
            skimmer.feed(&[b'v'; 1024]);
        }
        skimmer.feed(b"\",\"id\":\"end\"}");
        assert!(skimmer.text.capacity() <= 2 * VALUE_BYTES_MAX, "{}", skimmer.text.capacity());
        assert_eq!(skimmer.finish().id, Some(Id::Text("end".into())));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map("id|method|[a-z\"\\\\{}]{0,4}", inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_chunking_finds_what_a_parser_finds(
            before in prop::collection::btree_map("[a-h]{1,3}", any_json(), 0..4),
            number in -1_000_000_i64..1_000_000,
            after in prop::collection::btree_map("[j-z]{1,3}", any_json(), 0..4),
            cuts in prop::collection::vec(1_usize..9, 1..40),
        ) {
            let mut frame = String::from("{");
            for (name, value) in &before {
                frame.push_str(&format!("{name:?}:{value},"));
            }
            frame.push_str(&format!("\"id\":{number}"));
            for (name, value) in &after {
                frame.push_str(&format!(" , {name:?} : {value}"));
            }
            frame.push('}');
            let mut skimmer = Skimmer::new();
            let mut rest = frame.as_bytes();
            for cut in cuts.iter().cycle() {
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                skimmer.feed(head);
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(skimmer.finish().id, Some(Id::Integer(number)));
        }

        #[test]
        fn any_bytes_are_survived_and_cut_alike(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'{'), Just(b':')], 0..200),
            at in 0_usize..200,
        ) {
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            let mut skimmer = Skimmer::new();
            skimmer.feed(head);
            skimmer.feed(tail);
            prop_assert_eq!(skimmer.finish(), Skimmer::skim(&bytes));
        }
    }
}
