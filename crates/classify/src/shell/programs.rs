//! Which rule judges which program, and the rules for programs of the shell's own.
//!
//! The adversary has the shell compute an option that changes what a program does.

use tipstaff_core::Tier;

use super::args::{assignment, has, looks_like_path, operands};
use super::files::is_new_folders;
use super::forge::forge;
use super::parse::{Other, Word};
use super::{BASES_MAX, Feed, Line, steers_code};
use crate::UNCLASSIFIED;
use crate::reach::join;

impl Line {
    /// Judges the program `name`, of which only the last path component is left.
    pub(super) fn dispatch(&mut self, name: &str, args: &[Word], feed: Feed<'_>) {
        if !self.known(name, args, feed) {
            self.likely_paths(args);
            self.found(Tier::T3, UNCLASSIFIED);
        }
    }

    /// Judges a program that a rule is for. False if there is none.
    pub(super) fn known(&mut self, name: &str, args: &[Word], feed: Feed<'_>) -> bool {
        if self.own_program(name, args)
            || self.wrapper(name, args, feed)
            || self.proxy(name, args, feed)
            || self.interpreter(name, args, feed)
        {
            // What runs another program may give it another place to work on.
            self.leads.lost = true;
            return true;
        }
        match self.variants(name, args) {
            Some(variants) => {
                variants.iter().fold(false, |_, args| self.plain_program(name, args, feed))
            }
            None => self.plain_program(name, args, feed),
        }
    }

    /// Judges a program that runs no other one. False if there is no rule for it.
    fn plain_program(&mut self, name: &str, args: &[Word], feed: Feed<'_>) -> bool {
        // A value that only the shell knows may be an option or a path; a quoted message may not.
        let computed = args.iter().enumerate().any(|(at, word)| {
            let before =
                at.checked_sub(1).and_then(|at| args.get(at)).map(|word| word.text.as_str());
            let message = matches!(name, "git" | "gh")
                && word.quoted
                && matches!(before, Some("-m" | "--message" | "--body" | "--title"));
            let inert = name == "gh" && stays_inert(args, at) || is_new_folders(name, word);
            word.computed && !message && !inert
        });
        if computed && !takes_anything(name) {
            self.opaque();
        }
        let given = args.len();
        let args = if has_subcommands(name) { self.past_options(name, args) } else { args };
        self.leads.lost |= args.len() != given;
        self.file_program(name, args)
            || self.state_program(name, args)
            || self.git_program(name, args)
            || self.net_program(name, args)
            || self.system_program(name, args)
            || self.agent_program(name, args)
            || self.tool_program(name, args, feed)
    }

