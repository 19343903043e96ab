//! What the variable of a loop stands for, so that `grep x "$f"` in a loop over known names is judged by those names.
//!
//! The adversary shows a harmless list and has the variable hold something else when it is used: it sets it a
//! second time, feeds the loop from elsewhere, or uses it where the loop doesn't set it. So a value is only known
//! between `do` and `done`, and only if the line defines that variable in no other way.

use std::collections::BTreeMap;

use super::args::assignment;
use super::parse::{Direction, Filling, Other, Script, Simple, Word};
use super::wrap::{lists_files, passes_lines};
use super::{Feed, Line};

/// A loop that is open.
pub(super) struct Loop {
    name: String,
    values: Values,
}

enum Values {
    /// One of these.
    Words(Vec<String>),
    /// Names below folders that the same line names.
    Below,
    Unknown,
}

/// How often a script defines which variable, other than by `for`.
#[derive(Default)]
pub(super) struct Defined {
    /// Something can define any variable.
    any: bool,
    names: BTreeMap<String, usize>,
    /// Options of commands that store into a variable, whose name may be glued to one.
    options: Vec<String>,
}

const VALUES_MAX: usize = 256;
const VARIANTS_MAX: usize = 64;
const COMMANDS_MAX: usize = 1024;

impl Defined {
    pub(super) fn by(script: &Script) -> Self {
        let mut defined = Self::default();
        defined.script(script);
        defined
    }

    fn script(&mut self, script: &Script) {
        for simple in script.pipelines.iter().flatten() {
            simple.groups.iter().for_each(|group| self.script(group));
            let targets = simple.redirects.iter().map(|redirect| &redirect.target);
            for word in simple.words.iter().chain(&simple.input).chain(targets) {
                word.nested.iter().for_each(|script| self.script(script));
            }
            self.words(&simple.words);
        }
    }

    fn words(&mut self, words: &[Word]) {
        const ANY: &[&str] = &[
            "declare",
            "typeset",
            "local",
            "readonly",
            "getopts",
            "mapfile",
            "readarray",
            "let",
            "eval",
            "select",
            "trap",
            "enable",
            "alias",
            "exec",
            "coproc",
        ];
        const STORES: &[&str] = &["read", "printf", "print", "unset", "wait", "vared"];
        let texts = || words.iter().map(|word| word.text.as_str());
        self.any |= texts().any(|text| ANY.contains(&text));
        let stores = texts().any(|text| STORES.contains(&text));
        for text in texts() {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (lead, rest) = text.split_at(end.unwrap_or(text.len()));
            if assignment(text).is_some()
                || rest.starts_with('[') && rest.contains('=')
                || stores && (rest.is_empty() || rest.starts_with(['[', '?']))
            {
                *self.names.entry(lead.to_owned()).or_default() += 1;
            } else if stores && text.starts_with('-') {
                self.options.push(text.to_owned());
            }
        }
    }

    fn times(&self, name: &str) -> usize {
        if self.any || self.options.iter().any(|option| option.ends_with(name)) {
            return usize::MAX;
        }
        self.names.get(name).copied().unwrap_or_default()
    }
}

