//! What a shell command line would do: the highest of what its commands would do.
//!
//! The adversary hides a dangerous command behind quotes, wrappers, substitutions, pipes or a
//! change of folder. Commands are judged one by one; what cannot be read with confidence is
//! `shell:opaque`, never harmless.

mod args;
mod files;
mod forge;
mod git;
mod inline;
mod lead;
mod loops;
mod names;
mod net;
mod own;
mod packages;
mod parse;
mod programs;
mod proxy;
mod system;
mod tools;
mod wrap;

use tipstaff_core::Tier;

use self::args::{assignment, looks_like_path, option_value, same_file};
use self::lead::{Lead, Leads};
use self::loops::{Defined, Loop};
pub(crate) use self::names::{CLASSES, steers_code};
use self::parse::{Direction, Redirect, Script, Simple, Word};
use crate::{
    Basis, Meaning, OWN_HOME, UNCLASSIFIED, kind::Reach, meaning, paths::lexical_absolute,
    reach::join,
};

/// What a line comes to.
pub(crate) struct Judged {
    pub class: &'static str,
    pub tier: Tier,
    pub basis: Basis,
    /// Path-like texts, relative ones joined to each folder that a `cd` may have led to.
    pub paths: Vec<String>,
    /// What all its commands mean together.
    pub means: Meaning,
    /// Where it leads, if that is known of all of it.
    pub reach: Option<Reach>,
}

/// Judges a line that a shell would read, started in `base` ("" for the unknown current folder).
pub(crate) fn judge_line(text: &str, base: &str) -> Judged {
    let mut line = Line::new(base);
    line.text(text);
    line.finish()
}

/// Judges an argument vector, which no shell reads.
pub(crate) fn judge_words(words: &[&str], base: &str) -> Judged {
    let mut line = Line::new(base);
    let words: Vec<Word> = words.iter().map(|word| Word::literal(word)).collect();
    line.command(&words, Feed::default());
    line.finish()
}

/// What a command reads on its standard input.
#[derive(Clone, Copy, Default)]
struct Feed<'a> {
    /// The command before it in the pipeline.
    upstream: Option<&'a Simple>,
    input: &'a [Word],
    /// It reads a file, and not what comes down the pipeline.
    redirected: bool,
    /// Some of the input is for another descriptor, or comes from one.
    moved: bool,
    /// What is found or read is put into its words.
    fills: bool,
}

const DEPTH_MAX: u8 = 12;
const BASES_MAX: usize = 8;
const WORDS_MAX: usize = 4096;

struct Line {
    findings: Vec<(Tier, &'static str)>,
    paths: Vec<String>,
    /// The folders that relative paths may be relative to.
    bases: Vec<String>,
    /// Files that a download of this line writes.
    downloaded: Vec<String>,
    downloads: bool,
    /// Some interpreter takes its program from a pipe or a substitution.
    runs_input: bool,
    /// Some interpreter is given its program in the line itself.
    runs_inline: bool,
    depth: u8,
    /// The loops that are open, and what else defines variables.
    loops: Vec<Loop>,
    defined: Defined,
    /// How many words loops may still make of one.
    words_left: usize,
    leads: Leads,
}

impl Line {
    fn new(base: &str) -> Self {
        Self {
            findings: Vec::new(),
            paths: Vec::new(),
            bases: vec![base.to_owned()],
            downloaded: Vec::new(),
            downloads: false,
            runs_input: false,
            runs_inline: false,
            depth: 0,
            loops: Vec::new(),
            defined: Defined::default(),
            words_left: WORDS_MAX,
            leads: Leads::default(),
        }
    }

    fn found(&mut self, tier: Tier, class: &'static str) {
        self.findings.push((tier, class));
        // What the shell keeps in mind may change what comes after it.
        self.leads.lost |= class == "shell:state";
    }

    /// What others see, and where it leads.
    fn led(&mut self, class: &'static str, lead: Option<Lead>) {
        self.found(Tier::T4, class);
        self.leads.add(lead);
    }

    /// Where the line leads, if each command that others see says so, and what else it does stays in its folder.
    fn reach(&self) -> Option<Reach> {
        let high = self.findings.iter().filter(|(tier, _)| *tier > Tier::T3).count();
        let local = |(tier, class): &(Tier, &str)| {
            *tier != Tier::T3 || matches!(*class, "git:commit" | "git:write" | "fs:write")
        };
        let Leads { acts, here, lost } = &self.leads;
        let known = !lost
            && high > 0
            && acts.len() == high
            && self.findings.iter().all(local)
            && !self.runs_inline
            && !self.runs_input;
        let bases = if *here { self.bases.clone() } else { Vec::new() };
        (known && !bases.iter().any(|base| base.contains('$')))
            .then(|| Reach { acts: acts.clone(), bases })
    }

    fn opaque(&mut self) {
        self.found(Tier::T4, "shell:opaque");
    }

    /// A change below the current folder.
    fn local(&mut self, class: &'static str) {
        self.found(Tier::T3, class);
        self.path(".");
    }

