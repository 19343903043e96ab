//! Where a command leads that others see: which remote and branch, which repository, which host.
//!
//! The adversary wants a yes to one place to cover another: a second branch, another repository behind an option, a
//! value that only the shell knows. An option that is not known here makes the whole place unknown.

use super::parse::{Other, Word};
use crate::kind::{is_plain, origin};

/// What a command does, and to what.
pub(super) struct Lead {
    /// In words of its own, the same for all commands that lead to the same place.
    pub act: String,
    /// The folder that it runs in says which place is meant.
    pub here: bool,
}

/// Where all commands of a line lead that others see.
#[derive(Default)]
pub(super) struct Leads {
    pub acts: Vec<String>,
    pub here: bool,
    /// Something in the line makes it unknown.
    pub lost: bool,
}

impl Leads {
    pub(super) fn add(&mut self, lead: Option<Lead>) {
        match lead {
            Some(Lead { act, here }) => {
                self.acts.push(act);
                self.here |= here;
            }
            None => self.lost = true,
        }
    }
}

/// `git push REMOTE BRANCH…`: without both, the repository's state says where it goes.
pub(super) fn push(args: &[Word]) -> Option<Lead> {
    const FLAGS: &[&str] = &[
        "-u",
        "--set-upstream",
        "-q",
        "--quiet",
        "-v",
        "--verbose",
        "--progress",
        "--no-progress",
    ];
    let (_, operands) = read(args, &[], FLAGS)?;
    let (remote, branches) = operands.split_first()?;
    let mut branches: Vec<&str> = branches.to_vec();
    branches.sort_unstable();
    branches.dedup();
    let known = is_remote(remote) && !branches.is_empty() && branches.iter().all(|b| is_branch(b));
    known.then(|| Lead { act: format!("git push {remote} {}", branches.join(" ")), here: true })
}

fn is_remote(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/-:@~".contains(&b));
    // `ext::` runs a command; a password in an address is nobody's to read.
    plain && !text.contains("::") && !(text.contains("://") && text.contains('@'))
}

/// A branch by its name, or `SOURCE:BRANCH`.
fn is_branch(text: &str) -> bool {
    match text.split_once(':') {
        Some((from, to)) => is_plain(from, "/") && is_plain(to, "/"),
        None => is_plain(text, "/") && !matches!(text, "HEAD" | "tag"),
    }
}

/// What `gh` writes, in which repository.
pub(super) fn forge(args: &[Word]) -> Option<Lead> {
    let [first, second, rest @ ..] = args else { return None };
    if first.computed || second.computed || first.glob || second.glob {
        return None;
    }
    match (first.text.as_str(), second.text.as_str()) {
        ("api", path) => api(path, rest),
        ("pr" | "issue", verb @ ("create" | "comment" | "edit" | "ready" | "reopen" | "close")) => {
            written(&first.text, verb, rest)
        }
        ("run", "rerun") => written("run", "rerun", rest),
        _ => None,
    }
}

