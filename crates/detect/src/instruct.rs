//! Whether text in data tells an agent what to do. The adversary writes a page, a mail or a file that an
//! agent will read, and puts orders in it.
//!
//! No single word decides. Words of several languages have categories; categories near each other make
//! signals, such as "drop what you were told" or "don't tell the user"; different signals near each other
//! add up to a score, and from a threshold on it is a finding.

use std::ops::Range;

use crate::bytes::{before, behind};
use crate::findings::Detector;
use crate::view::{Sink, View};

pub(crate) mod lexicon;
pub(crate) mod markup;

use lexicon::{
    ACT, ADDRESS, AS, BEFORE, DISCUSS, INSTEAD, LIMITS, LOOT, MODE, NEW, NOT, NOW, OBJECT, PRETEND,
    PROMPT, REVEAL, SCOPE, SECRETLY, SEND, SYSTEM, TASK, TELL, TOOL, URGENT, USER, VERB, WITHOUT,
    YOU, YOUR,
};

/// From which score on text counts as an instruction.
const THRESHOLD: u32 = 50;
/// Within how many words signals add up.
const REACH: usize = 70;

/// What a few categories near each other say. Each counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Drop what you were told.
    Override,
    /// The same, quoted in a text about attacks.
    Quoted,
    /// Drop rules, without saying whose.
    OverrideSome,
    /// Show what you were told.
    Reveal,
    /// Send what is secret.
    Exfiltrate,
    /// Don't tell the user.
    Conceal,
    /// You are someone else now.
    Persona,
    /// A mode without limits.
    Unlimited,
    /// Text that speaks to an assistant.
    Address,
    /// A new task.
    NewTask,
    /// It is urgent.
    Urgent,
    /// Before your task, do this.
    First,
    /// Run this tool.
    ToolOrder,
    /// Secretly.
    Secretly,
    /// The markers of a chat template.
    Template,
    /// A speaker's name at the start of a line.
    Speaker,
    /// A place that readers don't see.
    Concealed,
}

const SIGNALS: usize = Signal::Concealed as usize + 1;

const fn points(signal: Signal) -> u32 {
    match signal {
        Signal::Override | Signal::Template => 60,
        Signal::Reveal => 50,
        Signal::Conceal => 40,
        Signal::Quoted | Signal::OverrideSome | Signal::Persona | Signal::Concealed => 30,
        Signal::Exfiltrate
        | Signal::Unlimited
        | Signal::NewTask
        | Signal::Speaker
        | Signal::Address
        | Signal::First => 25,
        Signal::ToolOrder | Signal::Secretly => 15,
        Signal::Urgent => 10,
    }
}

/// How many categories there are.
const CATEGORIES: usize = 32;
/// "Never seen": farther than any reach.
const LONG_AGO: usize = usize::MAX / 2;

/// The words read so far, as far as they matter.
pub(crate) struct Story {
    /// How many words were read.
    pub(crate) index: usize,
    /// At which word each category was last seen.
    seen: [usize; CATEGORIES],
    /// At which word, and where in the text, each signal was last given.
    given: [(usize, usize); SIGNALS],
    /// Where the last word of override began.
    verb_start: usize,
    /// Up to where a reader sees nothing.
    pub(crate) concealed_until: usize,
    /// Up to where a tag was read.
    pub(crate) tag_until: usize,
    is_concealed: bool,
    spelled: Spelled,
}

/// Letters with a space between each.
struct Spelled {
    text: Vec<u8>,
    next: usize,
}

impl Story {
    pub(crate) const fn new(is_concealed: bool) -> Self {
        Self {
            index: LONG_AGO,
            seen: [0; CATEGORIES],
            given: [(0, 0); SIGNALS],
            verb_start: 0,
            concealed_until: 0,
            tag_until: 0,
            is_concealed,
            spelled: Spelled { text: Vec::new(), next: 0 },
        }
    }

    /// Takes a single letter; the categories of the word that the letters before it spell.
    pub(crate) fn spelled(&mut self, letter: u8, start: usize) -> u32 {
        if self.spelled.next != start {
            self.spelled.text.clear();
        }
        if self.spelled.text.len() < 16 {
            self.spelled.text.push(letter);
        }
        self.spelled.next = start + 2;
        if self.spelled.text.len() >= 3 { lexicon::categories(&self.spelled.text) } else { 0 }
    }

    fn near(&self, category: u32, words: usize) -> bool {
        let at = usize::try_from(category.trailing_zeros()).unwrap_or(0);
        self.seen.get(at).is_some_and(|seen| self.index.saturating_sub(*seen) <= words)
    }

