//! A reader of POSIX shell command lines that says "I cannot tell" rather than guess.
//!
//! The adversary writes a line that looks like one command and runs another: quotes, escapes,
//! substitutions, here-documents. What this reader does not understand is [`Opaque`].

mod word;

/// The line cannot be read with confidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opaque;

/// A parsed script: pipelines of simple commands.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    pub pipelines: Vec<Vec<Simple>>,
}

/// One simple command, or one parenthesised group.
#[derive(Debug, Clone, Default)]
pub(super) struct Simple {
    pub words: Vec<Word>,
    pub redirects: Vec<Redirect>,
    /// Bodies of here-documents and here-strings.
    pub input: Vec<Word>,
    /// Some input is not what standard input will be: another descriptor is read into or from.
    pub moved: bool,
    pub groups: Vec<Script>,
}

/// One word after quote removal.
#[derive(Debug, Clone, Default)]
pub(super) struct Word {
    pub text: String,
    /// Part of the text is only known when the shell runs.
    pub computed: bool,
    /// Where in the text an expansion stands, as a `$`.
    pub holes: Vec<Hole>,
    /// Something else than a hole makes it computed.
    pub other: Other,
    pub quoted: bool,
    /// Holds an unquoted `*`, `?` or `[`.
    pub glob: bool,
    /// Scripts that run to make the word.
    pub nested: Vec<Script>,
}

/// An expansion within a word.
#[derive(Debug, Clone)]
pub(super) struct Hole {
    /// The byte of its `$` in the text.
    pub at: usize,
    pub filling: Filling,
    /// Outside double quotes: it may become several words, or a pattern.
    pub bare: bool,
}

/// What an expansion puts into its hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filling {
    /// The value of the variable of this name, as it is.
    Variable(String),
    /// A number.
    Number,
    Anything,
}

/// What makes a word computed, beside its holes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Other {
    #[default]
    Nothing,
    /// Only that braces make several words of it.
    Braces,
    Anything,
}

/// A redirection that names a file.
#[derive(Debug, Clone)]
pub(super) struct Redirect {
    pub direction: Direction,
    pub target: Word,
}

/// Which way a redirection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

impl Word {
    /// A word that stands for exactly this text.
    pub fn literal(text: &str) -> Self {
        Self { text: text.to_owned(), quoted: true, ..Self::default() }
    }

    /// A word of which nothing is known.
    pub fn unknown() -> Self {
        Self { computed: true, other: Other::Anything, ..Self::default() }
    }
}

const DEPTH_MAX: u8 = 8;
const LINE_MAX: usize = 65_536;

/// Reads a whole script.
pub(super) fn parse(text: &str) -> Result<Script, Opaque> {
    parse_at(text, 0)
}

