//! Programs that read, search and write files.
//!
//! The adversary relies on a harmless name with a dangerous option (`find -delete`, `sed w`).

use tipstaff_core::Tier;

use super::args::{has, leaves_out, operands, plain_ending};
use super::parse::{Other, Word};
use super::{Feed, Line};

impl Line {
    pub(super) fn file_program(&mut self, name: &str, args: &[Word]) -> bool {
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
                let program = awk_program(args);
                let plain = !["system", "|", "getline", "@", "close"]
                    .iter()
                    .any(|bad| program.contains(bad))
                    && only_compares(program);
                if !plain
                    || has(
                        args,
                        "efiElD",
                        &["file", "include", "exec", "load", "inplace", "source"],
                    )
                {
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
                    // A name within a word may be a piece of code.
                    let fills =
                        inner.iter().any(|word| word.text != "{}" && word.text.contains("{}"));
                    // The files found lie below the folders that were named.
                    let inner: Vec<Word> =
                        inner.iter().filter(|word| word.text != "{}").cloned().collect();
                    self.command(&inner, Feed { fills, ..Feed::default() });
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
            } else if text == "--expression" {
                take = true;
            } else if let Some(cluster) =
                text.strip_prefix('-').filter(|text| !text.starts_with('-'))
            {
                if let Some((_, script)) = cluster.split_once('e') {
                    take = script.is_empty();
                    if !take {
                        scripts.push(script);
                    }
                }
            // `-i ''` is one option where the other kind of sed is.
            } else if operand.is_none() && !text.starts_with('-') && !text.is_empty() {
                operand = Some(text);
            }
        }
        let given = !scripts.is_empty();
        if !given {
            scripts.extend(operand);
        }
        if scripts.iter().any(|script| !plain_sed(script))
            || has(args, "fl", &["file", "line-length"])
        {
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
}

/// Whether a word names several new folders below one that is known.
pub(super) fn is_new_folders(program: &str, word: &Word) -> bool {
    program == "mkdir"
        && word.other == Other::Braces
        && word.holes.is_empty()
        && !word.text.contains("..")
        && !word.text.starts_with(['{', '-', '~'])
}

/// The program of awk, which comes after the options and their values.
fn awk_program(args: &[Word]) -> &str {
    let mut words = args.iter().map(|word| word.text.as_str());
    while let Some(word) = words.next() {
        if matches!(word, "-v" | "-F" | "--assign" | "--field-separator") {
            words.next();
        } else if !word.starts_with('-') || word == "-" {
            return word;
        } else if word == "--" {
            return words.next().unwrap_or_default();
        }
    }
    ""
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
    let Some(addressed) = past_addresses(script) else { return false };
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
    addressed.chars().all(|c| {
        c.is_ascii_digit() || matches!(c, 'p' | 'd' | 'q' | '=' | ';' | ' ' | ',' | '$' | '!')
    })
}

/// A sed command without the lines and patterns that it is for.
fn past_addresses(script: &str) -> Option<&str> {
    let mut rest = script;
    loop {
        rest = rest.trim_start_matches(|c: char| {
            c.is_ascii_digit() || matches!(c, ',' | '$' | '~' | '+' | ' ' | '!')
        });
        let Some(pattern) = rest.strip_prefix('/') else { return Some(rest) };
        let mut escaped = false;
        let end = pattern.find(|c: char| {
            let ends = c == '/' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = pattern.get(end? + 1..)?;
    }
}
