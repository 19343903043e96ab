//! Text that hides from the reader: controls of direction, characters without width or glyph, letters that
//! look like others, terminal sequences that conceal. The adversary shows a person one text and a machine
//! another, or carries bytes where nobody sees any.

use std::ops::Range;

use crate::bytes::{ahead, at, before, behind, decode};
use crate::findings::Detector;
use crate::view::{Sink, View};

/// How far from a direction control a letter of a right-to-left script explains it.
const RIGHT_TO_LEFT_REACH: usize = 96;
/// Fewest invisible characters in a row that count.
const INVISIBLE_RUN: usize = 3;
/// Longest word that is looked at as one.
const WORD_MAX: usize = 96;

/// A word as a reader takes it: in lower case, without accents, invisible characters and styles.
pub(crate) struct Word {
    pub(crate) range: Range<usize>,
    pub(crate) folded: String,
    latin: usize,
    alike: usize,
    foreign: usize,
    invisible: usize,
    is_joining: bool,
}

/// Reads a word that may have letters beyond ASCII.
pub(crate) fn word(text: &[u8], start: usize) -> Word {
    let mut word = Word {
        range: start..start,
        folded: String::new(),
        latin: 0,
        alike: 0,
        foreign: 0,
        invisible: 0,
        is_joining: false,
    };
    let mut position = start;
    let mut invisible = 0;
    while let Some((letter, length)) = decode(text, position)
        && position - start < WORD_MAX
    {
        if is_invisible(letter) {
            // Only between letters: what follows a word is not its part.
            invisible += 1;
            position += length;
            continue;
        }
        if !letter.is_alphabetic() && !is_combining(letter)
            || crate::instruct::lexicon::is_unspaced(letter)
        {
            break;
        }
        word.invisible += invisible;
        invisible = 0;
        position += length;
        word.range.end = position;
        if is_combining(letter) {
            continue;
        }
        let alike = lookalike(letter);
        if letter.is_ascii() || is_latin(letter) {
            word.latin += 1;
        } else if alike.is_some() {
            word.alike += 1;
        } else {
            word.foreign += 1;
        }
        word.is_joining |= is_joining_script(letter);
        fold(letter, &mut word.folded);
    }
    if word.is_mixed() {
        word.folded = word.folded.chars().map(|c| lookalike(c).unwrap_or(c)).collect();
    }
    word
}

impl Word {
    /// Latin letters beside letters of another script that look Latin, and nothing else.
    const fn is_mixed(&self) -> bool {
        self.latin >= 2 && self.alike >= 1 && self.foreign == 0 && self.latin + self.alike >= 4
    }
}

/// What is in progress across characters.
#[derive(Default)]
pub(crate) struct Hidden {
    run: Range<usize>,
    run_length: usize,
    tags: Tagged,
    selectors: Carried,
    previous: Option<char>,
}

#[derive(Default)]
struct Tagged {
    range: Range<usize>,
    text: Vec<u8>,
    is_flag: bool,
}

#[derive(Default)]
struct Carried {
    range: Range<usize>,
    bytes: Vec<u8>,
}

impl Hidden {
    pub(crate) fn word(&mut self, view: &View<'_>, sink: &mut Sink, word: &Word) {
        if word.invisible > 0 && !word.is_joining {
            sink.report(view, Detector::ZeroWidth, word.range.clone());
        }
        if word.is_mixed() {
            sink.report(view, Detector::Homoglyph, word.range.clone());
        }
        self.previous = Some('a');
    }

    pub(crate) fn plain(&mut self, found: char) {
        self.previous = Some(found);
    }

