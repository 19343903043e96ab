//! Programs that run other programs: wrappers, shells and interpreters.
//!
//! The adversary puts the command one level deeper than the rule looks.

use tipstaff_core::Tier;

use super::args::{has, operands, same_file};
use super::parse::{Direction, Simple, Word};
use super::{Feed, Line, inline};
use crate::UNCLASSIFIED;

impl Line {
    /// Judges a wrapper and what it wraps. False if `name` is none.
    pub(super) fn wrapper(&mut self, name: &str, args: &[Word], feed: Feed<'_>) -> bool {
        // The letters of options that take a value, and how many operands come before the command.
        let (valued, skip) = match name {
            "sudo" | "doas" | "pkexec" | "su" | "runuser" => {
                self.found(Tier::T5, "shell:privileged");
                ("ughpCTrtDR", 0)
            }
            "chroot" => {
                self.found(Tier::T5, "shell:privileged");
                ("", 1)
            }
            "env" => ("uCP", 0),
            "xargs" => ("IiLnPdEsa", 0),
            "timeout" => ("ks", 1),
            "nice" => ("n", 0),
            "ionice" => ("cnp", 0),
            "stdbuf" => ("ioe", 0),
            "exec" => ("a", 0),
            "time" => ("fo", 0),
            "nohup" | "setsid" | "builtin" | "busybox" | "toybox" | "caffeinate" | "unbuffer" => {
                ("", 0)
            }
            "command" => {
                if args.first().is_some_and(|word| matches!(word.text.as_str(), "-v" | "-V")) {
                    self.found(Tier::T1, "shell:info");
                    return true;
                }
                ("", 0)
            }
            "watch" | "flock" | "strace" | "ltrace" | "script" | "parallel" | "unshare"
            | "nsenter" | "tmux" | "screen" | "expect" | "entr" | "chrt" | "taskset"
            | "systemd-run" | "firejail" | "bwrap" => {
                self.opaque();
                ("", 0)
            }
            _ => return false,
        };
        if name == "env" && has(args, "S", &["split-string"])
            || name == "xargs" && has(args, "", &["arg-file"])
        {
            self.opaque();
        }
        let mut rest = args;
        let mut skip = skip;
        while let [first, tail @ ..] = rest {
            let text = first.text.as_str();
            if text == "--" {
                rest = tail;
                break;
            } else if text.len() > 1 && text.starts_with('-') {
                let cluster = text.strip_prefix('-').unwrap_or_default();
                if name == "xargs" && !cluster.starts_with('-') && cluster.contains('a') {
                    self.opaque();
                }
                let takes = !cluster.starts_with('-')
                    && cluster.chars().next_back().is_some_and(|c| valued.contains(c))
                    || matches!(
                        text,
                        "--user"
                            | "--group"
                            | "--signal"
                            | "--kill-after"
                            | "--unset"
                            | "--chdir"
                            | "--max-args"
                            | "--max-procs"
                            | "--delimiter"
                            | "--adjustment"
                    );
                rest = if takes { tail.get(1..).unwrap_or_default() } else { tail };
            } else if skip > 0 {
                skip -= 1;
                rest = tail;
            } else {
                break;
            }
        }
        if rest.is_empty() {
            match name {
                "env" => self.found(Tier::T1, "shell:environment"),
                "exec" | "builtin" | "nohup" | "time" => self.found(Tier::T2, "shell:state"),
                _ => self.found(Tier::T1, "shell:info"),
            }
            return true;
        }
        let mut words = rest.to_vec();
        if name == "xargs" && (feed.redirected || !feed.upstream.is_some_and(lists_files)) {
            words.push(Word::unknown());
        }
        let own = args.get(..args.len() - rest.len()).unwrap_or_default();
        let fills = name == "xargs" && has(own, "IiJ", &["replace"]);
        self.command(&words, Feed { fills: fills || feed.fills, ..feed });
        true
    }

