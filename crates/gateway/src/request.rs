//! Which requests are actions, and what of a request goes on.
//!
//! The adversary smuggles something past the judgement: a member beside the arguments, a `_meta` entry
//! that the other side obeys, a method that this version doesn't know. Only what is on a list passes
//! unjudged; everything else, the unknown included, is an action, and of an action only the judged
//! parameters and a short list of `_meta` members are sent on.

use tipstaff_core::json::{Json, Object};
use tipstaff_core::{Action, Digest};

use crate::message::{INVALID_PARAMS, INVALID_REQUEST, Id, METHOD_NOT_FOUND, Malformed};

/// Methods of the agent that change nothing and say nothing about the world outside.
const CLIENT_PASSES: [&str; 8] = [
    "initialize",
    "ping",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "tasks/list",
    "logging/setLevel",
];
/// How clients of a newer revision ask whether the other side speaks it. This gateway speaks 2025-11-25
/// and answers for itself, so that they turn to `initialize`; nothing is sent on.
const DISCOVER: &str = "server/discover";
/// Methods of a server that the agent's client answers from what it already declared.
const SERVER_PASSES: [&str; 2] = ["ping", "roots/list"];
/// `_meta` members that are sent on beside those of the protocol's own namespace.
const META: [&str; 4] = ["progressToken", "traceparent", "tracestate", "baggage"];
const META_NAMESPACE: &str = "io.modelcontextprotocol/";
/// The `_meta` member that names the deferred calls that a call depends on, by their receipts. It is not sent on.
const DEPENDS_ON: &str = "tipstaff/depends_on";
/// Most of them.
const DEPENDS_ON_MAX: usize = 16;
/// The operation whose tool has a name of its own.
pub(crate) const TOOLS_CALL: &str = "tools/call";

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Route {
    /// On, unjudged.
    Pass,
    /// To the monitor.
    Judge(Box<Draft>),
}

/// An action and what carries it.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) action: Action,
    pub(crate) envelope: Envelope,
}

/// What goes on beside the action: nothing that changes what it does.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) id: Id,
    pub(crate) meta: Option<Object>,
    pub(crate) task: Option<Json>,
    pub(crate) form: Form,
    /// Receipts of the calls that it depends on.
    pub(crate) depends_on: Vec<Digest>,
}

/// In which form a refusal or a failure is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As a tool's result, where the agent sees it.
    ToolResult,
    /// As a JSON-RPC error.
    Error,
}

impl Envelope {
    /// The token under which progress of the request is told.
    pub(crate) fn progress_token(&self) -> Option<Id> {
        self.meta.as_ref().and_then(|meta| meta.get("progressToken")).and_then(Id::of)
    }
}

/// A request of the agent for `server`.
pub(crate) fn from_client(
    server: &str,
    id: &Id,
    method: &str,
    params: Option<&Object>,
) -> Result<Route, Malformed> {
    if CLIENT_PASSES.contains(&method) {
        return Ok(Route::Pass);
    }
    if method == DISCOVER {
        let text = "Method not found: this gateway speaks MCP 2025-11-25.".to_owned();
        return Err(Malformed { code: METHOD_NOT_FOUND, id: Some(id.clone()), text });
    }
    let empty = Object::default();
    let params = params.unwrap_or(&empty);
    if method == TOOLS_CALL {
        return tool_call(server, id, params).map(|draft| Route::Judge(Box::new(draft)));
    }
    method_action(server, id, method, params)
}

/// A request of `server` for the agent's client.
pub(crate) fn from_server(
    server: &str,
    id: &Id,
    method: &str,
    params: Option<&Object>,
) -> Result<Route, Malformed> {
    if SERVER_PASSES.contains(&method) {
        return Ok(Route::Pass);
    }
    if method == TOOLS_CALL {
        let text = "A server can't call tools of the client.".to_owned();
        return Err(Malformed { code: METHOD_NOT_FOUND, id: Some(id.clone()), text });
    }
    method_action(server, id, method, params.unwrap_or(&Object::default()))
}