    /// A character that is no letter; the position after it.
    pub(crate) fn character(
        &mut self,
        view: &View<'_>,
        sink: &mut Sink,
        found: char,
        start: usize,
        length: usize,
    ) -> usize {
        let range = start..start + length;
        match found {
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let is_override = matches!(found, '\u{202d}' | '\u{202e}');
                if is_override || !has_right_to_left(view.text, start) {
                    sink.report(view, Detector::Bidi, range.clone());
                }
            }
            '\u{e0000}'..='\u{e007f}' => self.tag(view, sink, found, &range),
            '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => {
                self.selector(view, sink, found, &range);
            }
            _ if is_invisible(found) => self.invisible(view, sink, found, &range),
            _ => {}
        }
        self.previous = Some(found);
        range.end
    }

    fn invisible(&mut self, view: &View<'_>, sink: &mut Sink, found: char, range: &Range<usize>) {
        if found == '\u{200d}' && self.previous.is_some_and(is_pictograph) {
            return;
        }
        // One within a token splits it for whoever looks for the token.
        let is_within = before(view.text, range.start).is_ascii_alphanumeric()
            && at(view.text, range.end).is_ascii_alphanumeric();
        if is_within {
            sink.report(view, Detector::ZeroWidth, range.clone());
        }
        if self.run.end == range.start && self.run_length > 0 {
            self.run.end = range.end;
            self.run_length += 1;
        } else {
            self.end_run(view, sink);
            self.run = range.clone();
            self.run_length = 1;
        }
    }

    fn end_run(&mut self, view: &View<'_>, sink: &mut Sink) {
        if self.run_length >= INVISIBLE_RUN {
            sink.report(view, Detector::ZeroWidth, self.run.clone());
            let bits = bits_of(view.text, &self.run);
            for text in bits {
                sink.descend(view, &self.run, &text, true);
            }
        }
        self.run_length = 0;
    }

    fn tag(&mut self, view: &View<'_>, sink: &mut Sink, found: char, range: &Range<usize>) {
        if self.tags.range.end != range.start || self.tags.text.is_empty() {
            self.end_tags(view, sink);
            self.tags.range = range.clone();
            self.tags.is_flag = self.previous == Some('\u{1f3f4}');
        }
        self.tags.range.end = range.end;
        self.tags.text.push(u8::try_from(u32::from(found) & 0x7f).unwrap_or(0));
    }

    fn end_tags(&mut self, view: &View<'_>, sink: &mut Sink) {
        let tags = std::mem::take(&mut self.tags);
        // The flag of a region: a black flag, at most six letters, the cancelling tag.
        let is_flag = tags.is_flag && tags.text.len() <= 7 && tags.text.last() == Some(&0x7f);
        if !tags.text.is_empty() && !is_flag {
            sink.report(view, Detector::TagCharacters, tags.range.clone());
            sink.descend(view, &tags.range, &tags.text, true);
        }
    }

    fn selector(&mut self, view: &View<'_>, sink: &mut Sink, found: char, range: &Range<usize>) {
        if self.selectors.range.end != range.start || self.selectors.bytes.is_empty() {
            self.end_selectors(view, sink);
            self.selectors.range = range.clone();
        }
        let code = u32::from(found);
        let byte = if code < 0xe0100 { code - 0xfe00 } else { code - 0xe0100 + 16 };
        self.selectors.range.end = range.end;
        self.selectors.bytes.push(u8::try_from(byte).unwrap_or(0));
    }

    fn end_selectors(&mut self, view: &View<'_>, sink: &mut Sink) {
        let carried = std::mem::take(&mut self.selectors);
        if carried.bytes.len() >= 2 {
            sink.report(view, Detector::VariationSelectors, carried.range.clone());
            sink.descend(view, &carried.range, &carried.bytes, true);
        }
    }

    /// Closes what is open at the end of a text.
    pub(crate) fn finish(&mut self, view: &View<'_>, sink: &mut Sink) {
        self.end_run(view, sink);
        self.end_tags(view, sink);
        self.end_selectors(view, sink);
    }
}

/// Eight zero-width characters of two kinds to a byte, in both readings.
fn bits_of(text: &[u8], run: &Range<usize>) -> Vec<Vec<u8>> {
    let mut marks = Vec::new();
    let mut position = run.start;
    while position < run.end
        && let Some((found, length)) = decode(text, position)
    {
        marks.push(found);
        position += length;
    }
    let Some(first) = marks.first().copied() else { return Vec::new() };
    if marks.len() < 64 {
        return Vec::new();
    }
    let reading = |one: bool| {
        let bytes = marks.chunks_exact(8).map(|eight| {
            eight.iter().fold(0_u8, |byte, mark| byte << 1 | u8::from((*mark == first) == one))
        });
        bytes.collect::<Vec<u8>>()
    };
    vec![reading(true), reading(false)]
}

/// Sequences that make a terminal conceal text or write to the clipboard.
pub(crate) fn terminal(view: &View<'_>, sink: &mut Sink, position: usize) {
    let text = view.text;
    let after = position + 2;
    let found = match at(text, position + 1) {
        b'[' => {
            let digits =
                crate::bytes::run(text, after, 24, |byte| byte.is_ascii_digit() || byte == b';');
            let numbers = ahead(text, after, digits);
            let is_concealed = numbers.split(|byte| *byte == b';').any(|number| number == b"8");
            let is_same = numbers == b"30;40" || numbers == b"37;47" || numbers == b"97;107";
            at(text, after + digits) == b'm' && (is_concealed || is_same)
        }
        b']' => ahead(text, after, 3) == b"52;",
        _ => false,
    };
    if found {
        sink.report(view, Detector::Terminal, position..after);
    }
}

