//! Several servers behind one session: names kept apart, lists put together.
//!
//! The adversary is a server that takes another one's name: tools and prompts carry the name of their
//! server, which can't hold the separator, and a resource that two servers list goes to the first by
//! name. The other adversary is a server that doesn't answer: lists wait a few seconds and then say who
//! is missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tipstaff_core::json::{Json, Object, write_string};
use tipstaff_core::limits::RESULT_BYTES_MAX;
use tipstaff_monitor::SEPARATOR;
use tokio::time::timeout;

use super::session::{Reply, Session, error, error_about, failed, result_line, why};
use crate::message::{INVALID_PARAMS, Id, METHOD_NOT_FOUND};
use crate::raw::{self, Members};

/// How long a list waits for each server.
const LIST_WAIT: Duration = Duration::from_secs(5);
/// How long a request waits for a server that has to be started first.
const START_WAIT: Duration = Duration::from_secs(60);
/// Most pages of one server's list.
const PAGES_MAX: usize = 100;
/// Most resources whose server is remembered.
const PLACES_MAX: usize = 20_000;
/// MCP: there is no such resource.
const NO_RESOURCE: i64 = -32002;

/// Who listed which resource.
#[derive(Debug, Default)]
pub(super) struct Places {
    resources: BTreeMap<String, usize>,
    templates: BTreeMap<String, usize>,
    /// Resources that a second server listed too, of which was told once.
    told: bool,
}

/// A list that is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct List {
    method: &'static str,
    /// Where the entries stand in a result.
    key: &'static str,
    /// The capability without which a server isn't asked.
    capability: &'static str,
    /// The member that is given its server's name, or that says where a resource is.
    member: &'static str,
}

const LISTS: [List; 4] = [
    List { method: "tools/list", key: "tools", capability: "tools", member: "name" },
    List { method: "prompts/list", key: "prompts", capability: "prompts", member: "name" },
    RESOURCES,
    TEMPLATES,
];
const RESOURCES: List =
    List { method: "resources/list", key: "resources", capability: "resources", member: "uri" };
const TEMPLATES: List = List {
    method: "resources/templates/list",
    key: "resourceTemplates",
    capability: "resources",
    member: "uriTemplate",
};

/// Answers a request of the client, or sends it to the server that it is for.
pub(super) async fn request(
    session: &Arc<Session>,
    id: Id,
    method: &str,
    params: Option<Object>,
) -> Reply {
    if let Some(list) = LISTS.iter().find(|list| list.method == method) {
        return Reply::Message(result_line(&id, &merged(session, *list).await));
    }
    let text = |name: &str| params.as_ref()?.get(name)?.as_str();
    let routed = match method {
        "ping" => return Reply::Message(result_line(&id, "{}")),
        "logging/setLevel" => return Reply::Message(set_level(session, &id, params).await),
        "tools/call" | "prompts/get" => text("name").and_then(|name| {
            let (to, name) = split(session, name)?;
            Some((to, params.as_ref()?.with("name", Json::string(name))))
        }),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => match text("uri") {
            Some(uri) => find(session, uri).await.zip(params.clone()),
            None => None,
        },
        "completion/complete" => completion(session, params.as_ref()).await,
        _ => {
            let text = "Method not found: with several servers behind one endpoint, it can't be said for which this is.";
            return Reply::Message(error(&id, METHOD_NOT_FOUND, text));
        }
    };
    let Some((to, params)) = routed else {
        let told = match method {
            "tools/call" => {
                "There is no such tool here. Names are SERVER__TOOL, as tools/list says."
            }
            "prompts/get" => "There is no such prompt here. Names are SERVER__PROMPT.",
            "completion/complete" => "There is nothing of this name to complete.",
            _ => return Reply::Message(no_resource(&id, text("uri"))),
        };
        return Reply::Message(error(&id, INVALID_PARAMS, told));
    };
    if !ready(session, to, START_WAIT).await {
        let name = session.upstreams.get(to).map(super::upstream::Upstream::name);
        let told = format!(
            "The server `{}` could not be started, so nothing was done. Its words are in the home's \
             stderr folder.",
            name.unwrap_or_default()
        );
        return Reply::Message(failed(&id, method, &told));
    }
    session.forward(to, id, method, Some(params))
}