    fn path(&mut self, text: &str) {
        if matches!(text, "" | "-") {
            return;
        }
        if text == OWN_HOME {
            self.paths.push(text.to_owned());
            return;
        }
        for base in &self.bases {
            let path = join(base, text);
            if !self.paths.contains(&path) {
                self.paths.push(path);
            }
        }
    }

    fn path_word(&mut self, word: &Word) {
        if word.computed {
            // No root holds this, so that a computed target is never taken for one inside.
            self.path(&format!("/$/{}", word.text));
        } else {
            self.path(&word.text);
        }
    }

    fn finish(mut self) -> Judged {
        if self.downloads && self.runs_input {
            self.found(Tier::T5, "shell:remote-exec");
        }
        // It may import what was just downloaded.
        if self.runs_inline && !self.downloaded.is_empty() {
            self.opaque();
        }
        let tier = self.findings.iter().map(|(tier, _)| *tier).max().unwrap_or(Tier::T1);
        let unknown = self.findings.iter().any(|(_, class)| *class == UNCLASSIFIED);
        let mut top = self.findings.iter().filter(|(t, _)| *t == tier).map(|(_, class)| *class);
        let first = top.next().unwrap_or("shell:info");
        let several = top.any(|class| class != first);
        // A class must not vouch for a command that it does not describe.
        let class = match tier {
            Tier::T3 if unknown => UNCLASSIFIED,
            Tier::T4 if unknown || several => "shell:mixed",
            Tier::T1 | Tier::T2 if several => "shell:read",
            Tier::T3 if several => "shell:mixed",
            _ => first,
        };
        let basis = if class == UNCLASSIFIED { Basis::Unclassified } else { Basis::Shell };
        // A mild command must not hide where another one leads.
        let all = self.findings.iter().map(|(tier, class)| meaning(class, *tier));
        let means = all.chain([meaning(class, tier)]).reduce(Meaning::join);
        let means = means.unwrap_or_else(|| meaning(class, tier));
        let reach = self.reach().filter(|_| basis == Basis::Shell && class != "shell:mixed");
        Judged { class, tier, basis, paths: self.paths, means, reach }
    }

    fn text(&mut self, text: &str) {
        if self.depth >= DEPTH_MAX {
            self.opaque();
            return;
        }
        self.depth += 1;
        match parse::parse(text) {
            Ok(script) => {
                // What another shell runs has other variables.
                let loops = std::mem::take(&mut self.loops);
                let defined = std::mem::replace(&mut self.defined, Defined::by(&script));
                self.script(&script);
                self.loops = loops;
                self.defined = defined;
            }
            Err(parse::Opaque) => {
                self.opaque();
                self.crude(text);
            }
        }
        self.depth -= 1;
    }

    /// A reading without quotes, of a text that has no better one: it can only raise the tier.
    fn crude(&mut self, text: &str) {
        let head: String = text.chars().take(65_536).collect();
        for part in head.split([';', '&', '|', '\n', '\r', '`', '(', ')', '{', '}']) {
            let words: Vec<Word> = part
                .split_whitespace()
                .map(|word| Word::literal(&word.replace(['\'', '"', '\\'], "")))
                .collect();
            if !words.is_empty() {
                self.command(&words, Feed::default());
            }
        }
    }

    fn script(&mut self, script: &Script) {
        for (at, pipeline) in script.pipelines.iter().enumerate() {
            let before = std::mem::take(&mut self.downloads);
            let mut upstream = None;
            for (place, simple) in pipeline.iter().enumerate() {
                let later = script.pipelines.iter().skip(at + 1).flatten();
                let rest = pipeline.iter().skip(place + 1).chain(later);
                self.simple(simple, upstream, rest);
                // What only leaves lines out or sorts them is no source of names.
                if !(upstream.is_some_and(wrap::lists_files) && wrap::passes_lines(simple)) {
                    upstream = Some(simple);
                }
            }
            self.downloads |= before;
        }
    }

    fn simple<'a>(
        &mut self,
        simple: &'a Simple,
        upstream: Option<&Simple>,
        rest: impl Iterator<Item = &'a Simple>,
    ) {
        for group in &simple.groups {
            self.script(group);
        }
        let targets = simple.redirects.iter().map(|redirect| &redirect.target);
        for word in simple.words.iter().chain(&simple.input).chain(targets) {
            for script in &word.nested {
                self.script(script);
            }
        }
        let redirected = simple.redirects.iter().any(|one| one.direction == Direction::Read);
        let input = &simple.input;
        let feed = Feed { upstream, input, redirected, moved: simple.moved, fills: false };
        self.command(&simple.words, feed);
        self.loops(simple, feed, rest);
        for redirect in &simple.redirects {
            self.redirect(redirect);
            let kept =
                redirect.direction == Direction::Write && redirect.target.text != "/dev/null";
            if self.downloads && kept {
                self.downloaded.push(redirect.target.text.clone());
            }
        }
        if self.downloads && simple.words.first().is_some_and(|word| word.text == "tee") {
            self.downloaded.extend(simple.words.iter().skip(1).map(|word| word.text.clone()));
        }
    }