impl Line {
    /// Closes the loops that a command ends and opens the one that it begins. `later` comes after it.
    pub(super) fn loops<'a>(
        &mut self,
        simple: &Simple,
        feed: Feed<'_>,
        later: impl Iterator<Item = &'a Simple>,
    ) {
        let mut rest = simple.words.as_slice();
        while let [first, tail @ ..] = rest {
            if first.quoted || first.computed {
                return;
            }
            match first.text.as_str() {
                "if" | "then" | "else" | "elif" | "do" | "!" | "{" | "fi" | "}" => {}
                "done" => self.close(),
                "for" => {
                    let opened = self.for_loop(tail);
                    self.open(opened);
                    return;
                }
                "while" | "until" => {
                    let first = rest.len() == simple.words.len() && first.text == "while";
                    let opened = first.then(|| self.read_loop(tail, feed, later)).flatten();
                    self.open(opened);
                    return;
                }
                _ => return,
            }
            rest = tail;
        }
    }

    fn open(&mut self, opened: Option<Loop>) {
        let opened = opened.unwrap_or(Loop { name: String::new(), values: Values::Unknown });
        self.loops.push(opened);
    }

    fn close(&mut self) {
        let Some(closed) = self.loops.pop() else { return };
        // The inner loop leaves its own value behind.
        for outer in self.loops.iter_mut().filter(|outer| outer.name == closed.name) {
            outer.values = Values::Unknown;
        }
    }

    fn for_loop(&self, words: &[Word]) -> Option<Loop> {
        let [name, of, list @ ..] = words else { return None };
        if name.computed || of.text != "in" || self.defined.times(&name.text) > 0 {
            return None;
        }
        let name = name.text.clone();
        if let [word] = list
            && word.text == "$"
            && word.other == Other::Nothing
            && let [script] = word.nested.as_slice()
        {
            let values = if lists_only(script) { Values::Below } else { Values::Unknown };
            return Some(Loop { name, values });
        }
        let mut values = Vec::new();
        for list in self.filled("for", list)? {
            values.extend(list.into_iter().map(|word| word.text));
        }
        let known = values.len() <= VALUES_MAX && values.iter().all(|value| !value.is_empty());
        let values = if known { Values::Words(values) } else { Values::Unknown };
        Some(Loop { name, values })
    }

    /// `while read NAME` behind a command that lists names.
    fn read_loop<'a>(
        &self,
        words: &[Word],
        feed: Feed<'_>,
        later: impl Iterator<Item = &'a Simple>,
    ) -> Option<Loop> {
        let mut words = words;
        while let [first, rest @ ..] = words
            && first.text.starts_with("IFS=")
        {
            words = rest;
        }
        let name = match words {
            [read, name] if read.text == "read" => name,
            [read, raw, name] if read.text == "read" && raw.text == "-r" => name,
            _ => return None,
        };
        let fed = feed.upstream.is_some_and(lists_files) && !feed.redirected;
        let closed = closing(later).is_some_and(|done| {
            let reads = |redirect: &super::Redirect| redirect.direction == Direction::Read;
            done.input.is_empty() && !done.moved && !done.redirects.iter().any(reads)
        });
        let sole = !name.computed && self.defined.times(&name.text) == 1;
        (fed && feed.input.is_empty() && closed && sole)
            .then(|| Loop { name: name.text.clone(), values: Values::Below })
    }

    /// The words of a command, some of them computed, with each value that the loops give them.
    pub(super) fn variants(&mut self, program: &str, words: &[Word]) -> Option<Vec<Vec<Word>>> {
        if self.loops.is_empty() || !words.iter().any(|word| word.computed) {
            return None;
        }
        let variants = self.filled(program, words)?;
        self.words_left = self.words_left.checked_sub(variants.iter().map(Vec::len).sum())?;
        Some(variants)
    }

    /// The words with each value that their loops give them, if that makes all of them known.
    fn filled(&self, program: &str, words: &[Word]) -> Option<Vec<Vec<Word>>> {
        let mut names: Vec<&str> = Vec::new();
        for word in words.iter().filter(|word| word.computed) {
            if word.other != Other::Nothing {
                return None;
            }
            for hole in &word.holes {
                match &hole.filling {
                    Filling::Variable(name) => {
                        if !names.contains(&name.as_str()) {
                            names.push(name);
                        }
                    }
                    // A digit more or less changes nothing of what these do.
                    Filling::Number if matches!(program, "sed" | "head" | "tail" | "seq") => {}
                    _ => return None,
                }
            }
        }
        let mut variants: Vec<Vec<(&str, &str)>> = vec![Vec::new()];
        for name in names {
            let values: Vec<&str> = match self.value_of(name)? {
                Values::Words(values) => values.iter().map(String::as_str).collect(),
                Values::Below if reads_files(program) && wholly(words, name) => vec!["."],
                Values::Below | Values::Unknown => return None,
            };
            let many = variants.len() * values.len();
            if many > VARIANTS_MAX || many * words.len() > VALUES_MAX * 4 {
                return None;
            }
            let with = |value| {
                variants.iter().map(move |chosen| {
                    let mut chosen = chosen.clone();
                    chosen.push((name, value));
                    chosen
                })
            };
            variants = values.into_iter().flat_map(with).collect();
        }
        let fill =
            |chosen: &Vec<(&str, &str)>| words.iter().map(|word| fill(word, chosen)).collect();
        variants.iter().map(fill).collect()
    }

    fn value_of(&self, name: &str) -> Option<&Values> {
        let mut open = self.loops.iter().filter(|open| open.name == name);
        let found = open.next_back()?;
        open.next().is_none().then_some(&found.values)
    }
}

/// Where the loop that begins in front of `rest` ends.
fn closing<'a>(rest: impl Iterator<Item = &'a Simple>) -> Option<&'a Simple> {
    let mut open = 1_usize;
    for simple in rest.take(COMMANDS_MAX) {
        for word in &simple.words {
            if word.quoted || word.computed {
                break;
            }
            match word.text.as_str() {
                "if" | "then" | "else" | "elif" | "do" | "!" | "{" | "fi" | "}" => {}
                "done" => open -= 1,
                "for" | "while" | "until" | "select" => {
                    open += 1;
                    break;
                }
                _ => break,
            }
            if open == 0 {
                return Some(simple);
            }
        }
    }
    None
}

/// Whether a variable is always a word of its own.
fn wholly(words: &[Word], name: &str) -> bool {
    let names = |word: &&Word| {
        word.holes.iter().any(|hole| hole.filling == Filling::Variable(name.to_owned()))
    };
    words.iter().filter(names).all(|word| word.text == "$")
}

fn lists_only(script: &Script) -> bool {
    let [pipeline] = script.pipelines.as_slice() else { return false };
    let Some((first, rest)) = pipeline.split_first() else { return false };
    lists_files(first) && first.groups.is_empty() && rest.iter().all(passes_lines)
}

fn fill(word: &Word, chosen: &[(&str, &str)]) -> Option<Word> {
    if !word.computed {
        return Some(word.clone());
    }
    let mut text = String::new();
    let mut from = 0;
    let mut glob = word.glob;
    for hole in &word.holes {
        text.push_str(word.text.get(from..hole.at)?);
        from = hole.at + 1;
        let value = match &hole.filling {
            Filling::Variable(name) => chosen.iter().find(|(of, _)| of == name)?.1,
            _ => "1",
        };
        // The shell would make several words of it.
        if hole.bare && value.contains(char::is_whitespace) {
            return None;
        }
        glob |= value.contains(['*', '?', '[']);
        text.push_str(value);
    }
    text.push_str(word.text.get(from..)?);
    Some(Word { text, glob, quoted: word.quoted, ..Word::default() })
}

/// Programs that do nothing to a file that is named to them but read it.
fn reads_files(program: &str) -> bool {
    matches!(
        program,
        "cat"
            | "head"
            | "tail"
            | "wc"
            | "nl"
            | "file"
            | "stat"
            | "ls"
            | "du"
            | "cut"
            | "diff"
            | "cmp"
            | "md5sum"
            | "sha1sum"
            | "sha256sum"
            | "grep"
            | "egrep"
            | "fgrep"
            | "jq"
            | "sed"
            | "basename"
            | "dirname"
            | "realpath"
            | "test"
            | "["
            | "[["
    )
}
