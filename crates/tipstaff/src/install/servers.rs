//! The MCP servers that a configuration names, and how each is put behind the gateway or taken out again.
//!
//! The adversary is a server that looks wrapped and isn't: what starts it must be the gateway, with the
//! whole command of the server behind `--`, or with its address behind `--url`.

use std::ops::Range;
use std::path::Path;

use super::address::{self, Address};
use super::edit::Splice;
use super::jsonc::{Member, Node, Object};

/// What a server is started with after it was put behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    /// This program, absolute.
    pub(crate) exe: String,
    /// The home, absolute. It is always said: a variable that a project sets must not choose another one.
    pub(crate) home: String,
}

/// How a file of servers is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `mcpServers` at the top, and below each of `projects`.
    ClaudeCode,
    /// `mcpServers` at the top.
    McpServers,
    /// `servers` at the top.
    Servers,
    /// Tables `mcp_servers.NAME`.
    Codex,
}

/// One server of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// The project that it is for, if the file says so.
    pub(crate) scope: Option<String>,
    /// Its name.
    pub(crate) name: String,
    /// How it is reached.
    pub(crate) kind: Kind,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A process that the client starts.
    Stdio(Box<Stdio>),
    /// An address.
    Remote(Box<Address>),
    /// It can't be told, and why.
    Odd(&'static str),
}

/// A process that the client starts, by where its words stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stdio {
    pub(crate) command: Word,
    pub(crate) args: Option<Args>,
    /// Names of the variables that the client gives it.
    pub(crate) env: Vec<String>,
    /// Why it can't be put behind the gateway, if something about it says so.
    pub(crate) obstacle: Option<&'static str>,
    pub(crate) style: Style,
    pub(crate) parts: Parts,
}

/// Where the members of an entry stand that change with the way it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The name `command` or `url`.
    pub(crate) name: Range<usize>,
    /// `args`, its name included.
    pub(crate) args: Option<Range<usize>>,
    /// The value of `type`.
    pub(crate) transport: Option<Range<usize>>,
    /// The variables of a process or the headers of an address.
    pub(crate) table: Option<Table>,
    /// Codex: the variables that are passed on, or the one that holds a token.
    pub(crate) passed: Option<Passed>,
}

/// Names of variables, and where they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) name: Range<usize>,
    pub(crate) value: Range<usize>,
    pub(crate) variables: Vec<String>,
}

/// A table of texts, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// All of it, its name included.
    pub(crate) span: Range<usize>,
    pub(crate) name: Range<usize>,
    /// Behind its bracket; `None` for a table without one.
    pub(crate) open: Option<usize>,
    pub(crate) members: Vec<Entry>,
}

/// One member of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Word,
    /// Its value; the text of it, if it is one.
    pub(crate) value: Range<usize>,
    pub(crate) text: Option<String>,
}

/// One text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) at: Range<usize>,
    pub(crate) text: String,
}

/// The list of arguments: where it begins, behind its bracket, and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) open: usize,
    pub(crate) words: Vec<Word>,
}

/// How a text or a neighbour of `command` is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Style {
    /// A member; the white space before its name on its own line, if it has one.
    Json(Option<String>),
    /// A line of a table; what stands before the last part of the key.
    TomlLine(String),
    /// A member of an inline table.
    TomlInline,
}

/// A server that is behind a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrapped<'a> {
    /// The program that stands before it.
    pub(crate) binary: &'a str,
    /// The home that it is told.
    pub(crate) home: Option<&'a str>,
    pub(crate) inner: Inner,
}

/// What stands behind a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inner {
    /// The server's own command, by its place among the arguments.
    Command(usize),
    /// An address.
    Url,
}

/// The servers of a JSON file.
pub(crate) fn of_json(format: Format, node: &Node, text: &str) -> Vec<Server> {
    let key = if format == Format::Servers { "servers" } else { "mcpServers" };
    let mut found = Vec::new();
    let mut add = |scope: Option<&str>, servers: Option<&Node>| {
        for member in servers.and_then(Node::as_object).into_iter().flat_map(|all| &all.members) {
            let kind = member
                .value
                .as_object()
                .map_or(Kind::Odd("it is no object"), |object| kind_of(object, text));
            let scope = scope.map(str::to_owned);
            found.push(Server { scope, name: member.name.clone(), kind });
        }
    };
    add(None, node.get(key));
    if format == Format::ClaudeCode {
        let projects = node.get("projects").and_then(Node::as_object);
        for project in projects.into_iter().flat_map(|all| &all.members) {
            add(Some(&project.name), project.value.get(key));
        }
    }
    found
}