fn tool_call(server: &str, id: &Id, params: &Object) -> Result<Draft, Malformed> {
    let wrong = |text: &str| Malformed {
        code: INVALID_PARAMS,
        id: Some(id.clone()),
        text: text.to_owned(),
    };
    let known = ["name", "arguments", "_meta", "task"];
    if let Some((name, _)) = params.iter().find(|(name, _)| !known.contains(name)) {
        return Err(wrong(&format!("tools/call has no parameter `{}`.", name.escape_debug())));
    }
    let Some(name) = params.get("name").and_then(Json::as_str) else {
        return Err(wrong("tools/call needs the name of a tool."));
    };
    let arguments = match params.get("arguments") {
        None => Json::Object(Object::default()),
        Some(Json::Object(arguments)) => Json::Object(arguments.clone()),
        Some(_) => return Err(wrong("The arguments of a tool must be an object.")),
    };
    let task = params.get("task").cloned();
    let action = Action::new(server, name, TOOLS_CALL, arguments, None)
        .map_err(|error| wrong(&format!("The call was not forwarded: {error}.")))?;
    let form = if task.is_some() { Form::Error } else { Form::ToolResult };
    let (meta, depends_on) = (meta(id, params)?, depends_on(id, params)?);
    Ok(Draft { action, envelope: Envelope { id: id.clone(), meta, task, form, depends_on } })
}

fn method_action(server: &str, id: &Id, method: &str, params: &Object) -> Result<Route, Malformed> {
    let wrong = |code, text: String| Malformed { code, id: Some(id.clone()), text };
    let resource = match method {
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            let uri = params.get("uri").and_then(Json::as_str);
            Some(uri.ok_or_else(|| wrong(INVALID_PARAMS, format!("{method} needs a `uri`.")))?)
        }
        _ => None,
    };
    let parameters = Json::Object(params.without("_meta"));
    let action = Action::new(server, method, method, parameters, resource).map_err(|error| {
        wrong(INVALID_REQUEST, format!("The request was not forwarded: {error}."))
    })?;
    let (meta, depends_on) = (meta(id, params)?, depends_on(id, params)?);
    let envelope = Envelope { id: id.clone(), meta, task: None, form: Form::Error, depends_on };
    Ok(Route::Judge(Box::new(Draft { action, envelope })))
}

fn meta(id: &Id, params: &Object) -> Result<Option<Object>, Malformed> {
    let wrong = |text: &str| Malformed {
        code: INVALID_PARAMS,
        id: Some(id.clone()),
        text: text.to_owned(),
    };
    let meta = match params.get("_meta") {
        None => return Ok(None),
        Some(Json::Object(meta)) => meta,
        Some(_) => return Err(wrong("`_meta` must be an object.")),
    };
    if meta.get("progressToken").is_some_and(|token| Id::of(token).is_none()) {
        return Err(wrong("A progress token must be an integer or a string of at most 256 bytes."));
    }
    let kept: Vec<_> = meta
        .iter()
        .filter(|(name, _)| META.contains(name) || name.starts_with(META_NAMESPACE))
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    Ok(if kept.is_empty() { None } else { Object::new(kept) })
}

