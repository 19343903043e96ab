//! BERT's tokenizer for lower-case models: cleaning, words, word pieces.
//!
//! The adversary writes the text, with anything in it, and the tokenizer's file, which may ask for steps
//! that are not taken here: such a file is refused. Work ends with the last token that the model looks at.
//!
//! Character classes come from the tables of the published tokenizer's own library, not from newer ones:
//! the model was trained on what those say.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use unicode_categories::UnicodeCategories as _;
use unicode_normalization::UnicodeNormalization as _;

use crate::error::EmbedError;

/// Words longer than this are unknown as a whole.
const WORD_CHARS_MAX: usize = 100;

/// A vocabulary, and how a text becomes numbers of it.
pub(super) struct Tokenizer {
    starts: HashMap<Box<str>, u32>,
    /// Pieces that go on within a word, without their `##`.
    inner: HashMap<Box<str>, u32>,
    first: u32,
    last: u32,
    unknown: u32,
    /// Most tokens of a text, the first and the last included.
    most: usize,
}

#[derive(Deserialize)]
struct Whole {
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
    vocab: HashMap<Box<str>, u32>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. Its own settings for cutting and padding are not used: the model's are.
    pub(super) fn parse(
        path: &Path,
        bytes: &[u8],
        rows: usize,
        most: usize,
    ) -> Result<Self, EmbedError> {
        let whole: Whole = super::parse(path, bytes)?;
        if let Some(part) = whole.unsupported() {
            let what = format!("the tokenizer's {part}");
            return Err(EmbedError::Unsupported { path: path.to_owned(), what });
        }
        let damaged = |what: String| EmbedError::Damaged { path: path.to_owned(), what };
        let vocabulary = whole.model.vocab;
        if let Some((word, _)) = vocabulary.iter().find(|(_, id)| **id as usize >= rows) {
            return Err(damaged(format!("the word {word:?} has no row in the weights")));
        }
        let one = |word: &str| {
            let id = vocabulary.get(word).copied();
            id.ok_or_else(|| damaged(format!("the vocabulary lacks {word}")))
        };
        let (first, last, unknown) = (one("[CLS]")?, one("[SEP]")?, one("[UNK]")?);
        let (mut starts, mut inner) = (HashMap::new(), HashMap::new());
        for (word, id) in vocabulary {
            match word.strip_prefix("##") {
                // The word `##` itself starts a word.
                Some(piece) if !piece.is_empty() => inner.insert(piece.into(), id),
                _ => starts.insert(word, id),
            };
        }
        Ok(Self { starts, inner, first, last, unknown, most })
    }

    /// The tokens of any text, with the first and the last one, as many as the model looks at.
    pub(super) fn tokens(&self, text: &str) -> Vec<u32> {
        let mut tokens = vec![self.first];
        let mut word = Word::default();
        let room = self.most.saturating_sub(1);
        for c in normal(text) {
            if tokens.len() >= room {
                break;
            }
            if c.is_whitespace() {
                self.take(&mut word, &mut tokens);
            } else if c.is_ascii_punctuation() || c.is_punctuation() {
                self.take(&mut word, &mut tokens);
                word.push(c);
                self.take(&mut word, &mut tokens);
            } else {
                word.push(c);
            }
        }
        self.take(&mut word, &mut tokens);
        tokens.truncate(room);
        tokens.push(self.last);
        tokens
    }

    /// Adds the pieces of a word: the longest that the vocabulary knows, again and again.
    fn take(&self, word: &mut Word, tokens: &mut Vec<u32>) {
        let (text, chars) = (std::mem::take(&mut word.text), std::mem::take(&mut word.chars));
        if text.is_empty() {
            return;
        }
        let before = tokens.len();
        let mut rest = text.as_str();
        while !rest.is_empty() && chars <= WORD_CHARS_MAX {
            let known = if tokens.len() == before { &self.starts } else { &self.inner };
            let ends = rest.char_indices().rev().map(|(at, c)| at + c.len_utf8());
            let found = ends.into_iter().find_map(|end| {
                let (piece, after) = rest.split_at_checked(end)?;
                Some((*known.get(piece)?, after))
            });
            let Some((token, after)) = found else { break };
            tokens.push(token);
            rest = after;
        }
        if !rest.is_empty() {
            tokens.truncate(before);
            tokens.push(self.unknown);
        }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} words)", self.starts.len() + self.inner.len())
    }
}

impl Whole {
    /// The first part that does something else than is done here.
    fn unsupported(&self) -> Option<&'static str> {
        let normal = json!({
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        });
        let single = json!([
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        ]);
        let model = &self.model;
        if self.normalizer != normal {
            Some("normalizer")
        } else if self.pre_tokenizer != json!({"type": "BertPreTokenizer"}) {
            Some("pre_tokenizer")
        } else if self.post_processor.get("single") != Some(&single) {
            Some("post_processor")
        } else if model.kind.as_deref().is_some_and(|kind| kind != "WordPiece")
            || model.unk_token != "[UNK]"
            || model.continuing_subword_prefix != "##"
            || model.max_input_chars_per_word != WORD_CHARS_MAX
        {
            Some("model")
        } else {
            None
        }
    }
}

/// A word that is being collected.
#[derive(Default)]
struct Word {
    text: String,
    chars: usize,
}

impl Word {
    /// What is beyond the longest word is counted, not kept.
    fn push(&mut self, c: char) {
        self.chars = self.chars.saturating_add(1);
        if self.chars <= WORD_CHARS_MAX {
            self.text.push(c);
        }
    }
}

/// The text without control characters and accents, in lower case, with ideographs as words of their own.
fn normal(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars()
        .filter(|c| !dropped(*c))
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .flat_map(|c| {
            let around = is_ideograph(c).then_some(' ');
            around.into_iter().chain(std::iter::once(c)).chain(around)
        })
        .nfd()
        .filter(|c| !c.is_mark_nonspacing())
        .flat_map(char::to_lowercase)
}

fn dropped(c: char) -> bool {
    let kept = matches!(c, '\t' | '\n' | '\r');
    c == '\0' || c == '\u{fffd}' || (!kept && c.is_other())
}

/// The blocks that the published tokenizer treats as ideographs.
fn is_ideograph(c: char) -> bool {
    matches!(u32::from(c),
        0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x2_0000..=0x2_a6df
        | 0x2_a700..=0x2_b73f | 0x2_b740..=0x2_b81f | 0x2_b920..=0x2_ceaf | 0x2_f800..=0x2_fa1f)
}