fn kind_of(object: &Object, text: &str) -> Kind {
    if let Some(kind) = address::of_json(object, text) {
        return kind;
    }
    let member = object.members.iter().find(|member| member.name == "command");
    let Some((member, Node::Text(at, command))) = member.map(|member| (member, &member.value))
    else {
        return Kind::Odd("it has neither a command nor an address");
    };
    let args = match object.get("args") {
        None => None,
        Some(Node::Array(array)) => {
            let words = array.items.iter().map(|item| match item {
                Node::Text(at, text) => Some(Word { at: at.clone(), text: text.clone() }),
                _ => None,
            });
            let Some(words) = words.collect() else {
                return Kind::Odd("its args are not all texts");
            };
            Some(Args { open: array.span.start + 1, words })
        }
        Some(_) => return Kind::Odd("its args are no list"),
    };
    let env = object.get("env").and_then(Node::as_object);
    let set = |node: &Node| text.get(node.span()) != Some("null");
    let env = env.into_iter().flat_map(|env| &env.members).filter(|member| set(&member.value));
    let is_true =
        |name: &str| object.get(name).is_some_and(|node| text.get(node.span()) == Some("true"));
    let obstacle = if object.get("envFile").is_some() {
        Some(
            "its variables come from an envFile, which the gateway would not pass on: write them in env",
        )
    } else if is_true("sandboxEnabled") {
        Some("the client's sandbox would keep the gateway from its home: switch sandboxEnabled off")
    } else {
        None
    };
    let parts = Parts {
        name: member.name_span.clone(),
        args: object.member("args").map(|args| args.name_span.start..args.value.span().end),
        transport: object.get("type").map(Node::span),
        table: object.member("env").and_then(Table::of_json),
        passed: None,
    };
    Kind::Stdio(Box::new(Stdio {
        command: Word { at: at.clone(), text: command.clone() },
        args,
        env: env.map(|member| member.name.clone()).collect(),
        obstacle,
        style: Style::of_json(object, member, text),
        parts,
    }))
}

impl Stdio {
    /// What stands before this server, if something does.
    pub(crate) fn wrapped(&self, own: &Own) -> Option<Wrapped<'_>> {
        let binary = self.command.text.as_str();
        if !is_tipstaff(binary, own) {
            return None;
        }
        let words = &self.args.as_ref()?.words;
        let dashes = words.iter().position(|word| word.text == "--");
        let end = dashes.unwrap_or(words.len());
        let before: Vec<&str> = words.iter().take(end).map(|word| word.text.as_str()).collect();
        if !before.contains(&"wrap") {
            return None;
        }
        let inner = match dashes {
            Some(dashes) if words.len() > dashes + 1 => Inner::Command(dashes + 1),
            None if values(&before, "--url").next().is_some() => Inner::Url,
            _ => return None,
        };
        let home = values(&before, "--home").next();
        Some(Wrapped { binary, home, inner })
    }

    /// The server's own command, gateway or not; `None` for one at an address.
    pub(crate) fn inner_command(&self, own: &Own) -> Option<&str> {
        match self.wrapped(own).map(|wrapped| wrapped.inner) {
            None => Some(&self.command.text),
            Some(Inner::Command(at)) => {
                self.args.as_ref()?.words.get(at).map(|word| word.text.as_str())
            }
            Some(Inner::Url) => None,
        }
    }

    /// Puts it behind the gateway.
    pub(crate) fn wrap(&self, name: &str, own: &Own, text: &str) -> Vec<Splice> {
        let mut words = vec!["wrap".to_owned()];
        words.extend(option("--name", &plain_name(name)));
        words.extend(option("--home", &own.home));
        for name in &self.env {
            words.extend(option("--env", name));
        }
        words.extend(["--".to_owned(), self.command.text.clone()]);
        let words: Vec<String> = words.iter().map(|word| self.style.quote(word)).collect();
        let words = words.join(", ");
        let mut splices = vec![Splice::new(self.command.at.clone(), self.style.quote(&own.exe))];
        match &self.args {
            Some(Args { words: there, .. }) if !there.is_empty() => {
                let first = there.first().map_or(0, |word| word.at.start);
                splices.push(Splice::insert(first, format!("{words}, ")));
            }
            Some(Args { open, .. }) => splices.push(Splice::insert(*open, words)),
            None => splices.push(Splice::insert(
                self.style.beside(self.command.at.end, text),
                self.style.member("args", &format!("[{words}]"), text),
            )),
        }
        splices
    }

    /// Puts this program in the place of another gateway.
    pub(crate) fn mend(&self, own: &Own) -> Splice {
        Splice::new(self.command.at.clone(), self.style.quote(&own.exe))
    }

    /// Takes it out from behind the gateway.
    pub(crate) fn unwrap(&self, own: &Own, text: &str) -> Vec<Splice> {
        let Some(wrapped) = self.wrapped(own) else { return Vec::new() };
        let Inner::Command(inner) = wrapped.inner else { return address::unwrap(self, text) };
        let words = self.args.as_ref().map(|args| args.words.as_slice()).unwrap_or_default();
        let after = words.get(inner + 1);
        let (Some(first), Some(inner)) = (words.first(), words.get(inner)) else {
            return Vec::new();
        };
        let end = after.map_or(inner.at.end, |next| next.at.start);
        vec![
            Splice::new(self.command.at.clone(), self.style.quote(&inner.text)),
            Splice::new(first.at.start..end, ""),
        ]
    }
}