fn depends_on(id: &Id, params: &Object) -> Result<Vec<Digest>, Malformed> {
    let Some(named) = params.get("_meta").and_then(|meta| meta.get(DEPENDS_ON)) else {
        return Ok(Vec::new());
    };
    let read = |of: &Json| Digest::from_hex(of.as_str()?).ok();
    let named = named.as_array().filter(|named| named.len() <= DEPENDS_ON_MAX);
    named.and_then(|named| named.iter().map(read).collect()).ok_or_else(|| Malformed {
        code: INVALID_PARAMS,
        id: Some(id.clone()),
        text: format!(
            "`{DEPENDS_ON}` must be an array of at most {DEPENDS_ON_MAX} receipts, each of 64 lower-case hex digits."
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &str, params: &str) -> Result<Route, Malformed> {
        let params = Json::parse(params.as_bytes()).unwrap();
        from_client("s", &Id::Integer(1), method, params.as_object())
    }

    fn draft(method: &str, params: &str) -> Draft {
        match route(method, params) {
            Ok(Route::Judge(draft)) => *draft,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lists_pass_and_the_unknown_is_judged() {
        assert!(matches!(route("tools/list", "{}"), Ok(Route::Pass)));
        assert!(matches!(route("initialize", "{}"), Ok(Route::Pass)));
        for method in
            ["prompts/get", "completion/complete", "tasks/cancel", "evil/list", "new/thing"]
        {
            let draft = draft(method, r#"{"name":"x","_meta":{"a":1}}"#);
            assert_eq!((draft.action.tool(), draft.action.operation()), (method, method));
            assert_eq!(draft.action.parameters().to_canonical(), r#"{"name":"x"}"#);
        }
    }

    #[test]
    fn a_newer_client_is_sent_to_the_handshake() {
        let refused = route(DISCOVER, r#"{"_meta":{"io.modelcontextprotocol/x":1}}"#);
        assert_eq!(refused.unwrap_err().code, METHOD_NOT_FOUND);
    }

    #[test]
    fn what_a_call_depends_on_is_read_and_not_sent_on() {
        let of = Digest::of(b"x").to_hex();
        let call = |named: &str| {
            format!(r#"{{"name":"t","_meta":{{"tipstaff/depends_on":{named},"progressToken":1}}}}"#)
        };
        let found = draft(TOOLS_CALL, &call(&format!("[\"{of}\"]"))).envelope;
        assert_eq!(found.depends_on, [Digest::of(b"x")]);
        assert_eq!(Json::Object(found.meta.unwrap()).to_canonical(), r#"{"progressToken":1}"#);
        let many = format!("[{}]", vec![format!("\"{of}\""); 17].join(","));
        for bad in ["\"x\"", "[1]", "[\"12\"]", "{}", &many] {
            assert!(route(TOOLS_CALL, &call(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_call_carries_its_arguments_and_little_else() {
        let params = r#"{"name":"t","arguments":{"a":1},"_meta":{"progressToken":"p","x/y":1,
            "io.modelcontextprotocol/related-task":{},"traceparent":"00"}}"#;
        let draft = draft(TOOLS_CALL, params);
        assert_eq!(draft.action.tool(), "t");
        assert_eq!(draft.action.parameters().to_canonical(), r#"{"a":1}"#);
        let meta = Json::Object(draft.envelope.meta.clone().unwrap()).to_canonical();
        let kept =
            r#"{"io.modelcontextprotocol/related-task":{},"progressToken":"p","traceparent":"00"}"#;
        assert_eq!(meta, kept);
        assert_eq!(draft.envelope.progress_token(), Some(Id::Text("p".into())));
        assert!(draft.envelope.depends_on.is_empty());
        assert!(route(TOOLS_CALL, r#"{"name":"t","extra":1}"#).is_err());
        assert!(route(TOOLS_CALL, r#"{"name":"t","arguments":[1]}"#).is_err());
        assert!(route(TOOLS_CALL, r#"{"arguments":{}}"#).is_err());
        assert!(route(TOOLS_CALL, r#"{"name":"t\n"}"#).is_err());
        assert!(route(TOOLS_CALL, r#"{"name":"t","_meta":7}"#).is_err());
    }

    #[test]
    fn a_resource_is_named_by_its_uri() {
        let draft = draft("resources/read", r#"{"uri":"file:///x"}"#);
        assert_eq!(draft.action.resource(), Some("file:///x"));
        assert!(route("resources/read", "{}").is_err());
    }

    #[test]
    fn what_a_server_asks_is_judged_and_it_calls_no_tools() {
        let ask = |method| from_server("s", &Id::Integer(1), method, None);
        assert!(matches!(ask("roots/list"), Ok(Route::Pass)));
        assert!(matches!(ask("sampling/createMessage"), Ok(Route::Judge(_))));
        assert!(ask(TOOLS_CALL).is_err());
    }
}
