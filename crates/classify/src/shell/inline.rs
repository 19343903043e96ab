//! Code that is given to an interpreter on its command line or in a here-document.
//!
//! The adversary is content that an agent has read and now runs. Who may write a script below the declared folders
//! and run it gains nothing by giving it inline, so that is the same class in the same place. What the text shows of
//! hosts, other programs, deletion, hidden files, credentials or code made while it runs keeps it opaque; a text that
//! hides them shows nothing, as a script wouldn't.

use super::args::plain_ending;
use super::parse::Word;
use super::{Feed, Line};

/// What an interpreter is given to run, and the arguments of that.
pub(super) struct Inline<'a> {
    codes: Vec<&'a Word>,
    args: &'a [Word],
}

/// The code that the arguments or a here-document hold, if an interpreter of Python or JavaScript runs nothing else.
pub(super) fn given<'a>(name: &str, args: &'a [Word], feed: Feed<'a>) -> Option<Inline<'a>> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    match stem {
        "python" | "pypy" => python(args, feed),
        "node" | "nodejs" => node(args, feed),
        _ => None,
    }
}

fn python<'a>(args: &'a [Word], feed: Feed<'a>) -> Option<Inline<'a>> {
    let mut rest = args;
    while let [first, tail @ ..] = rest {
        let cluster = first.text.strip_prefix('-').filter(|text| !text.is_empty());
        let Some(cluster) = cluster else {
            return (first.text == "-" && !first.computed).then(|| document(tail, feed)).flatten();
        };
        if first.computed {
            return None;
        }
        rest = tail;
        for (at, c) in cluster.char_indices() {
            match c {
                'b' | 'B' | 'd' | 'E' | 'I' | 'O' | 'P' | 'q' | 's' | 'S' | 'u' | 'v' => {}
                'c' if at + 1 == cluster.len() => {
                    let (code, args) = rest.split_first()?;
                    return Some(Inline { codes: vec![code], args });
                }
                _ => return None,
            }
        }
    }
    document(&[], feed)
}

fn node<'a>(args: &'a [Word], feed: Feed<'a>) -> Option<Inline<'a>> {
    let mut rest = args;
    while let [first, tail @ ..] = rest {
        if first.computed {
            return None;
        }
        rest = tail;
        match first.text.as_str() {
            "-e" | "--eval" | "-p" | "--print" | "-pe" => {
                let (code, args) = rest.split_first()?;
                // Further options may name a module that runs first.
                let plain = args.iter().all(|word| !word.computed && !word.text.starts_with('-'));
                return plain.then(|| Inline { codes: vec![code], args });
            }
            "--input-type=module" | "--input-type=commonjs" | "--no-warnings" => {}
            "-" => return document(tail, feed),
            _ => return None,
        }
    }
    document(&[], feed)
}

/// A here-document, if nothing else can be what the interpreter reads.
fn document<'a>(args: &'a [Word], feed: Feed<'a>) -> Option<Inline<'a>> {
    let sole = feed.upstream.is_none() && !feed.redirected && !feed.moved;
    (sole && !feed.input.is_empty()).then(|| Inline { codes: feed.input.iter().collect(), args })
}

impl Line {
    pub(super) fn inline(&mut self, given: &Inline<'_>) {
        let computed = given.codes.iter().any(|code| code.computed);
        self.runs_input |= computed;
        let mut places = Vec::new();
        let quiet = given.codes.iter().all(|code| is_quiet(&code.text, &mut places));
        if computed || !quiet || places.len() > PLACES_MAX {
            self.opaque();
            return;
        }
        self.runs_inline = true;
        for place in places {
            self.path(place);
        }
        self.likely_paths(given.args);
        self.local("code:run");
    }
}

const PLACES_MAX: usize = 64;

/// Whether nothing in a text asks for a person's look; adds the places that it names.
fn is_quiet<'a>(code: &'a str, places: &mut Vec<&'a str>) -> bool {
    // A pattern is no program.
    let lower = code.to_lowercase().replace("re.compile(", "").replace("chr(10)", "");
    if SIGNS.iter().any(|sign| lower.contains(sign)) || code.contains("Function(") || hides(&lower)
    {
        return false;
    }
    let ends = |c: char| c.is_whitespace() || "'\"`()[]{},;=<>|+".contains(c);
    let mut at = 0;
    for token in code.split(ends) {
        // `{x}/a` is below whatever x is.
        let continues = code.get(..at).is_some_and(|before| before.ends_with('}'));
        at += token.len() + 1;
        let rooted = token.starts_with('/')
            && !continues
            && token.trim_start_matches('/').starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let led = token.starts_with('~') || token.starts_with("..") || token.contains("/..");
        if (rooted || led) && !is_fragment(token) && !is_scratch(token) {
            places.push(token);
        }
    }
    true
}

