//! Servers that a client reaches at an address, and how each is put behind `wrap --url` or taken out again.
//!
//! The adversary is a credential that leaves its place: headers become variables of the entry, with their
//! values untouched, and an address that may hold a secret does too, so that no list of processes shows one.
//! What the gateway can't stand before, such as a login that only the client can make, is left and said.

use std::collections::BTreeMap;
use std::ops::Range;

use tipstaff_monitor::ServerConfig;

use super::edit::{Splice, newline};
use super::jsonc::{Member, Node, Object};
use super::servers::{
    Entry, Kind, Own, Parts, Stdio, Style, Table, Word, option, plain_name, values,
};

/// The variable of an address that may hold a secret.
const URL_VARIABLE: &str = "TIPSTAFF_URL";
/// How the variables of headers begin.
const HEADER_VARIABLE: &str = "TIPSTAFF_HEADER_";
/// A part of a path that is so long may be a secret.
const PLAIN_MAX: usize = 20;
/// Words in names of headers that hold credentials.
const CREDENTIALS: [&str; 7] = ["auth", "token", "key", "secret", "cookie", "pass", "credential"];

const SSE: &str = "it speaks the old SSE transport, which the gateway does not: use its streamable HTTP address if it has one";
const SOCKET: &str = "it speaks over a WebSocket, which the gateway does not";
const LOGS_IN: &str =
    "the client logs in to it by itself, and the gateway can't: nobody judges its calls";
const MAY_LOG_IN: &str = "no header of it holds a credential, so the client may have to log in to it, which it can't through the gateway; if it needs no login, run `tipstaff install --include NAME`";

/// A server at an address, by where its words stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) url: Word,
    /// Why it can't be put behind the gateway, if something about it says so.
    pub(crate) obstacle: Option<&'static str>,
    pub(crate) style: Style,
    pub(crate) parts: Parts,
}

/// The server at an address that an object of JSON names; `None` if it names none.
pub(super) fn of_json(object: &Object, text: &str) -> Option<Kind> {
    let transport = object.get("type").and_then(Node::as_text);
    let is_remote = match transport {
        Some("sse") => return Some(Kind::Odd(SSE)),
        Some("ws" | "websocket") => return Some(Kind::Odd(SOCKET)),
        Some("http" | "streamable-http" | "streamableHttp") => true,
        _ => false,
    };
    let has = |name: &str| object.get(name).is_some();
    let Some((member, Node::Text(at, url))) = object.member("url").map(|url| (url, &url.value))
    else {
        return (is_remote || has("serverUrl") && !has("command"))
            .then_some(Kind::Odd("its address is not in `url`"));
    };
    if has("command") && !is_remote {
        return None;
    }
    let headers = object.member("headers");
    let table = headers.and_then(Table::of_json);
    let obstacle = if ["oauth", "auth", "headersHelper"].into_iter().any(has) {
        Some(LOGS_IN)
    } else if ["command", "args", "env", "envFile"].into_iter().any(has) {
        Some("it has an address, and members of a process beside it")
    } else if headers.is_some() && table.is_none() {
        Some("its headers are no object")
    } else {
        None
    };
    let parts = Parts {
        name: member.name_span.clone(),
        args: None,
        transport: object.get("type").map(Node::span),
        table,
        passed: None,
    };
    let style = Style::of_json(object, member, text);
    let url = Word { at: at.clone(), text: url.clone() };
    Some(Kind::Remote(Box::new(Address { url, obstacle, style, parts })))
}

impl Table {
    /// The table that a member of an object is.
    pub(super) fn of_json(member: &Member) -> Option<Self> {
        let object = member.value.as_object()?;
        let members = object.members.iter().map(|entry| Entry {
            name: Word { at: entry.name_span.clone(), text: entry.name.clone() },
            value: entry.value.span(),
            text: entry.value.as_text().map(str::to_owned),
        });
        Some(Self {
            name: member.name_span.clone(),
            span: member.name_span.start..object.span.end,
            open: Some(object.span.start + 1),
            members: members.collect(),
        })
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.members.iter().find(|entry| entry.name.text == name)
    }
}