impl Style {
    /// The style of a member of an object.
    pub(crate) fn of_json(object: &Object, member: &Member, text: &str) -> Self {
        let before = text.get(object.span.start..member.name_span.start).unwrap_or_default();
        let own_line = before.rsplit_once('\n').map(|(_, blank)| blank.to_owned());
        Self::Json(own_line.filter(|blank| blank.trim().is_empty()))
    }

    /// A text as this file writes it.
    pub(crate) fn quote(&self, text: &str) -> String {
        match self {
            Self::Json(_) => serde_json::Value::from(text).to_string(),
            Self::TomlLine(_) | Self::TomlInline => toml::Value::from(text).to_string(),
        }
    }

    /// Where a neighbour of a value that ends at `end` is written.
    pub(crate) fn beside(&self, end: usize, text: &str) -> usize {
        match self {
            Self::Json(_) | Self::TomlInline => end,
            // Behind a comment that belongs to the value.
            Self::TomlLine(_) => {
                let rest = text.get(end..).unwrap_or_default();
                let line = rest.lines().next().unwrap_or_default();
                end + line.len()
            }
        }
    }

    /// A neighbour, with what parts it from the member before.
    pub(crate) fn member(&self, name: &str, value: &str, text: &str) -> String {
        let newline = super::edit::newline(text);
        match self {
            Self::Json(None) => format!(", \"{name}\": {value}"),
            Self::Json(Some(blank)) => format!(",{newline}{blank}\"{name}\": {value}"),
            Self::TomlLine(before) => format!("{newline}{before}{name} = {value}"),
            Self::TomlInline => format!(", {name} = {value}"),
        }
    }
}

/// Whether a command is this program, here or elsewhere.
pub(crate) fn is_tipstaff(command: &str, own: &Own) -> bool {
    command == own.exe
        || Path::new(command).file_name().is_some_and(|name| name.eq_ignore_ascii_case("tipstaff"))
}

/// The values of an option, in both ways to write it.
pub(crate) fn values<'a, 'w>(
    words: &'w [&'a str],
    name: &'w str,
) -> impl Iterator<Item = &'a str> + use<'a, 'w> {
    words.iter().enumerate().filter_map(move |(at, word)| {
        let rest = word.strip_prefix(name)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value),
            None if rest.is_empty() => words.get(at + 1).copied(),
            None => None,
        }
    })
}

/// An option as words that the command line takes for one whatever the value is.
pub(crate) fn option(name: &str, value: &str) -> Vec<String> {
    if value.starts_with('-') {
        vec![format!("{name}={value}")]
    } else {
        vec![name.to_owned(), value.to_owned()]
    }
}

/// A name that policies and receipts can bear.
pub(crate) fn plain_name(name: &str) -> String {
    let kept: String =
        name.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).take(60).collect();
    if kept.trim().is_empty() { "server".to_owned() } else { kept }
}

#[cfg(test)]
mod tests;