fn written(what: &str, verb: &str, args: &[Word]) -> Option<Lead> {
    const VALUED: &[&str] = &[
        "-R",
        "--repo",
        "-t",
        "--title",
        "-b",
        "--body",
        "-F",
        "--body-file",
        "-B",
        "--base",
        "-H",
        "--head",
        "-l",
        "--label",
        "-a",
        "--assignee",
        "-r",
        "--reviewer",
        "-m",
        "--milestone",
        "--add-label",
        "--remove-label",
        "-j",
        "--job",
    ];
    const FLAGS: &[&str] =
        &["-d", "--draft", "-f", "--fill", "--fill-first", "--edit-last", "--failed", "--undo"];
    let (options, operands) = read(args, VALUED, FLAGS)?;
    // An operand may be an address, which is of any repository.
    if !operands.iter().all(|text| text.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let mut named = options.iter().filter(|(name, _)| matches!(*name, "-R" | "--repo"));
    let act = format!("gh {what} {verb}");
    match (named.next(), named.next()) {
        (None, _) => Some(Lead { act, here: true }),
        (Some((_, repository)), None) => {
            let parts: Vec<&str> = repository.split('/').collect();
            let known = matches!(parts.len(), 2 | 3) && parts.iter().all(|part| is_plain(part, ""));
            let act = format!("{act} in {repository}");
            known.then_some(Lead { act, here: false })
        }
        _ => None,
    }
}

/// A call of the forge's interface that writes to issues or pull requests. Their numbers may differ.
fn api(path: &str, args: &[Word]) -> Option<Lead> {
    const VALUED: &[&str] = &["-X", "--method", "-f", "--raw-field", "-F", "--field", "-q", "--jq"];
    let (options, operands) = read(args, VALUED, &["--silent", "-i", "--include"])?;
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let ["repos", owner, name, what @ ("issues" | "pulls"), more @ ..] = parts.as_slice() else {
        return None;
    };
    let known = [*owner, *name].iter().chain(more).all(|part| is_plain(part, ""));
    let reads_file =
        |(name, value): &(&str, &str)| matches!(*name, "-F" | "--field") && value.contains("=@");
    if !known
        || !operands.is_empty()
        || more.last() == Some(&"merge")
        || options.iter().any(reads_file)
    {
        return None;
    }
    let mut methods = options.iter().filter(|(name, _)| matches!(*name, "-X" | "--method"));
    let method = match (methods.next(), methods.next()) {
        (None, _) => "POST".to_owned(),
        (Some((_, method)), None) => method.to_ascii_uppercase(),
        _ => return None,
    };
    if !matches!(method.as_str(), "POST" | "PATCH" | "PUT") {
        return None;
    }
    let mut act = format!("gh api {method} repos/{owner}/{name}/{what}");
    for part in more {
        let number = part.bytes().all(|b| b.is_ascii_digit());
        act.push('/');
        act.push_str(if number { "#" } else { part });
    }
    Some(Lead { act, here: false })
}

/// What `curl` sends, to which host. It must not follow where that host leads.
pub(super) fn post(args: &[Word]) -> Option<Lead> {
    const VALUED: &[&str] = &[
        "-X",
        "--request",
        "-H",
        "--header",
        "-d",
        "--data",
        "--data-raw",
        "--data-binary",
        "--json",
        "-F",
        "--form",
        "-m",
        "--max-time",
        "-w",
        "--write-out",
    ];
    const FLAGS: &[&str] = &[
        "-s",
        "-S",
        "-i",
        "-v",
        "-f",
        "-sS",
        "-si",
        "-sSf",
        "-fsS",
        "--silent",
        "--show-error",
        "--fail",
    ];
    let (options, operands) = read(args, VALUED, FLAGS)?;
    let [url] = operands.as_slice() else { return None };
    let mut methods = options.iter().filter(|(name, _)| matches!(*name, "-X" | "--request"));
    let method = match (methods.next(), methods.next()) {
        (None, _) => "POST".to_owned(),
        (Some((_, method)), None) => method.to_ascii_uppercase(),
        _ => return None,
    };
    let act = format!("{method} {}", origin(url)?);
    is_plain(&method, "").then_some(Lead { act, here: false })
}

type Read<'a> = (Vec<(&'a str, &'a str)>, Vec<&'a str>);

/// Options with their values, and operands. `None` if an option is not known, or if the shell may make more words of
/// one, or an operand.
fn read<'a>(args: &'a [Word], valued: &[&str], flags: &[&str]) -> Option<Read<'a>> {
    let (mut options, mut operands) = (Vec::new(), Vec::new());
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let text = word.text.as_str();
        if word.computed || word.glob {
            return None;
        }
        if valued.contains(&text) {
            let value = words.next().filter(|value| stays_one(value))?;
            options.push((text, value.text.as_str()));
        } else if let Some((name, value)) = text.split_once('=')
            && name.starts_with("--")
        {
            valued.contains(&name).then(|| options.push((name, value)))?;
        } else if text.starts_with('-') {
            flags.contains(&text).then(|| options.push((text, "")))?;
        } else {
            operands.push(text);
        }
    }
    Some((options, operands))
}

/// Whether a value is one word, whatever the shell puts into it.
fn stays_one(word: &Word) -> bool {
    !word.glob
        && (!word.computed
            || word.quoted
                && word.other == Other::Nothing
                && word.holes.iter().all(|hole| !hole.bare))
}