    /// Judges a shell or another interpreter. False if `name` is none.
    pub(super) fn interpreter(&mut self, name: &str, args: &[Word], feed: Feed<'_>) -> bool {
        match name {
            "sh" | "bash" | "zsh" | "dash" | "ksh" | "ash" | "fish" | "mksh" | "rbash" | "csh"
            | "tcsh" => {
                self.shell(args, feed);
            }
            "eval" => {
                self.opaque();
                self.runs_input |= args.iter().any(|word| word.computed);
                let text: Vec<&str> = args.iter().map(|word| word.text.as_str()).collect();
                self.text(&text.join(" "));
            }
            "source" | "." => self.run_file(args),
            _ if language(name) => match inline::given(name, args, feed) {
                Some(given) if !feed.fills => self.inline(&given),
                Some(_) => self.opaque(),
                None => self.language(args, feed),
            },
            _ => return false,
        }
        true
    }

    fn shell(&mut self, args: &[Word], feed: Feed<'_>) {
        let mut rest = args;
        let mut inline = false;
        let mut stdin = false;
        while let [first, tail @ ..] = rest {
            let text = first.text.as_str();
            if first.computed || text.len() < 2 || !text.starts_with(['-', '+']) {
                break;
            }
            rest = tail;
            match text {
                "--" => break,
                "--version" | "--help" => {
                    self.found(Tier::T1, "shell:info");
                    return;
                }
                "--rcfile" | "--init-file" => {
                    self.opaque();
                    rest = rest.get(1..).unwrap_or_default();
                }
                _ if text.starts_with("--") => inline |= text == "--command",
                _ => {
                    inline |= text.contains('c');
                    stdin |= text.contains('s');
                    if text.ends_with(['o', 'O']) {
                        rest = rest.get(1..).unwrap_or_default();
                    }
                }
            }
        }
        match rest.first() {
            Some(script) if inline => {
                if script.computed {
                    self.opaque();
                    self.runs_input = true;
                }
                self.text(&script.text);
            }
            Some(word) if !stdin && word.text != "-" => self.run_file(rest),
            _ => self.run_stdin(feed),
        }
    }

    /// A shell that reads its commands from its standard input.
    fn run_stdin(&mut self, feed: Feed<'_>) {
        for body in feed.input {
            if body.computed {
                self.opaque();
                self.runs_input = true;
            }
            self.text(&body.text);
        }
        if feed.input.is_empty() {
            self.opaque();
            self.runs_input = true;
        }
        if let Some([name, words @ ..]) = feed.upstream.map(|simple| simple.words.as_slice())
            && matches!(name.text.as_str(), "echo" | "printf")
        {
            let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
            self.text(&text.join(" "));
        }
    }

    fn run_file(&mut self, args: &[Word]) {
        let Some(file) = args.first() else {
            self.opaque();
            return;
        };
        if file.computed || file.text.starts_with("/dev/") || file.text.starts_with("/proc/") {
            self.opaque();
            self.runs_input = true;
        } else if self.downloaded.iter().any(|known| same_file(known, &file.text)) {
            self.found(Tier::T5, "shell:remote-exec");
        }
        self.path_word(file);
        self.likely_paths(args.get(1..).unwrap_or_default());
        self.found(Tier::T3, "code:run");
    }

    fn language(&mut self, args: &[Word], feed: Feed<'_>) {
        let at = args
            .iter()
            .position(|word| word.computed || !word.text.starts_with('-') || word.text == "-");
        let options = args.get(..at.unwrap_or(args.len())).unwrap_or_default();
        if options.is_empty() && at.is_none() {
            self.opaque();
            self.runs_input = feed.input.is_empty();
            return;
        }
        let only = options.first().map(|word| word.text.as_str());
        if matches!(only, Some("--version" | "-V" | "-v" | "--help" | "-h")) && args.len() == 1 {
            self.found(Tier::T1, "shell:info");
            return;
        }
        if has(options, "", &["eval", "print", "execute", "require", "import", "run", "command"])
            || options.iter().any(|word| inline_code(&word.text))
        {
            self.opaque();
            return;
        }
        let module = options.last().is_some_and(|word| word.text == "-m");
        let rest = at.and_then(|at| args.get(at..)).unwrap_or_default();
        match rest.split_first() {
            Some((name, tail)) if module => self.module(name, tail, feed),
            Some((file, _)) if file.text != "-" => self.run_file(rest),
            _ => {
                self.opaque();
                self.runs_input = true;
            }
        }
    }

