//! How the words of a command are read: options and their values, operands, assignments, paths.
//!
//! The adversary glues a value to its option, cuts an option short, or names a file that looks like none.

use super::parse::Word;

/// The value that is glued to an option: `--file=VALUE`, or `-fVALUE` where it is plainly a path.
pub(super) fn option_value(text: &str) -> Option<&str> {
    if let Some(long) = text.strip_prefix("--") {
        return long.split_once('=').map(|(_, value)| value);
    }
    let short = text.strip_prefix('-')?;
    let at = short.find(['/', '~', '.'])?;
    short.get(at..)
}

pub(super) fn looks_like_path(text: &str) -> bool {
    !text.contains("://") && (text.contains('/') || text.starts_with(['~', '.']))
        || text.starts_with("file://")
}

pub(super) fn same_file(a: &str, b: &str) -> bool {
    fn plain(text: &str) -> &str {
        text.strip_prefix("./").unwrap_or(text)
    }
    plain(a) == plain(b)
}

pub(super) fn assignment(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let name = name.strip_suffix('+').unwrap_or(name);
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let first = name.chars().next()?;
    (letters && !first.is_ascii_digit()).then_some((name, value))
}

/// Whether some short option cluster holds `letter`, or some argument is one of the `long` ones
/// (or a long one with a value).
pub(super) fn has(args: &[Word], letters: &str, long: &[&str]) -> bool {
    args.iter().map(|word| word.text.as_str()).take_while(|text| *text != "--").any(|text| {
        match text.strip_prefix("--") {
            Some(name) => {
                let name = name.split_once('=').map_or(name, |(name, _)| name);
                // Programs accept a long option that is cut short.
                long.iter().any(|full| *full == name || name.len() >= 2 && full.starts_with(name))
            }
            None => text
                .strip_prefix('-')
                .is_some_and(|cluster| cluster.contains(|c| letters.contains(c))),
        }
    })
}

/// The arguments that are not options.
pub(super) fn operands(args: &[Word]) -> Vec<&str> {
    let mut options = true;
    let mut found = Vec::new();
    for word in args {
        let text = word.text.as_str();
        if options && text == "--" {
            options = false;
        } else if !options || text == "-" || !text.starts_with('-') {
            found.push(text);
        }
    }
    found
}

/// Whether an option of a search only says which files to leave out, by an ending that no key or password
/// file has: the search would read no less without it.
pub(super) fn leaves_out(text: &str) -> bool {
    let value = text.strip_prefix("--include=").or_else(|| text.strip_prefix("--glob="));
    value.and_then(|value| value.strip_prefix("*.")).is_some_and(plain_ending)
        || text.starts_with("--exclude=")
        || text.starts_with("--exclude-dir=")
}

/// Endings of program texts and of what is written beside them. Whoever looks for all files of one isn't
/// looking for the few of them that hold a secret.
pub(super) fn plain_ending(end: &str) -> bool {
    const ENDS: &[&str] = &[
        "c", "cc", "cpp", "cs", "css", "dart", "ex", "exs", "go", "h", "hpp", "html", "java", "js",
        "json", "jsx", "kt", "lua", "md", "mdx", "mjs", "php", "py", "rb", "rs", "scss", "sh",
        "sql", "svelte", "swift", "toml", "ts", "tsx", "txt", "vue", "xml", "yaml", "yml",
    ];
    ENDS.contains(&end)
}