    fn redirect(&mut self, redirect: &Redirect) {
        let target = &redirect.target;
        let text = target.text.as_str();
        if matches!(text, "/dev/null" | "/dev/stdout" | "/dev/stderr" | "/dev/stdin" | "/dev/tty") {
            return;
        }
        // `>(…)` and `<(…)` were judged as scripts.
        if target.computed && text.is_empty() {
            return;
        }
        let normal = lexical_absolute(text, "/", "/").unwrap_or_default();
        if normal.starts_with("/dev/tcp/") || normal.starts_with("/dev/udp/") {
            self.found(Tier::T4, "net:connect");
            return;
        }
        if target.computed {
            match self.variants("", std::slice::from_ref(target)) {
                Some(variants) => {
                    for target in variants.into_iter().flatten() {
                        self.redirect(&Redirect { direction: redirect.direction, target });
                    }
                    return;
                }
                None => self.opaque(),
            }
        }
        self.path_word(target);
        match redirect.direction {
            Direction::Read => self.found(Tier::T1, "fs:read"),
            Direction::Write if text.starts_with('/') && normal.starts_with("/dev/") => {
                self.found(Tier::T5, "disk:write");
            }
            Direction::Write => self.found(Tier::T3, "fs:write"),
        }
    }

    /// Judges one command; `words` begin with reserved words or assignments, or with its name.
    fn command(&mut self, words: &[Word], feed: Feed<'_>) {
        let mut words = words;
        while let [first, rest @ ..] = words {
            if first.quoted || first.computed {
                break;
            }
            match first.text.as_str() {
                "if" | "then" | "else" | "elif" | "while" | "until" | "do" | "!" | "{" | "fi"
                | "done" | "}" => {
                    words = rest;
                }
                "for" | "select" => {
                    self.found(Tier::T2, "shell:state");
                    let lists = self.variants("for", rest).unwrap_or_else(|| vec![rest.to_vec()]);
                    lists.iter().for_each(|list| self.likely_paths(list));
                    return;
                }
                "case" | "esac" | "function" | "coproc" | "alias" => {
                    self.opaque();
                    return;
                }
                _ => break,
            }
        }
        let mut assigned = false;
        while let [first, rest @ ..] = words {
            let Some((name, value)) = assignment(&first.text) else { break };
            assigned = true;
            let splits = name == "IFS" && rest.first().is_some_and(|word| word.text == "read");
            if steers_code(name) && !splits {
                self.opaque();
            }
            if looks_like_path(value) {
                self.path(value);
            }
            words = rest;
        }
        self.leads.lost |= assigned;
        let Some((name, args)) = words.split_first() else {
            if assigned {
                self.found(Tier::T2, "shell:state");
            }
            return;
        };
        self.program(name, args, feed);
    }

    fn program(&mut self, name: &Word, args: &[Word], feed: Feed<'_>) {
        if self.depth >= DEPTH_MAX.saturating_mul(2)
            || name.computed
            || name.glob && !matches!(name.text.as_str(), "[" | "[[")
        {
            self.opaque();
            return;
        }
        let (folder, base) = name.text.rsplit_once('/').unwrap_or(("", &name.text));
        let usual = matches!(
            folder,
            "" | "/bin"
                | "/usr/bin"
                | "/usr/local/bin"
                | "/sbin"
                | "/usr/sbin"
                | "/usr/local/sbin"
                | "/opt/homebrew/bin"
        ) && (!folder.is_empty() || !name.text.starts_with('/'));
        if self.downloaded.iter().any(|file| same_file(file, &name.text)) {
            self.found(Tier::T5, "shell:remote-exec");
        }
        self.depth += 1;
        if usual {
            self.dispatch(base, args, feed);
        } else {
            // Someone's own program, whatever it is called: as much as an interpreter that is given this file.
            self.path(&name.text);
            self.found(Tier::T3, "code:run");
            if !self.known(base, args, feed) {
                self.likely_paths(args);
            }
        }
        self.depth -= 1;
    }

    /// Adds the arguments that look like paths.
    fn likely_paths(&mut self, args: &[Word]) {
        for word in args {
            let value = option_value(&word.text).unwrap_or(&word.text);
            if looks_like_path(value) {
                if word.computed { self.path_word(word) } else { self.path(value) }
            }
        }
    }

    /// Adds every argument of a program that takes files, but for the first `skip` operands.
    fn files(&mut self, args: &[Word], skip: usize) {
        let mut operands = 0;
        let mut options = true;
        for word in args {
            let text = word.text.as_str();
            if options && text == "--" {
                options = false;
            } else if options && text.len() > 1 && text.starts_with('-') {
                if let Some(value) = option_value(text) {
                    self.path(value);
                }
            } else {
                operands += 1;
                if operands > skip || word.computed {
                    self.path_word(word);
                }
            }
        }
    }
}

#[cfg(test)]
mod neighbours;
#[cfg(test)]
mod tests;
