//! Which local paths the arguments of an action name, and where the text to judge is.
//!
//! The adversary passes a path under a name that nobody listed. A listed argument is always taken
//! for a path, and so is one whose name says so; for an unknown tool so is any text that looks like one.

use tipstaff_core::{Action, Json};

use crate::PathUse;
use crate::catalogue::{Pointers, Row};

/// Where a shell tool's command is, if its row does not say.
pub(crate) const COMMANDS: &[&str] =
    &["command", "cmd", "script", "argv", "cli_command", "code", "input", "args"];

/// The paths of a plain row's arguments.
pub(crate) fn listed(row: &Row, parameters: &Json) -> Vec<PathUse> {
    match &row.pointers {
        Pointers::Guess => guess(parameters),
        Pointers::Nowhere => collect(parameters, |_, text| text.starts_with("file:")),
        Pointers::At(pointers) => {
            let is_listed = |at: &str| pointers.iter().any(|pattern| matches_pointer(pattern, at));
            let mut any = false;
            parameters.each_string(&mut |at, _| any |= is_listed(at));
            if !any {
                // Another server with a tool of this name, which calls its argument otherwise.
                return guess(parameters);
            }
            let mut found = Vec::new();
            parameters.each_string(&mut |at, text| {
                if is_listed(at) {
                    // A file system takes `http://../x` for a path, so it must not pass for a URL.
                    let text = if foreign(text) { format!("./{text}") } else { text.to_owned() };
                    found.push(PathUse { pointer: at.to_owned(), text });
                } else if is_path_name(last_name(at)) && !foreign(text) {
                    found.push(PathUse { pointer: at.to_owned(), text: text.to_owned() });
                }
            });
            found
        }
    }
}

/// The arguments that look like paths or are named like one.
pub(crate) fn guess(parameters: &Json) -> Vec<PathUse> {
    collect(parameters, |at, text| {
        ["/", "~", "./", "../", "file:"].iter().any(|start| text.starts_with(start))
            || matches!(text, "." | "..")
            || is_path_name(last_name(at)) && !foreign(text)
    })
}

/// The arguments that are named like a path.
pub(crate) fn named(parameters: &Json) -> Vec<PathUse> {
    collect(parameters, |at, text| is_path_name(last_name(at)) && !foreign(text))
}

/// Adds the resource, if it is a local file.
pub(crate) fn resource(action: &Action, paths: &mut Vec<PathUse>) {
    if let Some(text) = action.resource()
        && !foreign(text)
    {
        paths.push(PathUse { pointer: "resource".to_owned(), text: text.to_owned() });
    }
}

/// The texts that a row of kind shell, sql or http is judged by, with their pointers.
pub(crate) fn texts<'a>(row: &Row, parameters: &'a Json, names: &[&str]) -> Vec<(String, &'a str)> {
    let mut found = Vec::new();
    if let Pointers::At(pointers) = &row.pointers {
        for pointer in pointers {
            if let Some(text) = parameters.pointer(pointer).and_then(Json::as_str) {
                found.push((pointer.clone(), text));
            }
        }
    }
    if found.is_empty() {
        for name in names {
            if let Some(text) = parameters.get(name).and_then(Json::as_str) {
                found.push((format!("/{name}"), text));
            }
        }
    }
    found
}

/// The argument vector of a shell tool that takes one.
pub(crate) fn words<'a>(row: &Row, parameters: &'a Json) -> Option<(String, Vec<&'a str>)> {
    let listed = match &row.pointers {
        Pointers::At(pointers) => pointers.clone(),
        _ => Vec::new(),
    };
    let names = COMMANDS.iter().map(|name| format!("/{name}"));
    listed.into_iter().chain(names).find_map(|pointer| {
        let items = parameters.pointer(&pointer)?.as_array()?;
        let mut words: Vec<&str> = items.iter().map(Json::as_str).collect::<Option<_>>()?;
        // `{"command": "rm", "args": ["-rf", "/"]}`
        if pointer == "/args"
            && let Some(program) = parameters.get("command").and_then(Json::as_str)
        {
            words.insert(0, program);
        }
        (!words.is_empty()).then_some((pointer, words))
    })
}

/// The folder that a command is to run in; empty if the arguments do not say.
pub(crate) fn folder(parameters: &Json) -> &str {
    ["cwd", "workdir", "working_directory", "workingDirectory", "directory", "dir_path"]
        .iter()
        .find_map(|name| parameters.get(name)?.as_str())
        .unwrap_or_default()
}

/// `text` as seen from `base`.
pub(crate) fn join(base: &str, text: &str) -> String {
    if base.is_empty() || text.starts_with(['/', '~']) || text.starts_with("file:") {
        text.to_owned()
    } else {
        format!("{}/{text}", base.trim_end_matches('/'))
    }
}

/// Whether an argument's name says that it is a path.
pub(crate) fn is_path_name(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "path",
        "paths",
        "file",
        "files",
        "filename",
        "dir",
        "directory",
        "folder",
        "source",
        "destination",
        "src",
        "dest",
        "dst",
        "cwd",
        "workdir",
        "uri",
        "root",
        "target",
        "filepath",
        "pathname",
    ];
    const ENDS: &[&str] = &[
        "_path",
        "_file",
        "_dir",
        "_folder",
        "_directory",
        "Path",
        "File",
        "Dir",
        "Folder",
        "Directory",
    ];
    NAMES.contains(&name.to_ascii_lowercase().as_str())
        || ENDS.iter().any(|end| name.ends_with(end))
}

fn collect(parameters: &Json, wanted: impl Fn(&str, &str) -> bool) -> Vec<PathUse> {
    let mut found = Vec::new();
    parameters.each_string(&mut |at, text| {
        if wanted(at, text) {
            found.push(PathUse { pointer: at.to_owned(), text: text.to_owned() });
        }
    });
    found
}

/// Whether a text is a URI of something that is not a local file.
fn foreign(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        let letters =
            scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        let named = scheme.len() > 1 && letters && !scheme.eq_ignore_ascii_case("file");
        named && (rest.starts_with("//") || matches!(scheme, "data" | "about" | "mailto" | "urn"))
    })
}

/// The last name of a pointer that is not an index.
fn last_name(pointer: &str) -> &str {
    pointer
        .rsplit('/')
        .find(|part| !part.is_empty() && !part.chars().all(|c| c.is_ascii_digit()))
        .unwrap_or_default()
}

fn matches_pointer(pattern: &str, pointer: &str) -> bool {
    let mut parts = pointer.split('/');
    let all = pattern.split('/').all(|wanted| {
        parts.next().is_some_and(|part| {
            wanted == part
                || wanted == "*" && !part.is_empty() && part.chars().all(|c| c.is_ascii_digit())
        })
    });
    all && parts.next().is_none()
}
