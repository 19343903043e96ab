//! The one pass over a block: tokens, words and single characters, each handed to those who know it. The
//! adversary writes what costs more to look at than to send, so each byte is looked at a bounded number of times.

use std::ops::Range;

use crate::bytes::{at, before, decode, is_word, part};
use crate::hidden::Hidden;
use crate::instruct::{Story, markup};
use crate::view::{Sink, View};
use crate::{encoded, hidden, instruct, personal, secret};

pub(crate) const LOWER: u8 = 1;
pub(crate) const UPPER: u8 = 2;
pub(crate) const DIGIT: u8 = 4;
const JOINT: u8 = 8;
const TOKEN: u8 = LOWER | UPPER | DIGIT | JOINT;
const SPECIAL: u8 = 16;
const HIGH: u8 = 32;

/// Shortest token that is looked at for secrets and encodings.
const TOKEN_MIN: usize = 14;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::indexing_slicing, reason = "evaluated when compiled")]
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        {
            table[byte] = match byte as u8 {
                b'a'..=b'z' => LOWER,
                b'A'..=b'Z' => UPPER,
                b'0'..=b'9' => DIGIT,
                b'_' | b'-' | b'+' | b'/' | b'.' | b'~' => JOINT,
                b'@' | b':' | b'=' | b'<' | b'[' | b'%' | b'&' | b',' | 0x1b | b'\n' => SPECIAL,
                0x80..=0xff => HIGH,
                _ => 0,
            };
        }
        byte += 1;
    }
    table
}

#[inline]
pub(crate) fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

struct Walker<'v, 't, 's> {
    view: &'v View<'t>,
    text: &'t [u8],
    sink: &'s mut Sink,
    story: Story,
    hidden: Hidden,
    /// Where the last number, percent-encoded run and encoded text ended.
    number_end: usize,
    percent_end: usize,
    encoded_end: usize,
    /// Up to where a certificate or the like explains random-looking text.
    public_end: usize,
    /// Up to where no end of such a block is.
    endless_until: usize,
    /// The `@` of the last address with a name and password.
    address_sign: usize,
}

pub(crate) fn walk(view: &View<'_>, sink: &mut Sink) {
    let mut walker = Walker {
        view,
        text: view.text,
        sink,
        story: Story::new(view.concealed),
        hidden: Hidden::default(),
        number_end: 0,
        percent_end: 0,
        encoded_end: 0,
        public_end: 0,
        endless_until: 0,
        address_sign: 0,
    };
    let mut position = 0;
    while let Some(byte) = view.text.get(position) {
        let kind = class(*byte);
        position = if kind & TOKEN != 0 {
            walker.token(position)
        } else if kind == HIGH {
            walker.high(position)
        } else {
            if kind == SPECIAL {
                walker.special(position, *byte);
            }
            position + 1
        };
    }
    walker.hidden.finish(view, walker.sink);
}

