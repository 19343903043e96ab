//! Which rule judges which program, and the rules for programs that read and write files.
//!
//! The adversary relies on a harmless name with a dangerous option (`find -delete`, `sed w`).

use tipstaff_core::Tier;

use super::args::{assignment, has, leaves_out, looks_like_path, operands, plain_ending};
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
        let args = if has_subcommands(name) { self.past_options(name, args) } else { args };
        self.file_program(name, args)
            || self.state_program(name, args)
            || self.git_program(name, args)
            || self.net_program(name, args)
            || self.system_program(name, args)
            || self.agent_program(name, args)
            || self.tool_program(name, args, feed)
    }

    fn file_program(&mut self, name: &str, args: &[Word]) -> bool {
        match name {
            "cat" | "head" | "tail" | "less" | "more" | "wc" | "nl" | "od" | "xxd" | "hexdump"
            | "strings" | "file" | "stat" | "ls" | "dir" | "tree" | "du" | "df" | "cut"
            | "diff" | "cmp" | "comm" | "md5sum" | "sha1sum" | "sha256sum" | "sha512sum"
            | "cksum" | "b2sum" | "realpath" | "readlink" | "basename" | "dirname" | "column"
            | "fold" | "rev" | "tac" | "paste" | "join" | "expand" | "fmt" | "bat" | "zcat"
            | "md5" | "shasum" | "base64" | "base32" | "eza" | "exa" | "pr" | "tsort" | "sum"
            | "cloc" | "tokei" | "scc" => {
                self.files(args, 0);
                self.found(Tier::T1, "fs:read");
            }
            "uniq" => {
                self.files(args, 0);
                if operands(args).len() > 1 {
                    self.found(Tier::T3, "fs:write")
                } else {
                    self.found(Tier::T1, "fs:read")
                }
            }
            "tr" => self.found(Tier::T1, "fs:read"),
            "sort" => {
                self.files(args, 0);
                if has(args, "", &["compress-program"]) {
                    self.opaque();
                }
                let writes = has(args, "o", &["output"]);
                if writes {
                    self.found(Tier::T3, "fs:write")
                } else {
                    self.found(Tier::T1, "fs:read")
                }
            }
            "grep" | "egrep" | "fgrep" | "zgrep" | "rg" | "ag" | "ack" => {
                if has(args, "", &["pre", "hostname-bin", "pager"]) {
                    self.opaque();
                }
                let given = has(args, "ef", &["regexp", "file", "files"]);
                let files: Vec<Word> =
                    args.iter().filter(|word| !leaves_out(&word.text)).cloned().collect();
                self.files(&files, usize::from(!given));
                self.found(Tier::T1, "fs:read");
            }
            "jq" | "yq" => {
                self.files(args, usize::from(!has(args, "f", &["from-file"])));
                let writes = has(args, "i", &["inplace", "in-place"]);
                if writes {
                    self.found(Tier::T3, "fs:write")
                } else {
                    self.found(Tier::T1, "fs:read")
                }
            }
            "find" | "fd" | "fdfind" => self.find(args),
            "sed" | "gsed" => self.sed(args),
            "awk" | "gawk" | "mawk" => {
                let program = operands(args).first().copied().unwrap_or_default();
                let plain = !["system", "|", "getline", "@", "close"]
                    .iter()
                    .any(|bad| program.contains(bad))
                    && only_compares(program);
                if !plain || has(args, "fiElD", &["file", "include", "exec", "load", "inplace"]) {
                    self.opaque();
                }
                self.files(args, 1);
                self.found(Tier::T1, "fs:read");
            }
            "mkdir" if args.iter().any(|word| is_new_folders(name, word)) => {
                for word in args {
                    let end = if word.computed { word.text.find('{') } else { None };
                    let known = word.text.get(..end.unwrap_or(word.text.len())).unwrap_or_default();
                    match (end, known.rsplit_once('/')) {
                        (None, _) => self.files(std::slice::from_ref(word), 0),
                        (Some(_), Some((folder, _))) => self.path(&format!("{folder}/")),
                        (Some(_), None) => self.path("."),
                    }
                }
                self.found(Tier::T3, "fs:write");
            }
            "rm" | "unlink" => {
                self.files(args, 0);
                let class = if has(args, "rR", &["recursive"]) {
                    "fs:delete-recursive"
                } else {
                    "fs:delete"
                };
                self.found(Tier::T5, class);
            }
            "shred" | "srm" | "wipe" => {
                self.files(args, 0);
                self.found(Tier::T5, "fs:destroy");
            }
            "mv" | "cp" | "mkdir" | "touch" | "tee" | "install" | "ln" | "truncate" | "rmdir"
            | "mkfifo" | "mktemp" | "zip" | "unzip" | "gzip" | "gunzip" | "bzip2" | "xz"
            | "zstd" | "7z" | "split" | "csplit" | "patch" | "ditto" | "mknod" | "symlink"
            | "trash" => {
                self.files(args, 0);
                for option in args.iter().filter(|word| word.text.starts_with('-')) {
                    if let Some((_, value)) = option.text.split_once("=") {
                        self.path(value);
                    }
                }
                if name == "zip" && has(args, "T", &["unzip-command"])
                    || args.iter().any(|word| word.text.starts_with("/dev/"))
                {
                    self.opaque();
                }
                self.found(Tier::T3, "fs:write");
            }
            "tar" | "bsdtar" | "cpio" => {
                self.files(args, 0);
                let runs = [
                    "to-command",
                    "checkpoint-action",
                    "use-compress-program",
                    "rsh-command",
                    "info-script",
                ];
                if has(args, "IF", &runs) {
                    self.opaque();
                }
                let first = args.first().map(|word| word.text.as_str()).unwrap_or_default();
                let listing = first.trim_start_matches('-');
                let lists = listing.starts_with('t') && !listing.contains(['x', 'c', 'r', 'u']);
                if lists || has(args, "", &["list"]) {
                    self.found(Tier::T1, "fs:read");
                } else {
                    // Archives unpack into the current folder.
                    self.local("fs:write");
                }
            }
            "chmod" => {
                self.files(args, 1);
                let mode = operands(args).first().copied().unwrap_or_default();
                let special = mode.contains('s') || mode.len() == 4 && !mode.starts_with('0');
                let wide = has(args, "R", &["recursive"]) && mode.ends_with(['2', '3', '6', '7']);
                let tier = if special || wide { Tier::T5 } else { Tier::T3 };
                self.found(tier, "fs:permissions");
            }
            "chown" | "chgrp" | "setfacl" | "chattr" | "setcap" | "xattr" => {
                self.files(args, 0);
                self.found(Tier::T5, "fs:ownership");
            }
            _ => return false,
        }
        true
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

    fn find(&mut self, args: &[Word]) {
        let text = |at: usize| args.get(at).map_or("", |word| word.text.as_str());
        let names: Vec<Word> = args
            .iter()
            .enumerate()
            .filter(|(at, word)| {
                let test = at.checked_sub(1).map_or("", text);
                let tested = matches!(test, "-name" | "-iname" | "-path" | "-ipath" | "-wholename");
                !(tested && word.text.strip_prefix("*.").is_some_and(plain_ending))
            })
            .map(|(_, word)| word.clone())
            .collect();
        self.files(&names, 0);
        self.found(Tier::T1, "fs:read");
        for (at, word) in args.iter().enumerate() {
            let rest = args.get(at + 1..).unwrap_or_default();
            match word.text.as_str() {
                "-delete" => self.found(Tier::T5, "fs:delete-recursive"),
                "-fprint" | "-fprint0" | "-fprintf" | "-fls" => self.found(Tier::T3, "fs:write"),
                "-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "-X" | "--exec"
                | "--exec-batch" => {
                    let end = rest.iter().position(|word| matches!(word.text.as_str(), ";" | "+"));
                    let inner = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                    if inner.first().is_none_or(|first| first.text.contains("{}")) {
                        self.opaque();
                    }
                    // The files found lie below the folders that were named.
                    let inner: Vec<Word> =
                        inner.iter().filter(|word| word.text != "{}").cloned().collect();
                    self.command(&inner, Feed::default());
                }
                _ => {}
            }
        }
    }

    fn sed(&mut self, args: &[Word]) {
        let mut scripts = Vec::new();
        let mut operand = None;
        let mut take = false;
        for word in args {
            let text = word.text.as_str();
            if take {
                scripts.push(text);
                take = false;
            } else if let Some(script) = text.strip_prefix("--expression=") {
                scripts.push(script);
            } else if matches!(text, "-e" | "-ne" | "-Ee" | "-re" | "-nEe" | "-ie" | "--expression")
            {
                take = true;
            } else if operand.is_none() && !text.starts_with('-') {
                operand = Some(text);
            }
        }
        let given = !scripts.is_empty();
        if !given {
            scripts.extend(operand);
        }
        if scripts.iter().any(|script| !plain_sed(script)) || has(args, "f", &["file"]) {
            self.opaque();
        }
        self.files(args, usize::from(!given));
        let writes = args.iter().any(|word| {
            let text = word.text.as_str();
            text.starts_with("--in")
                || text.starts_with('-') && !text.starts_with("--") && text.contains('i')
        });
        if writes { self.found(Tier::T3, "fs:write") } else { self.found(Tier::T1, "fs:read") }
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
                self.found(Tier::T2, "shell:state");
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
                && known.is_some_and(|known| known.contains('/'))
        }
        "pr" | "issue" | "run" | "release" | "repo" | "workflow" => {
            literal(first) && literal(second)
        }
        _ => false,
    };
    fixed && forge(args, &operands(args)) == (Tier::T1, "repo:read")
}