    /// The arguments from the subcommand on. An option that is not known may take the next word for
    /// its value (`systemctl -H status stop x`), so that nobody can tell the subcommand.
    fn past_options<'a>(&mut self, name: &str, args: &'a [Word]) -> &'a [Word] {
        let valued: &[&str] = match name {
            "kubectl" | "oc" => &["-n", "--namespace", "--context", "--kubeconfig"],
            "helm" => &["-n", "--namespace", "--kube-context", "--kubeconfig"],
            "docker" | "podman" | "nerdctl" => &["-H", "--host", "--context"],
            "docker-compose" => &["-f", "--file", "-p", "--project-directory"],
            "npm" => &["--prefix", "-C", "-w", "--workspace"],
            "pnpm" => &["--prefix", "-C", "--dir", "-F", "--filter"],
            "yarn" => &["--cwd"],
            "cargo" => &["--manifest-path", "-C"],
            "go" => &["-C"],
            "gh" | "glab" => &["-R", "--repo"],
            "aws" => &["--profile", "--region", "--output"],
            "gcloud" => &["--project"],
            "systemctl" => &["-H", "--host"],
            _ => &[],
        };
        const FLAGS: &[&str] = &[
            "--silent",
            "--quiet",
            "-q",
            "--verbose",
            "--no-pager",
            "--json",
            "-y",
            "--yes",
            "--version",
            "--help",
            "-h",
            "-v",
            "-V",
        ];
        let mut rest = args;
        while let [first, tail @ ..] = rest {
            let text = first.text.as_str();
            if !text.starts_with(['-', '+']) {
                return rest;
            }
            rest = tail;
            // Where it works.
            const FOLDERS: &[&str] =
                &["-C", "--prefix", "--dir", "--cwd", "--manifest-path", "--project-directory"];
            if let Some((_, folder)) =
                text.split_once('=').filter(|(name, _)| FOLDERS.contains(name))
            {
                self.path(folder);
            } else if valued.contains(&text)
                && FOLDERS.contains(&text)
                && let Some(folder) = rest.first()
            {
                self.path_word(folder);
            }
            if valued.contains(&text) {
                rest = rest.get(1..).unwrap_or_default();
            } else if !FLAGS.contains(&text)
                && !text.contains('=')
                && !text.starts_with('+')
                && !rest.is_empty()
            {
                self.opaque();
            }
        }
        args
    }

    fn state_program(&mut self, name: &str, args: &[Word]) -> bool {
        match name {
            "cd" | "pushd" | "popd" => {
                let target = operands(args)
                    .first()
                    .copied()
                    .unwrap_or(if name == "cd" { "~" } else { "-" })
                    .to_owned();
                let unknown = target == "-" || args.iter().any(|word| word.computed || word.glob);
                let target = if unknown { "/$" } else { target.as_str() };
                self.path(target);
                // The folder may or may not have changed, so relative paths are now relative to either.
                let mut bases = self.bases.clone();
                for base in &self.bases {
                    let joined = join(base, target);
                    if !bases.contains(&joined) {
                        bases.push(joined);
                    }
                }
                if bases.len() > BASES_MAX {
                    bases.truncate(BASES_MAX);
                    bases.push("/$".to_owned());
                }
                self.bases = bases;
                // Where it leads from here on is said by the folders.
                self.findings.push((Tier::T2, "shell:state"));
            }
            "export" | "declare" | "local" | "readonly" | "typeset" => {
                for word in args {
                    if let Some((variable, value)) = assignment(&word.text) {
                        if steers_code(variable) {
                            self.opaque();
                        }
                        if looks_like_path(value) {
                            self.path(value);
                        }
                    }
                }
                self.found(Tier::T2, "shell:state");
            }
            "set" | "unset" | "shift" | "exit" | "return" | "break" | "continue" | "wait"
            | "sleep" | "umask" | "read" | "clear" | "reset" | "jobs" | "fg" | "bg" | "ulimit"
            | "shopt" | "hash" | "getopts" | "let" => {
                self.found(Tier::T2, "shell:state");
            }
            "trap" | "enable" | "bind" | "complete" | "setopt" => self.opaque(),
            "echo" | "printf" | ":" | "true" | "false" | "seq" | "yes" | "expr" | "bc" => {
                self.found(Tier::T1, "shell:print");
            }
            "test" | "[" | "[[" => {
                self.likely_paths(args);
                self.found(Tier::T1, "shell:info");
            }
            "pwd" | "whoami" | "id" | "uname" | "which" | "type" | "whereis" | "ps" | "top"
            | "htop" | "uptime" | "free" | "lscpu" | "lsblk" | "nproc" | "arch" | "locale"
            | "tty" | "groups" | "users" | "who" | "w" | "last" | "man" | "help" | "lsof"
            | "pgrep" | "vmstat" | "iostat" | "cal" | "tput" | "getconf" | "dmesg"
            | "journalctl" | "netstat" | "ss" => self.found(Tier::T1, "shell:info"),
            "printenv" => self.found(Tier::T1, "shell:environment"),
            "history" => {
                self.path("~/.bash_history");
                self.found(Tier::T1, "shell:info");
            }
            "date" if has(args, "s", &["set"]) => self.found(Tier::T5, "system:kernel"),
            "hostname" if !operands(args).is_empty() => self.found(Tier::T5, "system:kernel"),
            "date" | "hostname" => self.found(Tier::T1, "shell:info"),
            _ => return false,
        }
        true
    }
}

/// Programs whose first operand says what they do.
fn has_subcommands(name: &str) -> bool {
    matches!(
        name,
        "systemctl"
            | "docker"
            | "podman"
            | "nerdctl"
            | "docker-compose"
            | "kubectl"
            | "oc"
            | "helm"
            | "terraform"
            | "tofu"
            | "npm"
            | "pnpm"
            | "yarn"
            | "bun"
            | "cargo"
            | "pip"
            | "pip3"
            | "uv"
            | "poetry"
            | "gem"
            | "go"
            | "brew"
            | "apt"
            | "apt-get"
            | "yum"
            | "dnf"
            | "gh"
            | "glab"
            | "aws"
            | "gcloud"
            | "az"
    )
}

/// Programs whose effect does not depend on what their arguments say.
fn takes_anything(name: &str) -> bool {
    matches!(
        name,
        "echo"
            | "printf"
            | "true"
            | "false"
            | ":"
            | "test"
            | "["
            | "[["
            | "exit"
            | "return"
            | "sleep"
            | "seq"
            | "expr"
            | "export"
            | "local"
            | "declare"
            | "readonly"
            | "cd"
            | "pushd"
            // They open nothing.
            | "basename"
            | "dirname"
            // They only print what is.
            | "ps"
            | "pgrep"
            | "which"
            | "type"
            | "id"
    )
}

/// Whether what the shell puts into an argument of `gh` can't change what is asked for: the command reads, whatever
/// follows its two words, or it is a single word within the path of an API call.
fn stays_inert(args: &[Word], at: usize) -> bool {
    let Some(word) = args.get(at) else { return false };
    let [first, second, ..] = args else { return false };
    let literal = |word: &Word| !word.computed && !word.text.starts_with('-');
    let only = || args.iter().enumerate().all(|(other, word)| other == at || !word.computed);
    let fixed = match first.text.as_str() {
        "api" => {
            let known = word.holes.first().and_then(|hole| word.text.get(..hole.at));
            literal(first)
                && at == 1
                && only()
                && word.other == Other::Nothing
                && word.holes.iter().all(|hole| !hole.bare)
                && known.is_some_and(|known| known.starts_with(|c: char| c.is_ascii_alphanumeric()))
                && known.is_some_and(|known| known.contains('/') && !known.contains("://"))
        }
        "pr" | "issue" | "run" | "release" | "repo" | "workflow" => {
            literal(first) && literal(second)
        }
        _ => false,
    };
    fixed && forge(args, &operands(args)) == (Tier::T1, "repo:read")
}