impl Walker<'_, '_, '_> {
    fn token(&mut self, start: usize) -> usize {
        let mut kinds = 0;
        let mut end = start;
        while let Some(byte) = self.text.get(end) {
            let kind = class(*byte);
            if kind & TOKEN == 0 {
                break;
            }
            kinds |= kind;
            end += 1;
        }
        if kinds & (DIGIT | JOINT) == 0 {
            // The common case: one plain word.
            if at(self.text, end) >= 0x80 {
                return self.mixed_word(start);
            }
            if end - start >= TOKEN_MIN {
                self.long(start..end, kinds);
            }
            self.word(start..end);
            return end;
        }
        if end - start >= TOKEN_MIN {
            self.long(start..end, kinds);
        } else if end - start == 10 && part(self.text, start..end) == b"-----BEGIN" {
            self.block(start);
        }
        if at(self.text, start) == b'-' && at(self.text, end) == b' ' && kinds & LOWER != 0 {
            secret::assign::option(self.view, self.sink, start..end);
        }
        if kinds & DIGIT != 0 {
            self.numbers(start..end);
        }
        let mut from = start;
        while from < end {
            let length =
                crate::bytes::run(self.text, from, end - from, |byte| byte.is_ascii_alphanumeric());
            let to = from + length;
            if to == end && length > 0 && at(self.text, end) >= 0x80 {
                return self.mixed_word(from);
            }
            if length > 0 && from >= self.encoded_end {
                self.piece(from..to);
            }
            from = to + 1;
        }
        end
    }

    /// A PEM header. Its end is looked for once, also where many begin.
    fn block(&mut self, start: usize) {
        let is_private = secret::pem(self.view, self.sink, start);
        if !is_private && start >= self.public_end && start >= self.endless_until {
            let (end, is_seen) = secret::public_block(self.text, start);
            if is_seen {
                self.public_end = end;
            } else {
                self.endless_until = end;
            }
        }
    }

    /// What only a long token can be.
    fn long(&mut self, range: Range<usize>, kinds: u8) {
        if range.end <= self.encoded_end {
            return;
        }
        let range = self.view.run_start(range.start, range.end)..range.end;
        if let Some(found) = secret::token(self.view, self.sink, &range, kinds) {
            // What is explained is not looked at as something else.
            self.unknown(range.start..found.start, kinds);
            self.unknown(found.end..range.end, kinds);
        } else {
            self.unknown(range, kinds);
        }
    }

    /// A token, or a part of one, that has no known form.
    fn unknown(&mut self, range: Range<usize>, kinds: u8) {
        if range.len() < TOKEN_MIN {
            return;
        }
        if let Some(end) = encoded::token(self.view, self.sink, &range, kinds) {
            self.encoded_end = self.encoded_end.max(end);
        } else if range.start >= self.encoded_end.max(self.public_end) {
            secret::entropy::token(self.view, self.sink, &range, kinds);
        }
    }

    /// Letters and digits between joints.
    fn piece(&mut self, range: Range<usize>) {
        let text = part(self.text, range.clone());
        if text.iter().all(u8::is_ascii_alphabetic) {
            self.word(range);
        } else if text.len() <= 16 && text.iter().filter(|b| b.is_ascii_alphabetic()).count() >= 3 {
            let mut folded = [0; 16];
            self.story.index += 1;
            let found = instruct::lexicon::categories(instruct::lexicon::unleet(text, &mut folded));
            self.story.word(self.view, self.sink, found, range);
        } else {
            self.story.index += 1;
        }
    }

    fn word(&mut self, range: Range<usize>) {
        self.story.index += 1;
        let text = part(self.text, range.clone());
        let found = if let [letter] = text {
            self.story.spelled(*letter, range.start)
        } else {
            instruct::lexicon::categories(text)
        };
        if found != 0 {
            self.story.word(self.view, self.sink, found, range);
        }
    }

    /// A word with letters beyond ASCII, or with invisible characters between its letters.
    fn mixed_word(&mut self, start: usize) -> usize {
        let word = hidden::word(self.text, start);
        self.story.index += 1;
        self.hidden.word(self.view, self.sink, &word);
        let found = instruct::lexicon::categories(word.folded.as_bytes());
        self.story.word(self.view, self.sink, found, word.range.clone());
        word.range.end.max(start + 1)
    }

    fn high(&mut self, start: usize) -> usize {
        let Some((found, length)) = decode(self.text, start) else {
            return start + 1;
        };
        if instruct::lexicon::is_unspaced(found) {
            self.story.index += usize::from(start.is_multiple_of(2));
            self.hidden.plain(found);
            for bytes in [6, 9, 12] {
                let text = part(self.text, start..start + bytes);
                let categories = instruct::lexicon::unspaced(text);
                if categories != 0 {
                    self.story.index += 1;
                    self.story.word(self.view, self.sink, categories, start..start + bytes);
                }
            }
            return start + length;
        }
        if found.is_alphabetic() && !hidden::is_invisible(found) {
            return self.mixed_word(start);
        }
        self.hidden.character(self.view, self.sink, found, start, length)
    }

    fn special(&mut self, position: usize, byte: u8) {
        let (view, text) = (self.view, self.text);
        match byte {
            b'@' if position != self.address_sign => {
                personal::mail::at_sign(view, self.sink, position);
            }
            b',' if matches!(before(text, position), b'"' | b'\'') => {
                secret::assign::separator(view, self.sink, position);
            }
            b':' if part(text, position..position + 3) == b"://" => {
                self.address_sign = secret::assign::address(view, self.sink, position);
            }
            b':' | b'=' => {
                secret::assign::separator(view, self.sink, position);
                if byte == b':' {
                    self.story.colon(view, self.sink, position);
                }
            }
            b'<' | b'[' => markup::opening(view, self.sink, &mut self.story, position),
            b'%' if position >= self.percent_end => {
                self.percent_end = encoded::percent(view, self.sink, position);
            }
            b'&' if position >= self.percent_end && at(text, position + 1) == b'#' => {
                self.percent_end = encoded::references(view, self.sink, position);
            }
            b'\n' if before(text, position) == b'\n' => self.story.index += 4,
            0x1b => hidden::terminal(view, self.sink, position),
            _ => {}
        }
    }

    fn numbers(&mut self, token: Range<usize>) {
        let mut from = token.start.max(self.number_end);
        while from < token.end {
            let here = at(self.text, from);
            let is_start = here.is_ascii_digit() && !is_word(before(self.text, from));
            if is_start {
                self.number_end = personal::number(self.view, self.sink, from).max(from + 1);
                from = self.number_end;
            } else {
                from += 1;
            }
        }
        personal::lettered(self.view, self.sink, token);
    }
}