/// Characters that show nothing and take no room.
pub(crate) const fn is_invisible(found: char) -> bool {
    matches!(
        found,
        '\u{200b}'..='\u{200d}'
            | '\u{2060}'..='\u{2064}'
            | '\u{feff}'
            | '\u{180e}'
            | '\u{3164}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{ffa0}'
    )
}

const fn is_combining(found: char) -> bool {
    matches!(found, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{487}')
}

const fn is_latin(found: char) -> bool {
    matches!(found, '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
}

const fn is_pictograph(found: char) -> bool {
    matches!(found, '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}' | '\u{fe0f}')
}

/// Scripts that use joiners within words: Arabic to Khmer, Mongolian.
const fn is_joining_script(found: char) -> bool {
    matches!(found, '\u{600}'..='\u{8ff}' | '\u{900}'..='\u{109f}' | '\u{1780}'..='\u{18af}')
}

fn has_right_to_left(text: &[u8], position: usize) -> bool {
    let is_right_to_left = |around: &[u8]| {
        // Hebrew and Arabic in UTF-8 begin with 0xd6 to 0xdd.
        around.iter().any(|byte| (0xd6..=0xdd).contains(byte))
    };
    is_right_to_left(behind(text, position, RIGHT_TO_LEFT_REACH))
        || is_right_to_left(ahead(text, position, RIGHT_TO_LEFT_REACH))
}

/// The Latin letter that a letter of another script looks like.
const fn lookalike(found: char) -> Option<char> {
    Some(match found {
        'а' | 'А' | 'α' | 'Α' => 'a',
        'В' | 'Β' | 'в' => 'b',
        'с' | 'С' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'Е' | 'Ε' | 'ё' => 'e',
        'һ' | 'Н' | 'Η' => 'h',
        'і' | 'І' | 'ι' | 'Ι' => 'i',
        'ј' | 'Ј' => 'j',
        'К' | 'κ' | 'Κ' | 'к' => 'k',
        'ӏ' | 'Ӏ' => 'l',
        'М' | 'Μ' | 'м' => 'm',
        'Ν' | 'ո' => 'n',
        'о' | 'О' | 'ο' | 'Ο' => 'o',
        'р' | 'Р' | 'ρ' | 'Ρ' => 'p',
        'ԛ' => 'q',
        'ѕ' | 'Ѕ' => 's',
        'т' | 'Т' | 'Τ' | 'τ' => 't',
        'υ' | 'ս' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' | 'ѡ' => 'w',
        'х' | 'Х' | 'Χ' | 'χ' => 'x',
        'у' | 'У' | 'Υ' | 'γ' => 'y',
        'Ζ' => 'z',
        _ => return None,
    })
}

/// Lower case, without accents and styles.
fn fold(letter: char, into: &mut String) {
    let code = u32::from(letter);
    let plain = match letter {
        'à'..='å' | 'À'..='Å' | 'ā' | 'ă' | 'ą' => 'a',
        'ç' | 'Ç' | 'ć' | 'č' => 'c',
        'è'..='ë' | 'È'..='Ë' | 'ē' | 'ę' | 'ě' => 'e',
        'ì'..='ï' | 'Ì'..='Ï' | 'ī' | 'ı' => 'i',
        'ñ' | 'Ñ' | 'ń' => 'n',
        'ò'..='ö' | 'Ò'..='Ö' | 'ø' | 'Ø' | 'ő' => 'o',
        'ù'..='ü' | 'Ù'..='Ü' | 'ű' => 'u',
        'ś' | 'š' => 's',
        'ß' => {
            into.push('s');
            's'
        }
        '\u{ff21}'..='\u{ff3a}' => char::from_u32(code - 0xff21 + 0x61).unwrap_or(letter),
        '\u{ff41}'..='\u{ff5a}' => char::from_u32(code - 0xff41 + 0x61).unwrap_or(letter),
        '\u{24b6}'..='\u{24cf}' => char::from_u32(code - 0x24b6 + 0x61).unwrap_or(letter),
        '\u{24d0}'..='\u{24e9}' => char::from_u32(code - 0x24d0 + 0x61).unwrap_or(letter),
        '\u{1d400}'..='\u{1d6a3}' => char::from_u32((code - 0x1d400) % 26 + 0x61).unwrap_or(letter),
        _ => {
            into.extend(letter.to_lowercase());
            return;
        }
    };
    into.push(plain);
}