/// Opens the session with every server, as far as they answer in time; the result of the handshake.
///
/// # Errors
/// A sentence, if none answered.
pub(super) async fn greet_all(session: &Arc<Session>, limit: Duration) -> Result<String, String> {
    let tasks: Vec<_> = (0..session.upstreams.len())
        .map(|index| {
            let session = Arc::clone(session);
            tokio::spawn(async move { greet(&session, index).await })
        })
        .collect();
    let until = tokio::time::Instant::now() + limit;
    let mut faults = Vec::new();
    for (task, upstream) in tasks.into_iter().zip(&session.upstreams) {
        let fault = match tokio::time::timeout_at(until, task).await {
            Ok(Ok(Ok(()))) => continue,
            Ok(Ok(Err(fault))) => fault,
            Ok(Err(_)) => "it could not be asked".to_owned(),
            Err(_) => "it did not answer in time; its tools follow when it does".to_owned(),
        };
        faults.push(format!("`{}`: {fault}", upstream.name()));
    }
    let hellos: Vec<(String, String)> = {
        let state = session.state();
        let names = session.upstreams.iter().map(|upstream| upstream.name().to_owned());
        names.zip(&state.hellos).filter_map(|(n, hello)| Some((n, hello.clone()?))).collect()
    };
    if hellos.is_empty() {
        return Err(format!("No server answered. {}", faults.join("; ")));
    }
    for fault in &faults {
        crate::say(&format!("a session opens without a server: {fault}"));
    }
    if session.upstreams.len() == 1 {
        return hellos.into_iter().next().map(|(_, hello)| hello).ok_or_else(String::new);
    }
    Ok(introduction(&hellos))
}

/// The handshake with one server, once.
async fn greet(session: &Arc<Session>, index: usize) -> Result<(), String> {
    let Some(greeting) = session.greeting.get(index) else { return Err(String::new()) };
    let _one_at_a_time = greeting.lock().await;
    let params = {
        let state = session.state();
        if state.hellos.get(index).is_some_and(Option::is_some) {
            return Ok(());
        }
        state.params.clone()
    };
    let answer = session.ask(index, "initialize", Some(params)).await;
    let line = answer.map_err(|_| "the session has ended".to_owned())?;
    let result = Members::read(&line).and_then(|m| m.one("result").map(str::to_owned));
    session.greeted(index, result.ok_or_else(|| why(&line))?);
    Ok(())
}

/// Whether a server has answered the handshake, now or soon.
async fn ready(session: &Arc<Session>, index: usize, limit: Duration) -> bool {
    if session.state().hellos.get(index).is_some_and(Option::is_some) {
        return true;
    }
    let own = Arc::clone(session);
    // Not dropped at the time-out: the server would be greeted twice.
    let task = tokio::spawn(async move { greet(&own, index).await });
    matches!(timeout(limit, task).await, Ok(Ok(Ok(()))))
}

/// What the session says of itself: all that its servers can do.
fn introduction(hellos: &[(String, String)]) -> String {
    let read: Vec<(&str, Json)> = hellos
        .iter()
        .filter_map(|(name, hello)| Some((name.as_str(), Json::parse(hello.as_bytes()).ok()?)))
        .collect();
    let flag = |capability: &str, name: &str| {
        let path = format!("/capabilities/{capability}/{name}");
        read.iter().any(|(_, hello)| hello.pointer(&path).and_then(Json::as_bool) == Some(true))
    };
    let member = |name: &str| (name.to_owned(), Json::from(true));
    let mut capabilities = Vec::new();
    for (capability, flags) in [
        ("tools", &["listChanged"][..]),
        ("prompts", &["listChanged"]),
        ("resources", &["listChanged", "subscribe"]),
        ("logging", &[]),
        ("completions", &[]),
    ] {
        if read.iter().any(|(_, h)| h.pointer(&format!("/capabilities/{capability}")).is_some()) {
            // Servers come and go, so lists may always change.
            let set = flags.iter().filter(|name| **name == "listChanged" || flag(capability, name));
            let set = Json::object(set.map(|name| member(name)).collect()).unwrap_or(Json::Null);
            capabilities.push((capability.to_owned(), set));
        }
    }
    let versions = read.iter().filter_map(|(_, h)| h.get("protocolVersion")?.as_str());
    let version = versions.min().unwrap_or(super::session::PRIMED_SINCE);
    let info = vec![
        ("name".to_owned(), Json::string("tipstaff")),
        ("version".to_owned(), Json::string(env!("CARGO_PKG_VERSION"))),
    ];
    let told = read.iter().filter_map(|(name, hello)| {
        Some(format!("{name}: {}", hello.get("instructions")?.as_str()?))
    });
    let told: Vec<String> = told.collect();
    let mut members = vec![
        ("capabilities".to_owned(), Json::object(capabilities).unwrap_or(Json::Null)),
        ("protocolVersion".to_owned(), Json::string(version)),
        ("serverInfo".to_owned(), Json::object(info).unwrap_or(Json::Null)),
    ];
    if !told.is_empty() {
        members.push(("instructions".to_owned(), Json::string(&told.join("\n\n"))));
    }
    Json::object(members).unwrap_or(Json::Null).to_canonical()
}