    /// Takes a word that has categories.
    pub(crate) fn word(
        &mut self,
        view: &View<'_>,
        sink: &mut Sink,
        found: u32,
        range: Range<usize>,
    ) {
        let mut left = found;
        while left != 0 {
            if let Some(seen) =
                self.seen.get_mut(usize::try_from(left.trailing_zeros()).unwrap_or(0))
            {
                *seen = self.index;
            }
            left &= left - 1;
        }
        if found & VERB != 0 {
            self.verb_start = range.start;
        }
        let mut give = |story: &mut Self, signal| story.signal(view, sink, signal, range.clone());
        if found & (VERB | SCOPE | OBJECT) != 0 && self.near(VERB, 9) && self.near(OBJECT, 9) {
            if self.near(SCOPE, 9) {
                let is_quoted =
                    matches!(before(view.text, self.verb_start), b'"' | b'\'' | b'`' | 0x80..=0xff);
                let is_about = is_quoted && self.near(DISCUSS, 40);
                give(self, if is_about { Signal::Quoted } else { Signal::Override });
            } else if self.near(YOUR, 5) {
                give(self, Signal::OverrideSome);
            }
        }
        if found & USER != 0 && self.near(VERB, 3) {
            give(self, Signal::OverrideSome);
        }
        if found & (REVEAL | SYSTEM | PROMPT) != 0
            && self.near(REVEAL, 6)
            && self.near(PROMPT, 3)
            && (self.near(SYSTEM, 3) || self.near(YOUR, 4) && self.near(NEW | SCOPE, 4))
        {
            give(self, Signal::Reveal);
        }
        if found & (SEND | LOOT) != 0 && self.near(SEND, 12) && self.near(LOOT, 12) {
            give(self, Signal::Exfiltrate);
        }
        if found & (USER | TELL) != 0
            && self.near(USER, 6)
            && self.near(TELL, 6)
            && (self.near(NOT, 7) || self.near(WITHOUT, 7))
        {
            give(self, Signal::Conceal);
        }
        if found & NOW != 0 && self.near(YOU, 3) && self.near(AS, 2)
            || found & AS != 0 && self.near(NOW, 3) && self.near(YOU, 2)
            || found & (PRETEND | YOU) != 0 && self.near(PRETEND, 4) && self.near(YOU, 4)
        {
            give(self, Signal::Persona);
        }
        if found & (MODE | LIMITS) != 0
            && (self.near(MODE, 4)
                || self.near(LIMITS, 4) && (self.near(WITHOUT, 4) || self.near(NOT, 3)))
        {
            give(self, Signal::Unlimited);
        }
        if found & ADDRESS != 0 && (self.near(URGENT, 6) || self.near(YOU, 8))
            || found & (YOU | URGENT) != 0 && self.near(ADDRESS, 5)
        {
            give(self, Signal::Address);
        }
        if found & (TASK | OBJECT) != 0 && self.near(NEW, 3)
            || found & INSTEAD != 0 && (self.near(OBJECT, 12) || self.near(ADDRESS, 12))
        {
            give(self, Signal::NewTask);
        }
        if found & URGENT != 0 {
            give(self, Signal::Urgent);
        }
        if found & TASK != 0 && self.near(BEFORE, 8) && self.near(YOU, 8) {
            give(self, Signal::First);
        }
        if found & TOOL != 0 && self.near(ACT, 4) {
            give(self, Signal::ToolOrder);
        }
        if found & SECRETLY != 0 {
            give(self, Signal::Secretly);
        }
    }

    /// Takes a signal, and reports when the different signals near it add up.
    pub(crate) fn signal(
        &mut self,
        view: &View<'_>,
        sink: &mut Sink,
        signal: Signal,
        range: Range<usize>,
    ) {
        self.give(signal, range.start);
        if self.is_concealed || range.start < self.concealed_until {
            self.give(Signal::Concealed, range.start);
        }
        let mut score = 0;
        let mut start = range.start;
        for (at, (word, place)) in self.given.iter().enumerate() {
            if self.index.saturating_sub(*word) <= REACH {
                score += ALL.get(at).map_or(0, |signal| points(*signal));
                start = start.min(*place);
            }
        }
        if score >= THRESHOLD {
            let start = start.min(self.verb_start_near(start));
            sink.report(view, Detector::Instruction, start..range.end.max(start));
            self.given = [(0, 0); SIGNALS];
            self.seen = [0; CATEGORIES];
        }
    }

    fn verb_start_near(&self, start: usize) -> usize {
        if start.saturating_sub(self.verb_start) < 120 { self.verb_start } else { start }
    }

    fn give(&mut self, signal: Signal, start: usize) {
        if let Some(given) = self.given.get_mut(signal as usize) {
            *given = (self.index, start);
        }
    }

    /// A colon: after the name of a speaker at the start of a line?
    pub(crate) fn colon(&mut self, view: &View<'_>, sink: &mut Sink, position: usize) {
        let line = behind(view.text, position, 24);
        let line = line.rsplit(|byte| *byte == b'\n').next().unwrap_or(line);
        if line.len() >= 24 {
            if self.near(ADDRESS, 0) {
                self.signal(view, sink, Signal::Address, position - line.len()..position);
            }
            return;
        }
        let name: Vec<u8> = line
            .iter()
            .copied()
            .filter(|byte| !matches!(byte, b'#' | b'*' | b'>' | b' ' | b'[' | b']' | b'"' | b'-'))
            .map(|byte| byte.to_ascii_lowercase())
            .collect();
        let is_marked = line.windows(3).any(|three| three == b"###");
        match name.as_slice() {
            b"system" | b"instruction" | b"instructions" if is_marked => {
                self.signal(view, sink, Signal::Template, position - line.len()..position);
            }
            b"system" | b"systemprompt" | b"assistant" | b"human" | b"systemmessage"
            | b"systemoverride" | b"adminoverride" | b"assistantnote" | b"notetoassistant"
            | b"notetoai" => {
                self.signal(view, sink, Signal::Speaker, position - line.len()..position);
            }
            _ if self.near(ADDRESS, 0) => {
                self.signal(view, sink, Signal::Address, position - line.len()..position);
            }
            _ => {}
        }
    }
}

const ALL: [Signal; SIGNALS] = [
    Signal::Override,
    Signal::Quoted,
    Signal::OverrideSome,
    Signal::Reveal,
    Signal::Exfiltrate,
    Signal::Conceal,
    Signal::Persona,
    Signal::Unlimited,
    Signal::Address,
    Signal::NewTask,
    Signal::Urgent,
    Signal::First,
    Signal::ToolOrder,
    Signal::Secretly,
    Signal::Template,
    Signal::Speaker,
    Signal::Concealed,
];
