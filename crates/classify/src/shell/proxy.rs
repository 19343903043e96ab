//! Programs that run the command that follows and only shorten what it prints (`rtk`), or fetch it first (`corepack`).
//!
//! The adversary puts the command behind a prefix that people are used to.

use tipstaff_core::Tier;

use super::args::operands;
use super::parse::Word;
use super::{Feed, Line};
use crate::UNCLASSIFIED;

impl Line {
    /// Judges such a program by what it runs. False if `name` is none.
    pub(super) fn proxy(&mut self, name: &str, args: &[Word], feed: Feed<'_>) -> bool {
        match name {
            "rtk" => self.rtk(args, feed),
            "corepack" => match args.split_first() {
                Some((manager, rest))
                    if matches!(manager.text.as_str(), "pnpm" | "yarn" | "npm") =>
                {
                    self.dispatch(&manager.text, rest, feed);
                }
                _ => return false,
            },
            _ => return false,
        }
        true
    }

    fn rtk(&mut self, args: &[Word], feed: Feed<'_>) {
        let own = |word: &&Word| {
            matches!(word.text.as_str(), "-v" | "-vv" | "-vvv" | "--ultra-compact" | "--skip-env")
        };
        let args = args.get(args.iter().take_while(own).count()..).unwrap_or_default();
        let Some((sub, rest)) = args.split_first() else {
            self.found(Tier::T1, "shell:info");
            return;
        };
        match sub.text.as_str() {
            _ if sub.computed => self.opaque(),
            "--version" | "-V" | "--help" | "-h" | "help" => self.found(Tier::T1, "shell:info"),
            "gain"
                if rest
                    .iter()
                    .all(|word| matches!(word.text.as_str(), "--history" | "--daily")) =>
            {
                self.found(Tier::T1, "shell:info");
            }
            // One argument is split into words.
            "proxy" => match rest {
                [line] if !line.computed => self.text(&line.text),
                _ => self.command(rest, feed),
            },
            // A shell reads what follows, joined.
            "test" | "err" | "summary" | "run" => {
                let command = matches!(rest.first(), Some(word) if word.text == "-c");
                let rest = rest.get(usize::from(command)..).unwrap_or_default();
                let text: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
                if rest.iter().any(|word| word.computed) {
                    self.opaque();
                }
                self.text(&text.join(" "));
                self.command(rest, feed);
            }
            "lint" | "format" => {
                self.local("code:run");
                if rest.first().is_some_and(|word| !word.text.starts_with(['-', '.', '/'])) {
                    self.command(rest, feed);
                }
            }
            "read" | "json" | "log" | "deps" => {
                self.dispatch("cat", rest, feed);
            }
            // It runs the script of that name.
            "npm" => {
                self.local("code:run");
                self.dispatch("npm", rest, feed);
            }
            // These change how agents are run.
            "init" | "config" | "trust" | "untrust" | "hook" | "learn" | "telemetry" | "smart"
            | "verify" | "pipe" | "rewrite" | "session" | "discover" => {
                self.found(Tier::T3, UNCLASSIFIED);
            }
            _ => self.command(args, feed),
        }
    }

    /// Judges programs that list what an agent has: tools, issues. False if `name` is none.
    pub(super) fn agent_program(&mut self, name: &str, args: &[Word]) -> bool {
        let names = operands(args);
        let sub = names.first().copied().unwrap_or_default();
        match (name, sub) {
            ("mcp-cli", "info" | "tools" | "servers" | "grep") => {
                self.found(Tier::T1, "agent:tools");
            }
            (
                "bd",
                "ready" | "list" | "show" | "search" | "stats" | "blocked" | "count" | "stale",
            ) => {
                self.likely_paths(args);
                self.found(Tier::T1, "fs:read");
            }
            ("bd", "create" | "update" | "close" | "reopen") => {
                self.likely_paths(args);
                self.local("fs:write");
            }
            _ => return false,
        }
        true
    }
}