/// The result of a list over every server and every page.
async fn merged(session: &Arc<Session>, list: List) -> String {
    let tasks: Vec<_> = (0..session.upstreams.len())
        .map(|index| {
            let session = Arc::clone(session);
            tokio::spawn(async move { timeout(LIST_WAIT, pages(&session, index, list)).await })
        })
        .collect();
    let mut entries: Vec<String> = Vec::new();
    let mut missing: Vec<&str> = Vec::new();
    for ((index, upstream), task) in session.upstreams.iter().enumerate().zip(tasks) {
        let Ok(Ok(Some(found))) = task.await else {
            crate::say(&format!("{}: no answer to {}; left out", upstream.name(), list.method));
            missing.push(upstream.name());
            continue;
        };
        for entry in &found {
            entries.extend(shown(session, (index, upstream.name()), entry, list));
        }
    }
    let mut result = format!("{{\"{}\":[{}]", list.key, entries.join(","));
    if !missing.is_empty() {
        result.push_str(",\"_meta\":{\"tipstaff/missing\":[");
        for (n, name) in missing.into_iter().enumerate() {
            if n > 0 {
                result.push(',');
            }
            write_string(&mut result, name);
        }
        result.push_str("]}");
    }
    result.push('}');
    result
}

/// Every entry of one server's list, as it wrote them; `None` if it doesn't answer.
async fn pages(session: &Arc<Session>, index: usize, list: List) -> Option<Vec<String>> {
    if !ready(session, index, LIST_WAIT).await {
        return None;
    }
    {
        let state = session.state();
        let hello = state.hellos.get(index)?.as_deref()?;
        let able =
            || Members::read(Members::read(hello)?.one("capabilities")?)?.one(list.capability);
        if able().is_none() {
            return Some(Vec::new());
        }
    }
    let mut entries = Vec::new();
    let mut bytes = 0;
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let params = cursor
            .take()
            .and_then(|cursor| Object::new(vec![("cursor".to_owned(), Json::string(&cursor))]));
        let line = session.ask(index, list.method, params).await.ok()?;
        let members = Members::read(&line)?;
        let Some(result) = members.one("result") else {
            let code = Members::read(members.one("error")?)?.one("code")?;
            return (code.parse() == Ok(METHOD_NOT_FOUND)).then_some(entries);
        };
        bytes += result.len();
        let result = Members::read(result)?;
        let page: Vec<&RawValue> = serde_json::from_str(result.one(list.key)?).ok()?;
        entries.extend(page.iter().map(|entry| entry.get().to_owned()));
        match result.one("nextCursor").and_then(raw::text) {
            Some(next) if bytes <= RESULT_BYTES_MAX => cursor = Some(next),
            Some(_) => return None,
            None => return Some(entries),
        }
    }
    None
}

