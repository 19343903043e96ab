//! What kind of thing an action is, and how much it can change: its tier, its class, which rule said so,
//! and the local paths that it names. The adversary names a dangerous tool harmlessly, or hides a
//! dangerous command in the arguments of a harmless one.
//!
//! A known tool is judged by its catalogue row, a shell by its command line, an unknown tool by the verbs
//! of its name, and what nothing describes is T3 `unclassified`. What a server says about its own tools
//! can raise a tier and never lower one.
//!
//! Pure: no clock, no file, no socket, no random source. It decides nothing: whether an action may happen
//! is up to the policies.

#![forbid(unsafe_code)]

mod catalogue;
mod gitdir;
mod kind;
mod meaning;
mod own;
mod patch;
pub mod paths;
mod pattern;
mod reach;
mod shell;
mod sql;

use tipstaff_core::{Action, Tier};

pub use catalogue::{Catalogue, CatalogueError, Kind, Pointers, Row};
pub use kind::{Around, Kind as ActionKind, NoKind, kind};
pub use meaning::{Meaning, meaning};
pub use own::OWN_HOME;

/// The class of what no rule describes.
pub const UNCLASSIFIED: &str = "unclassified";

/// What a server says about a tool: yes, no, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hint {
    /// The annotation is true.
    Yes,
    /// The annotation is false.
    No,
    /// There is no annotation.
    #[default]
    Unknown,
}

/// The MCP tool annotations that bear on a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Annotations {
    /// `readOnlyHint`
    pub read_only: Hint,
    /// `destructiveHint`
    pub destructive: Hint,
    /// `openWorldHint`
    pub open_world: Hint,
}

/// Which kind of rule gave a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// A row of the catalogue.
    Catalogue,
    /// The rules for shell command lines.
    Shell,
    /// The verbs of the tool's name.
    Pattern,
    /// No rule: the class is [`UNCLASSIFIED`].
    Unclassified,
}

impl Basis {
    /// The spelling in output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
            Self::Shell => "shell",
            Self::Pattern => "pattern",
            Self::Unclassified => "unclassified",
        }
    }
}

/// What an action is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classification {
    /// The class, such as `fs:read`.
    pub class: String,
    /// The tier.
    pub tier: Tier,
    /// Which kind of rule gave the class.
    pub basis: Basis,
    /// The local paths that the action names.
    pub paths: Vec<PathUse>,
    /// What it means for the data of its session.
    pub means: Meaning,
    /// Where a shell line leads, if that is known.
    pub(crate) reach: Option<kind::Reach>,
}

/// A local path that an action names, as the action spells it.
///
/// In a shell line, a relative path is joined to the folder that a `cd` before it leads to, and a
/// path that only the shell can compute begins with `/$/`, which no root holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathUse {
    /// The JSON pointer of the text within the parameters, or `resource`.
    pub pointer: String,
    /// The path.
    pub text: String,
}

/// Classifies an action.
///
/// `destructive` raises to T4 and not T5, because servers set it on anything that changes a value.
/// `open_world` raises to T4 what is not said to be read-only, since the effect leaves this machine.
/// A tool that says that it is not read-only is at least T3. For a tool that the catalogue or the shell
/// rules know, that is as far as annotations go: servers call every overwriting write destructive, and
/// what such a tool reaches is known better than its own word for it.
#[must_use]
pub fn classify(
    catalogue: &Catalogue,
    action: &Action,
    annotations: Annotations,
) -> Classification {
    let mut found = unannotated(catalogue, action);
    let least = if annotations.destructive == Hint::Yes
        || annotations.open_world == Hint::Yes && annotations.read_only != Hint::Yes
    {
        Tier::T4
    } else if annotations.read_only == Hint::No {
        Tier::T3
    } else {
        Tier::T1
    };
    let known = matches!(found.basis, Basis::Catalogue | Basis::Shell);
    found.tier = found.tier.max(if known { least.min(Tier::T3) } else { least });
    let means = meaning(&found.class, found.tier);
    match found.basis {
        // A line knows where its own commands lead.
        Basis::Shell => {}
        Basis::Unclassified => found.means = found.means.join(means),
        Basis::Catalogue | Basis::Pattern => found.means = means,
    }
    own::guard(&mut found);
    gitdir::guard(&mut found);
    found
}