fn parse_at(text: &str, depth: u8) -> Result<Script, Opaque> {
    // A carriage return or other control character shows a person one line and the shell another.
    let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.len() > LINE_MAX || depth > DEPTH_MAX || text.chars().any(odd) {
        return Err(Opaque);
    }
    let mut parser = Parser { chars: text.chars().collect(), at: 0, depth, skip: None };
    parser.script(None)
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: u8,
    /// Where the line with pending here-documents ends, and where their bodies do.
    skip: Option<(usize, usize)>,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> Option<char> {
        self.chars.get(self.at.saturating_add(by)).copied()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek();
        if c.is_some() {
            self.at += 1;
        }
        c
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += 1;
        }
        found
    }

    fn nested(&mut self) -> Result<Script, Opaque> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Opaque);
        }
        let script = self.script(Some(')'))?;
        self.depth -= 1;
        Ok(script)
    }

    fn script(&mut self, until: Option<char>) -> Result<Script, Opaque> {
        let mut build = Build::default();
        loop {
            if self.skip.is_some_and(|(line_end, _)| self.at > line_end) {
                return Err(Opaque);
            }
            match self.peek() {
                None if until.is_none() => return Ok(build.finish()),
                None => return Err(Opaque),
                Some(')') => {
                    self.at += 1;
                    return if until == Some(')') { Ok(build.finish()) } else { Err(Opaque) };
                }
                Some('(') => {
                    self.at += 1;
                    // `f()` defines a function, `((` is arithmetic, `a=(` an array.
                    if !build.simple.words.is_empty() || self.peek() == Some('(') {
                        return Err(Opaque);
                    }
                    let group = self.nested()?;
                    build.simple.groups.push(group);
                }
                Some(' ' | '\t') => self.at += 1,
                Some('\\') if self.ahead(1) == Some('\n') => self.at += 2,
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                Some('\n') => {
                    self.at = match self.skip.take() {
                        Some((_, bodies_end)) => bodies_end,
                        None => self.at + 1,
                    };
                    build.end_pipeline();
                }
                Some(';') => {
                    self.at += 1;
                    build.end_pipeline();
                }
                Some('&') if self.ahead(1) == Some('>') => {
                    self.at += 1;
                    self.redirect(&mut build.simple)?;
                }
                Some('&') => {
                    self.at += if self.ahead(1) == Some('&') { 2 } else { 1 };
                    build.end_pipeline();
                }
                Some('|') => match self.ahead(1) {
                    Some('|') => {
                        self.at += 2;
                        build.end_pipeline();
                    }
                    Some('&') => {
                        self.at += 2;
                        build.end_simple();
                    }
                    _ => {
                        self.at += 1;
                        build.end_simple();
                    }
                },
                Some('<' | '>') if self.ahead(1) != Some('(') => {
                    self.redirect(&mut build.simple)?;
                }
                Some(_) => {
                    let word = self.word()?;
                    let numbered = !word.quoted
                        && !word.text.is_empty()
                        && word.text.chars().all(|c| c.is_ascii_digit())
                        && matches!(self.peek(), Some('<' | '>'))
                        && self.ahead(1) != Some('(');
                    if numbered {
                        build.simple.moved |= self.peek() == Some('<') && word.text != "0";
                        self.redirect(&mut build.simple)?;
                    } else {
                        build.simple.words.push(word);
                    }
                }
            }
        }
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.at += 1;
        }
    }

    fn redirect(&mut self, simple: &mut Simple) -> Result<(), Opaque> {
        let reads = self.take() == Some('<');
        if reads && self.eat('<') {
            if self.eat('<') {
                self.blanks();
                let word = self.word()?;
                simple.input.push(word);
                return Ok(());
            }
            let strip = self.eat('-');
            self.blanks();
            let delimiter = self.word()?;
            let body = self.heredoc(&delimiter, if strip { Tabs::Strip } else { Tabs::Keep })?;
            simple.input.push(body);
            return Ok(());
        }
        let mut direction = if reads { Direction::Read } else { Direction::Write };
        let mut duplicates = false;
        match self.peek() {
            Some('>') => {
                self.at += 1;
                direction = Direction::Write;
            }
            Some('|') if !reads => self.at += 1,
            Some('&') => {
                self.at += 1;
                duplicates = true;
                simple.moved |= reads;
            }
            _ => {}
        }
        self.blanks();
        let target = self.word()?;
        let digits = target.text.chars().all(|c| c.is_ascii_digit() || c == '-');
        if target.text.is_empty() && !target.quoted && !target.computed {
            return Err(Opaque);
        }
        if !(duplicates && digits && !target.computed) {
            simple.redirects.push(Redirect { direction, target });
        }
        Ok(())
    }

    fn heredoc(&mut self, delimiter: &Word, tabs: Tabs) -> Result<Word, Opaque> {
        if delimiter.computed || delimiter.text.is_empty() {
            return Err(Opaque);
        }
        let (line_end, start) = match self.skip {
            Some(skip) => skip,
            None => {
                let rest = self.chars.get(self.at..).unwrap_or_default();
                let line_end = self.at + rest.iter().position(|c| *c == '\n').ok_or(Opaque)?;
                (line_end, line_end + 1)
            }
        };
        let mut at = start;
        let mut body = String::new();
        while at < self.chars.len() {
            let rest = self.chars.get(at..).unwrap_or_default();
            let length = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
            let line: String = rest.iter().take(length).collect();
            let line = if tabs == Tabs::Strip { line.trim_start_matches('\t') } else { &line };
            at = at.saturating_add(length + 1).min(self.chars.len());
            if line == delimiter.text {
                self.skip = Some((line_end, at));
                return if delimiter.quoted {
                    Ok(Word::literal(&body))
                } else {
                    self.expanded(&body)
                };
            }
            body.push_str(line);
            body.push('\n');
        }
        Err(Opaque)
    }

    /// An unquoted here-document's body is read as if between double quotes.
    fn expanded(&self, body: &str) -> Result<Word, Opaque> {
        if self.depth >= DEPTH_MAX {
            return Err(Opaque);
        }
        let chars = body.chars().collect();
        let mut inner = Self { chars, at: 0, depth: self.depth + 1, skip: None };
        let mut word = Word { quoted: true, ..Word::default() };
        while let Some(c) = inner.take() {
            inner.quoted_char(c, &mut word)?;
        }
        Ok(word)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tabs {
    Keep,
    Strip,
}

#[derive(Default)]
struct Build {
    script: Script,
    pipeline: Vec<Simple>,
    simple: Simple,
}

impl Build {
    fn end_simple(&mut self) {
        let simple = std::mem::take(&mut self.simple);
        let empty = simple.words.is_empty()
            && simple.redirects.is_empty()
            && simple.groups.is_empty()
            && simple.input.is_empty();
        if !empty {
            self.pipeline.push(simple);
        }
    }

    fn end_pipeline(&mut self) {
        self.end_simple();
        if !self.pipeline.is_empty() {
            self.script.pipelines.push(std::mem::take(&mut self.pipeline));
        }
    }

    fn finish(mut self) -> Script {
        self.end_pipeline();
        self.script
    }
}