impl Address {
    /// Why the server of that name stays outside the gateway, if it does.
    pub(crate) fn left(&self, name: &str, include: &[String]) -> Option<String> {
        if let Some(why) = self.obstacle {
            return Some(why.to_owned());
        }
        let headers = self.headers();
        if headers.iter().any(|entry| entry.text.is_none() || !is_token(&entry.name.text)) {
            return Some("its headers are not all texts with plain names".to_owned());
        }
        let url = &self.url.text;
        if !is_filled_in(url)
            && let Err(why) = ServerConfig::at_url(url.clone(), BTreeMap::new())
        {
            return Some(why);
        }
        let path = url.split(['?', '#']).next().unwrap_or_default();
        if path.trim_end_matches('/').ends_with("/sse") {
            return Some(SSE.to_owned());
        }
        let known = headers.iter().any(|entry| is_credential(&entry.name.text))
            || self.parts.passed.is_some()
            || is_local(url);
        let wanted = include.iter().any(|wanted| wanted == name);
        (!known && !wanted).then(|| MAY_LOG_IN.replace("NAME", name))
    }

    /// Its headers as they are written.
    pub(crate) fn headers(&self) -> &[Entry] {
        self.parts.table.as_ref().map(|table| table.members.as_slice()).unwrap_or_default()
    }

    /// Puts it behind the gateway.
    pub(crate) fn wrap(&self, name: &str, own: &Own, text: &str) -> Vec<Splice> {
        let Self { url, style, parts, .. } = self;
        let secret = may_be_secret(&url.text);
        let place = if secret { format!("env:{URL_VARIABLE}") } else { url.text.clone() };
        let mut words = vec!["wrap".to_owned()];
        words.extend(option("--name", &plain_name(name)));
        words.extend(option("--home", &own.home));
        words.extend(option("--url", &place));
        let variables = variables(self.headers());
        for (entry, variable) in self.headers().iter().zip(&variables) {
            words.extend(option("--header-env", &format!("{}={variable}", entry.name.text)));
        }
        for variable in parts.passed.iter().flat_map(|passed| &passed.variables) {
            words.extend(option("--bearer-env", variable));
        }
        let words: Vec<String> = words.iter().map(|word| style.quote(word)).collect();
        let mut more = style.member("args", &format!("[{}]", words.join(", ")), text);
        let mut splices = vec![
            Splice::new(parts.name.clone(), style.key("command")),
            Splice::new(url.at.clone(), style.quote(&own.exe)),
        ];
        if let Some(transport) = &parts.transport {
            splices.push(Splice::new(transport.clone(), style.quote("stdio")));
        }
        let raw = text.get(url.at.clone()).unwrap_or_default();
        let kept = style.pair(URL_VARIABLE, raw);
        match &parts.table {
            Some(table) => {
                splices.push(Splice::new(table.name.clone(), style.key("env")));
                if secret {
                    splices.extend(table.first(&kept, text));
                }
                let names = table.members.iter().zip(variables);
                splices.extend(names.map(|(entry, variable)| {
                    Splice::new(entry.name.at.clone(), style.key(&variable))
                }));
            }
            None if secret => {
                let braces =
                    if matches!(style, Style::Json(_)) { ("{", "}") } else { ("{ ", " }") };
                let value = format!("{}{kept}{}", braces.0, braces.1);
                more.push_str(&style.member("env", &value, text));
            }
            None => {}
        }
        if let Some(passed) = &parts.passed {
            let names: Vec<String> = passed.variables.iter().map(|v| style.quote(v)).collect();
            splices.push(Splice::new(passed.name.clone(), style.key("env_vars")));
            splices.push(Splice::new(passed.value.clone(), format!("[{}]", names.join(", "))));
        }
        splices.push(Splice::insert(style.beside(url.at.end, text), more));
        splices
    }