/// Whether a word names several new folders below one that is known.
fn is_new_folders(program: &str, word: &Word) -> bool {
    program == "mkdir"
        && word.other == Other::Braces
        && word.holes.is_empty()
        && !word.text.contains("..")
        && !word.text.starts_with(['{', '-', '~'])
}

/// Whether each `>` of an awk program compares: it stands in parentheses or outside of all braces. What text or
/// pattern could mislead the count is not looked into.
fn only_compares(program: &str) -> bool {
    if !program.contains('>') {
        return true;
    }
    let (mut braces, mut parentheses) = (0_i32, 0_i32);
    let mut chars = program.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => loop {
                match chars.next() {
                    None => return false,
                    Some('\\') => {
                        chars.next();
                    }
                    Some('"') => break,
                    Some(_) => {}
                }
            },
            '/' | '#' | '\\' => return false,
            '{' => braces += 1,
            '}' => braces -= 1,
            '(' => parentheses += 1,
            ')' => parentheses -= 1,
            '>' if braces != 0 && parentheses <= 0 => return false,
            _ => {}
        }
        if braces < 0 || parentheses < 0 {
            return false;
        }
    }
    braces == 0 && parentheses == 0
}

/// Whether a sed script is one substitution or one print, delete or quit, and so neither writes a
/// file nor runs a command.
fn plain_sed(script: &str) -> bool {
    let script = script.trim();
    if script.contains('\n') {
        return false;
    }
    let addressed = script.trim_start_matches(|c: char| {
        c.is_ascii_digit() || matches!(c, ',' | '$' | '~' | '+' | ' ' | '!')
    });
    if let Some(body) = addressed.strip_prefix('s') {
        let mut chars = body.chars();
        let Some(delimiter) = chars.next().filter(|c| !c.is_alphanumeric() && *c != '\\') else {
            return false;
        };
        let mut parts = 0;
        let mut escaped = false;
        let mut flags = String::new();
        for c in chars {
            if parts == 2 {
                flags.push(c);
            } else if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == delimiter {
                parts += 1;
            }
        }
        return parts == 2
            && flags
                .chars()
                .all(|c| c.is_ascii_digit() || matches!(c, 'g' | 'p' | 'i' | 'I' | 'm' | 'M'));
    }
    if let Some(body) = addressed.strip_prefix('/') {
        return !body.contains([';', '{', '\\'])
            && body.rsplit_once('/').is_some_and(|(pattern, command)| {
                !pattern.contains('/')
                    && matches!(command.trim(), "p" | "d" | "q" | "=" | "!d" | "!p")
            });
    }
    addressed.chars().all(|c| {
        c.is_ascii_digit() || matches!(c, 'p' | 'd' | 'q' | '=' | ';' | ' ' | ',' | '$' | '!')
    })
}