    fn module(&mut self, name: &Word, args: &[Word], feed: Feed<'_>) {
        match name.text.as_str() {
            "pip" => self.dispatch("pip", args, feed),
            "json.tool" => {
                self.files(args, 0);
                let class =
                    if args.len() > 1 { (Tier::T3, "fs:write") } else { (Tier::T1, "fs:read") };
                self.found(class.0, class.1);
            }
            "pytest" | "unittest" | "build" | "venv" | "mypy" | "ruff" | "black" | "py_compile"
            | "compileall" => {
                self.likely_paths(args);
                self.local("code:build");
            }
            "twine" => self.dispatch("twine", args, feed),
            "http.server" => self.found(Tier::T4, "net:connect"),
            _ => {
                self.likely_paths(args);
                self.found(Tier::T3, UNCLASSIFIED);
            }
        }
    }
}

fn language(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    matches!(
        stem,
        "python"
            | "pypy"
            | "perl"
            | "ruby"
            | "node"
            | "nodejs"
            | "php"
            | "lua"
            | "osascript"
            | "pwsh"
            | "powershell"
            | "Rscript"
            | "tclsh"
            | "guile"
            | "groovy"
            | "ts-node"
            | "tsx"
    )
}

fn inline_code(option: &str) -> bool {
    option.strip_prefix('-').is_some_and(|cluster| {
        !cluster.starts_with('-') && cluster.contains(['c', 'e', 'E', 'r', 'p', 'x', 'C', 'n'])
    })
}

/// Whether a command only prints some of the lines that it reads from a pipe, and so no line of a file.
pub(super) fn passes_lines(simple: &Simple) -> bool {
    let Some((name, args)) = simple.words.split_first() else { return false };
    let piped = simple.redirects.iter().all(|redirect| redirect.direction == Direction::Write);
    if !piped || args.iter().any(|word| word.computed || word.text.starts_with("--")) {
        return false;
    }
    let number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    match name.text.as_str() {
        // A number that belongs to no option is a file.
        "head" | "tail" => {
            let mut words = args.iter().map(|word| word.text.as_str());
            while let Some(word) = words.next() {
                let option = word.strip_prefix('-');
                let glued = option.map(|text| text.strip_prefix('n').unwrap_or(text));
                if !(glued.is_some_and(number) || word == "-n" && words.next().is_some_and(number))
                {
                    return false;
                }
            }
            true
        }
        "sort" | "uniq" => operands(args).is_empty(),
        "grep" => !has(args, "efcnHobrR", &[]) && operands(args).len() == 1,
        _ => false,
    }
}

/// Whether a command only prints names below the folders that it is given, which are known.
pub(super) fn lists_files(simple: &Simple) -> bool {
    let Some((name, args)) = simple.words.split_first() else { return false };
    let lists = match name.text.as_str() {
        "find" | "ls" | "fd" => true,
        "git" => args.first().is_some_and(|word| word.text == "ls-files"),
        "grep" | "rg" => has(args, "l", &["files-with-matches", "files"]),
        _ => false,
    };
    // What else they can be told to print need not be the name of a file that is there.
    let told_else = |text: &str| {
        ["-printf", "-exec", "-ok", "--exec", "--format", "--label", "--replace"]
            .iter()
            .any(|option| text.starts_with(option))
            || name.text == "fd" && matches!(text, "-x" | "-X")
            || name.text == "rg" && text == "-r"
    };
    lists && !args.iter().any(|word| word.computed || told_else(&word.text))
}
