//! What a shell line does to Tipstaff itself.
//!
//! The adversary is the agent that is being judged: it approves its own call, pauses the monitor, takes
//! the hooks out, or accepts a changed tool. Only looking is left to it; everything else is an act on
//! Tipstaff's own home, whichever binary of that name is called.

use tipstaff_core::Tier;

use super::Line;
use super::parse::Word;
use crate::OWN_HOME;

impl Line {
    /// Judges the program `tipstaff`. False if `name` is another one.
    pub(super) fn own_program(&mut self, name: &str, args: &[Word]) -> bool {
        let name = name.strip_suffix(".exe").unwrap_or(name);
        if !name.eq_ignore_ascii_case("tipstaff") {
            return false;
        }
        self.likely_paths(args);
        if looks(args) {
            self.found(Tier::T1, "tipstaff:read");
        } else {
            self.path(OWN_HOME);
            self.found(Tier::T5, "tipstaff:control");
        }
        true
    }
}

/// Whether the words only ask for something. What only the shell knows may be any word.
fn looks(args: &[Word]) -> bool {
    if args.iter().any(|word| word.computed || word.glob) {
        return false;
    }
    let mut words = Vec::new();
    let mut rest = args.iter().map(|word| word.text.as_str());
    while let Some(word) = rest.next() {
        match word {
            "--json" => {}
            "--home" => {
                rest.next();
            }
            _ if word.starts_with("--home=") => {}
            _ => words.push(word),
        }
    }
    // What an approval, a policy or a kept argument says is the user's; the rest anybody may ask.
    match words.as_slice() {
        [] | ["-h" | "--help" | "-V" | "--version" | "help", ..] => true,
        [
            "classify" | "completions" | "doctor" | "queue" | "tail" | "verify" | "why" | "log"
            | "keys",
            ..,
        ] => true,
        ["receipts", "list" | "export", ..] => true,
        ["receipts", "show", rest @ ..] => !rest.iter().any(|word| word.starts_with("--i")),
        ["policy", "check" | "explain" | "test", ..] | ["tools", "diff"] => true,
        [_, rest @ ..] => {
            rest.iter().any(|word| matches!(*word, "-h" | "--help")) && !rest.contains(&"--")
        }
    }
}