/// What is said in lower case about machines, programs, deletion, secrets, and code that comes from data.
pub(super) const SIGNS: &[&str] = &[
    // Other machines.
    "://",
    "socket",
    "urllib",
    "urlopen",
    "requests",
    "httpx",
    "aiohttp",
    "http.client",
    "http.server",
    "import http",
    "from http",
    "'http",
    "\"http",
    "`http",
    "'node:",
    "\"node:",
    "import ssl",
    "from ssl",
    "smtplib",
    "imaplib",
    "poplib",
    "ftplib",
    "telnetlib",
    "paramiko",
    "xmlrpc",
    "fetch(",
    "fetch (",
    "axios",
    "undici",
    "'net'",
    "\"net\"",
    "'tls'",
    "\"tls\"",
    "dgram",
    "'dns'",
    "\"dns\"",
    "'got'",
    "\"got\"",
    "xmlhttprequest",
    "connect(",
    "connection(",
    "boto3",
    "send(",
    "sendmail",
    "upload",
    "post(",
    "request(",
    "webbrowser",
    // Other programs.
    "subprocess",
    "system(",
    "popen",
    "spawn",
    "exec(",
    "exec (",
    "execfile",
    "execsync",
    "execv",
    "execl",
    "fork(",
    "child_process",
    "posix",
    "import pty",
    "multiprocessing",
    "startfile",
    "worker_threads",
    "tipstaff",
    // Code that is made while it runs.
    "eval(",
    "eval (",
    "compile(",
    "__import__",
    "importlib",
    "runpy",
    "__builtins__",
    "__globals__",
    "__subclasses__",
    "__loader__",
    "__dict__",
    "builtins",
    "globals(",
    "ctypes",
    "cffi",
    "pickle",
    "marshal",
    "dill",
    "yaml.load(",
    "unsafe_load",
    "b64decode",
    "base64",
    "atob",
    "fromcharcode",
    "chr(",
    "unhexlify",
    "fromhex",
    "rot13",
    "binding(",
    "vm.run",
    "'vm'",
    "\"vm\"",
    "constructor",
    "getattr(",
    "mainmodule",
    // What can't be undone, and rights.
    "unlink",
    "rmtree",
    "rmdir",
    "rmsync",
    ".rm(",
    "remove",
    "rimraf",
    "shutil",
    "truncate(",
    "drop table",
    "drop database",
    "delete from",
    ".delete",
    "os.kill",
    "killpg",
    "process.kill",
    "chmod",
    "chown",
    "setuid",
    "symlink",
    ".link(",
    "linksync",
    // Secrets.
    "environ",
    "getenv",
    "process.env",
    "getpass",
    "keyring",
    "keychain",
    "netrc",
    "credential",
    "secret",
    "passwd",
    "/shadow",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "private_key",
    "private key",
    ".pem",
    ".p12",
    ".pfx",
    ".kdbx",
    ".jks",
    ".key'",
    ".key\"",
    "_history",
    "expanduser",
    "path.home(",
    "homedir",
];

/// Whether a text names a hidden file or folder that isn't merely an ending.
fn hides(lower: &str) -> bool {
    lower.match_indices('.').any(|(at, _)| {
        let before = lower.get(..at).and_then(|text| text.chars().next_back());
        if !matches!(before, Some('\'' | '"' | '`' | '/')) {
            return false;
        }
        let rest = lower.get(at + 1..).unwrap_or_default();
        let end = rest.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-'));
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        // `'.'`, `'../x'`, `'.2f'`, `' '.join(`
        let harmless = name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || before != Some('/') && after.starts_with('(')
            || matches!(
                name,
                "test" | "spec" | "log" | "csv" | "png" | "svg" | "pdf" | "jsonl" | "length"
            )
            || plain_ending(name);
        !harmless
    })
}

/// `'/3d/'`, `'/b'`: a piece that paths are searched for, and no folder that machines have.
fn is_fragment(token: &str) -> bool {
    const TOP: &[&str] = &[
        "applications",
        "bin",
        "boot",
        "data",
        "dev",
        "etc",
        "home",
        "lib",
        "library",
        "media",
        "mnt",
        "nix",
        "opt",
        "private",
        "proc",
        "root",
        "run",
        "sbin",
        "secrets",
        "srv",
        "sys",
        "system",
        "tmp",
        "users",
        "usr",
        "var",
        "volumes",
        "workspace",
        "workspaces",
    ];
    let Some(inner) = token.strip_prefix('/') else { return false };
    let (top, rest) = inner.split_once('/').unwrap_or((inner, "/"));
    let piece = rest.is_empty() || rest.ends_with('/');
    piece && !inner.contains('.') && !TOP.contains(&top.to_lowercase().as_str())
}

/// A plain file right below the folder for what doesn't last, where tools leave their reports.
fn is_scratch(token: &str) -> bool {
    if matches!(token, "/dev/null" | "/dev/stdin" | "/dev/stdout" | "/dev/stderr") {
        return true;
    }
    let token = token.strip_prefix("/private").unwrap_or(token);
    let Some(name) = token.strip_prefix("/tmp/") else { return false };
    let ending = name.rsplit_once('.').map(|(_, end)| end);
    name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && !name.starts_with('.')
        && ending
            .is_some_and(|end| plain_ending(end) || matches!(end, "csv" | "jsonl" | "log" | "out"))
        && !["auth", "key", "login", "token", "account", "password"]
            .iter()
            .any(|word| name.contains(word))
}