fn unannotated(catalogue: &Catalogue, action: &Action) -> Classification {
    if action.operation() != "tools/call" {
        let row = catalogue.operation(action.operation());
        let mut paths = reach::guess(action.parameters());
        reach::resource(action, &mut paths);
        return match row {
            Some(row) => of_row(row, paths),
            None => unclassified(paths),
        };
    }
    // Some agents call `tool` of `server` `mcp__server__tool`.
    let qualified = action.tool().strip_prefix("mcp__").and_then(|rest| rest.split_once("__"));
    let (server, tool) = qualified.unwrap_or((action.server(), action.tool()));
    let mut found = match catalogue.tool(server, tool) {
        Some(row) => by_row(row, action),
        None => match pattern::judge(server, tool, action.parameters()) {
            Some((tier, class)) => Classification {
                class: class.to_owned(),
                tier,
                basis: Basis::Pattern,
                paths: reach::guess(action.parameters()),
                means: meaning(class, tier),
                reach: None,
            },
            None => unclassified(reach::guess(action.parameters())),
        },
    };
    reach::resource(action, &mut found.paths);
    found
}

fn of_row(row: &Row, paths: Vec<PathUse>) -> Classification {
    Classification {
        class: row.class.clone(),
        tier: row.tier,
        basis: Basis::Catalogue,
        paths,
        means: meaning(&row.class, row.tier),
        reach: None,
    }
}

fn unclassified(paths: Vec<PathUse>) -> Classification {
    Classification {
        class: UNCLASSIFIED.to_owned(),
        tier: Tier::T3,
        basis: Basis::Unclassified,
        paths,
        means: meaning(UNCLASSIFIED, Tier::T3),
        reach: None,
    }
}

fn by_row(row: &Row, action: &Action) -> Classification {
    let parameters = action.parameters();
    match row.kind {
        Kind::Plain | Kind::Operation => of_row(row, reach::listed(row, parameters)),
        Kind::Shell => by_shell(row, action),
        Kind::Sql => {
            let mut found = of_row(row, reach::named(parameters));
            let texts = reach::texts(row, parameters, &["query", "sql", "statement"]);
            if texts.is_empty() {
                raise(&mut found, Tier::T4, "sql:write");
            }
            for (_, text) in texts {
                let (tier, class) = sql::judge(text);
                raise(&mut found, tier, class);
            }
            found
        }
        Kind::Patch => {
            let mut found = of_row(row, reach::named(parameters));
            let texts = reach::texts(row, parameters, reach::COMMANDS);
            if texts.is_empty() {
                found.paths.extend(reach::guess(parameters));
            }
            for (pointer, text) in texts {
                if patch::read(&pointer, text, &mut found) {
                    raise(&mut found, Tier::T5, "fs:delete");
                }
            }
            found
        }
        Kind::Http => {
            let mut found = of_row(row, reach::guess(parameters));
            let method = parameters.get("method").and_then(tipstaff_core::Json::as_str);
            let method = method.map(str::to_ascii_uppercase);
            match method.as_deref() {
                None | Some("GET" | "HEAD" | "OPTIONS") => {}
                Some("DELETE") => raise(&mut found, Tier::T5, "http:delete"),
                Some(_) => raise(&mut found, Tier::T4, "http:write"),
            }
            found
        }
    }
}

fn by_shell(row: &Row, action: &Action) -> Classification {
    let parameters = action.parameters();
    let base = reach::folder(parameters);
    let mut found = Classification {
        class: "shell:opaque".to_owned(),
        tier: row.tier,
        basis: Basis::Shell,
        paths: reach::named(parameters),
        means: meaning("shell:opaque", row.tier),
        reach: None,
    };
    let mut judged = Vec::new();
    if let Some((pointer, words)) = reach::words(row, parameters) {
        judged.push((pointer, shell::judge_words(&words, base)));
    } else {
        for (pointer, text) in reach::texts(row, parameters, reach::COMMANDS) {
            judged.push((pointer, shell::judge_line(text, base)));
        }
    }
    let steered =
        ["env", "environment"].iter().filter_map(|name| parameters.get(name)?.as_object());
    let steered =
        steered.flat_map(|object| object.iter()).any(|(name, _)| shell::steers_code(name));
    if steered || judged.is_empty() {
        found.tier = found.tier.max(Tier::T4);
    }
    let single = judged.len() == 1 && !steered;
    for (at, (pointer, one)) in judged.into_iter().enumerate() {
        let paths = one.paths.into_iter().map(|text| PathUse { pointer: pointer.clone(), text });
        found.paths.extend(paths);
        found.means = if at == 0 && !steered { one.means } else { found.means.join(one.means) };
        // The first gives the class unless something above says otherwise.
        if one.tier > found.tier || at == 0 && !steered {
            found.tier = found.tier.max(one.tier);
            found.class = one.class.to_owned();
            found.basis = one.basis;
        }
        found.reach = one.reach.filter(|_| single && found.class == one.class);
    }
    found
}

fn raise(found: &mut Classification, tier: Tier, class: &str) {
    if tier > found.tier {
        found.tier = tier;
        class.clone_into(&mut found.class);
    }
}

#[cfg(test)]
mod tests;