    /// Whether another entry reaches the same server with the same headers.
    pub(crate) fn is_same(&self, text: &str, other: &Self, other_text: &str) -> bool {
        let headers = |address: &Self, text: &str| -> Vec<(String, Option<String>)> {
            let raw = |entry: &Entry| text.get(entry.value.clone()).map(str::to_owned);
            address.headers().iter().map(|entry| (entry.name.text.clone(), raw(entry))).collect()
        };
        let variables =
            |address: &Self| address.parts.passed.as_ref().map(|passed| passed.variables.clone());
        self.url.text == other.url.text
            && headers(self, text) == headers(other, other_text)
            && variables(self) == variables(other)
    }
}

impl Table {
    /// A member before all others.
    fn first(&self, pair: &str, text: &str) -> Option<Splice> {
        let Some(entry) = self.members.first() else {
            return Some(Splice::insert(self.open?, pair));
        };
        let at = entry.name.at.start;
        let behind = if self.open.is_some() {
            ", ".to_owned()
        } else {
            format!("{}{}", newline(text), super::edit::indent_at(text, at))
        };
        Some(Splice::insert(at, format!("{pair}{behind}")))
    }
}

/// Takes a server at an address out from behind the gateway.
pub(super) fn unwrap(stdio: &Stdio, text: &str) -> Vec<Splice> {
    try_unwrap(stdio, text).unwrap_or_default()
}

fn try_unwrap(stdio: &Stdio, text: &str) -> Option<Vec<Splice>> {
    let Stdio { style, parts, .. } = stdio;
    let words = &stdio.args.as_ref()?.words;
    let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let url = values(&words, "--url").next()?;
    let kept = url.strip_prefix("env:");
    let raw = |entry: &Entry| text.get(entry.value.clone()).unwrap_or_default().to_owned();
    let url = match kept {
        Some(variable) => raw(parts.table.as_ref()?.entry(variable)?),
        None => style.quote(url),
    };
    let headers: BTreeMap<&str, &str> = values(&words, "--header-env")
        .filter_map(|word| word.split_once('='))
        .map(|(header, variable)| (variable, header))
        .collect();
    let mut splices = vec![
        Splice::new(parts.name.clone(), style.key("url")),
        Splice::new(stdio.command.at.clone(), url),
    ];
    if let Some(transport) = &parts.transport {
        splices.push(Splice::new(transport.clone(), style.quote("http")));
    }
    let on_lines = matches!(style, Style::TomlLine(_));
    splices.extend(parts.args.clone().map(|args| cut(text, args, on_lines)));
    if let Some(table) = &parts.table {
        let is_url = |entry: &Entry| Some(entry.name.text.as_str()) == kept;
        let is_header = |entry: &Entry| headers.contains_key(entry.name.text.as_str());
        let strange = table.members.iter().any(|entry| !is_url(entry) && !is_header(entry));
        let mut own = table.members.iter().filter(|entry| is_header(entry)).peekable();
        if strange {
            // Somebody added variables: they stay what they are.
            if own.peek().is_some() {
                let pairs: Vec<String> = own
                    .map(|entry| {
                        let header = headers.get(entry.name.text.as_str()).copied();
                        style.pair_quoted(header.unwrap_or_default(), &raw(entry))
                    })
                    .collect();
                let value = format!("{{{}}}", pairs.join(", "));
                let member = style.member(style.headers(), &value, text);
                splices.push(Splice::insert(style.beside(stdio.command.at.end, text), member));
            }
            let gone = table.members.iter().filter(|entry| is_url(entry) || is_header(entry));
            splices.extend(gone.map(|entry| table.without(entry, text)));
        } else if own.peek().is_none() && kept.is_some() && table.open.is_some() {
            splices.push(cut(text, table.span.clone(), on_lines));
        } else {
            splices.push(Splice::new(table.name.clone(), style.key(style.headers())));
            splices.extend(table.members.iter().map(|entry| {
                headers.get(entry.name.text.as_str()).map_or_else(
                    || table.without(entry, text),
                    |header| Splice::new(entry.name.at.clone(), style.quoted_key(header)),
                )
            }));
        }
    }
    let bearer = values(&words, "--bearer-env").next();
    if let (Some(bearer), Some(passed)) = (bearer, &parts.passed)
        && passed.variables == [bearer]
    {
        splices.push(Splice::new(passed.name.clone(), style.key("bearer_token_env_var")));
        splices.push(Splice::new(passed.value.clone(), style.quote(bearer)));
    }
    Some(splices)
}