/// An entry as the client sees it: named after its server, or noted as being there.
fn shown(
    session: &Session,
    (index, server): (usize, &str),
    entry: &str,
    list: List,
) -> Option<String> {
    let raw_name = Members::read(entry)?.one(list.member)?;
    let name = raw::text(raw_name)?;
    if list.member == "name" {
        let mut with = String::new();
        write_string(&mut with, &format!("{server}{SEPARATOR}{name}"));
        let mut out = String::with_capacity(entry.len() + 64);
        raw::replace(&mut out, entry, raw::place(entry, raw_name)?, &with);
        return Some(out);
    }
    let mut state = session.state();
    let places = &mut state.places;
    let of = if list == TEMPLATES { &mut places.templates } else { &mut places.resources };
    match of.get(&name) {
        Some(first) if *first != index => {
            if !std::mem::replace(&mut places.told, true) {
                crate::say(&format!(
                    "{server}: it lists a resource that an earlier server lists too; only the first is reachable"
                ));
            }
            return None;
        }
        Some(_) => {}
        None if of.len() < PLACES_MAX => {
            of.insert(name, index);
        }
        None => return None,
    }
    Some(entry.to_owned())
}

/// The answer about a resource that nobody listed: as a server's own, it says which.
fn no_resource(id: &Id, uri: Option<&str>) -> Bytes {
    let uri = uri.map(|uri| Json::object(vec![("uri".to_owned(), Json::string(uri))]));
    error_about(id, (NO_RESOURCE, "No server lists this resource."), uri.flatten())
}

/// The server in front of a name, and the name that it knows.
fn split<'a>(session: &Session, name: &'a str) -> Option<(usize, &'a str)> {
    let (server, name) = name.split_once(SEPARATOR)?;
    let index = session.upstreams.iter().position(|upstream| upstream.name() == server)?;
    Some((index, name))
}

/// The server that listed a resource, or a template that fits it.
async fn find(session: &Arc<Session>, uri: &str) -> Option<usize> {
    let known = || {
        let state = session.state();
        state.places.resources.get(uri).copied().or_else(|| {
            let fits = |template: &str| match template.split_once('{') {
                Some((head, rest)) => {
                    let tail = rest.rsplit_once('}').map_or("", |(_, tail)| tail);
                    !head.is_empty() && uri.starts_with(head) && uri.ends_with(tail)
                }
                None => template == uri,
            };
            let fitting = state.places.templates.iter().filter(|(template, _)| fits(template));
            // The one that says most of the address.
            fitting.max_by_key(|(template, _)| template.find('{')).map(|(_, index)| *index)
        })
    };
    if let Some(index) = known() {
        return Some(index);
    }
    merged(session, RESOURCES).await;
    merged(session, TEMPLATES).await;
    known()
}

async fn completion(session: &Arc<Session>, params: Option<&Object>) -> Option<(usize, Object)> {
    let params = params?;
    let of = params.get("ref")?.as_object()?;
    match of.get("type")?.as_str()? {
        "ref/prompt" => {
            let (to, name) = split(session, of.get("name")?.as_str()?)?;
            let of = of.with("name", Json::string(name));
            Some((to, params.with("ref", Json::Object(of))))
        }
        "ref/resource" => {
            let uri = of.get("uri")?.as_str()?;
            let listed = || session.state().places.templates.get(uri).copied();
            let to = match listed() {
                Some(to) => to,
                None => find(session, uri).await.or_else(listed)?,
            };
            Some((to, params.clone()))
        }
        _ => None,
    }
}

/// Tells every server that logs which level the client wants.
async fn set_level(session: &Arc<Session>, id: &Id, params: Option<Object>) -> Bytes {
    let able: Vec<usize> = {
        let state = session.state();
        let logs = |hello: &Option<String>| {
            let hello = hello.as_deref()?;
            Members::read(Members::read(hello)?.one("capabilities")?)?.one("logging").map(|_| ())
        };
        let able = state.hellos.iter().enumerate().filter(|(_, hello)| logs(hello).is_some());
        able.map(|(index, _)| index).collect()
    };
    let asked: Vec<_> =
        able.iter().map(|to| session.ask(*to, "logging/setLevel", params.clone())).collect();
    let mut refused = None;
    let mut set = 0;
    for answer in asked {
        match timeout(LIST_WAIT, answer).await {
            Ok(Ok(line)) if Members::read(&line).is_some_and(|m| m.one("result").is_some()) => {
                set += 1;
            }
            Ok(Ok(line)) => refused = Some(why(&line)),
            _ => {}
        }
    }
    match refused {
        Some(text) if set == 0 => error(id, INVALID_PARAMS, &text),
        _ if able.is_empty() => error(id, METHOD_NOT_FOUND, "No server here logs."),
        _ => result_line(id, "{}"),
    }
}