impl Table {
    fn without(&self, entry: &Entry, text: &str) -> Splice {
        cut(text, entry.name.at.start..entry.value.end, self.open.is_none())
    }
}

impl Style {
    /// A member's name.
    fn key(&self, name: &str) -> String {
        if matches!(self, Self::Json(_)) { self.quote(name) } else { name.to_owned() }
    }

    /// A member's name that any text can be.
    fn quoted_key(&self, name: &str) -> String {
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.chars().all(bare) { self.key(name) } else { self.quote(name) }
    }

    /// A member.
    fn pair(&self, name: &str, value: &str) -> String {
        let between = if matches!(self, Self::Json(_)) { ": " } else { " = " };
        format!("{}{between}{value}", self.key(name))
    }

    fn pair_quoted(&self, name: &str, value: &str) -> String {
        let between = if matches!(self, Self::Json(_)) { ": " } else { " = " };
        format!("{}{between}{value}", self.quoted_key(name))
    }

    /// What this file calls the headers of an address.
    const fn headers(&self) -> &'static str {
        if matches!(self, Self::Json(_)) { "headers" } else { "http_headers" }
    }
}

/// Takes a member out, with what parts it from its neighbour.
fn cut(text: &str, at: Range<usize>, on_lines: bool) -> Splice {
    let before = text.get(..at.start).unwrap_or_default();
    let after = text.get(at.end..).unwrap_or_default();
    if on_lines {
        let line = after.lines().next().unwrap_or_default().len();
        return match before.rfind('\n') {
            Some(end) => {
                let end = if before.get(..end).unwrap_or_default().ends_with('\r') {
                    end - 1
                } else {
                    end
                };
                Splice::new(end..at.end + line, "")
            }
            None => Splice::new(at.start..at.end + line, ""),
        };
    }
    let blank = before.trim_end();
    if blank.ends_with(',') {
        return Splice::new(blank.len() - 1..at.end, "");
    }
    let rest = after.trim_start();
    let Some(rest) = rest.strip_prefix(',') else { return Splice::new(at, "") };
    let end = text.len() - rest.trim_start().len();
    Splice::new(at.start..end, "")
}

/// The variables that headers become, each its own.
fn variables(headers: &[Entry]) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for entry in headers {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = entry.name.text.chars().map(plain).collect();
        let mut variable = format!("{HEADER_VARIABLE}{name}");
        while taken.contains(&variable) {
            variable.push('_');
        }
        taken.push(variable);
    }
    taken
}

/// Whether a header holds a credential, by its name: then no login is needed beside it.
fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIALS.iter().any(|word| name.contains(word))
}

/// Whether a name can be that of a header.
fn is_token(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(plain)
}

/// Whether the client fills something in.
fn is_filled_in(url: &str) -> bool {
    url.contains("${")
}

/// Whether an address may hold a secret, so that it must not stand among a process's words.
pub(crate) fn may_be_secret(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let mut parts = rest.split('/');
    let authority = parts.next().unwrap_or_default();
    rest.contains(['?', '#', '@'])
        || is_filled_in(url)
        || authority.is_empty()
        || parts.any(|part| part.len() > PLAIN_MAX)
}

/// Whether an address is on this machine, so that a login is unlikely.
fn is_local(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
        _ => authority,
    };
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests;
