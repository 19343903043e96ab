//! A client of MCP over streamable HTTP, as small as the tests need it.
//!
//! The adversary answers with what is no answer to the request: an answer is taken by its id.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Stop, WAIT};
use crate::run::Exam;
use crate::transport::{Answer, Credential, Request};

/// A session of MCP.
pub(crate) struct Mcp<'a> {
    exam: &'a Exam<'a>,
    id: Option<String>,
    names: Vec<String>,
    next: AtomicU64,
    who: Credential,
}

/// What came of a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Called {
    pub(crate) refused: bool,
    pub(crate) text: String,
    pub(crate) receipt: String,
}

const REVISION: &str = "2025-11-25";

impl<'a> Mcp<'a> {
    pub(crate) fn open(exam: &'a Exam<'a>) -> Result<Self, Stop> {
        Self::open_as(exam, Credential::Token)
    }

    pub(crate) fn open_as(exam: &'a Exam<'a>, who: Credential) -> Result<Self, Stop> {
        let next = AtomicU64::new(1);
        let mut session = Self { exam, id: None, names: Vec::new(), next, who };
        let hello = json!({
            "protocolVersion": REVISION, "capabilities": {},
            "clientInfo": { "name": "conformance", "version": "1" },
        });
        let (answer, _) = session.request("initialize", &hello, WAIT)?;
        session.id = answer.header("mcp-session-id").map(str::to_owned);
        session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }), WAIT)?;
        let (_, listed) = session.request("tools/list", &json!({}), WAIT)?;
        let tools = listed.pointer("/result/tools").and_then(Value::as_array);
        let names = tools.into_iter().flatten().filter_map(|tool| tool.get("name")?.as_str());
        session.names = names.map(str::to_owned).collect();
        Ok(session)
    }

    /// Calls a tool of the fixture, and waits for as long as it takes up to `wait`.
    pub(crate) fn call(
        &self,
        tool: &str,
        arguments: &Value,
        wait: Duration,
    ) -> Result<Called, Stop> {
        // Behind several servers a name may have its server's before it.
        let named = self.names.iter().find(|name| {
            name.strip_suffix(tool).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
        });
        let name = named.map_or(tool, String::as_str);
        let (answer, message) =
            self.request("tools/call", &json!({ "name": name, "arguments": arguments }), wait)?;
        let result = message.get("result").cloned().unwrap_or_default();
        let error = message.get("error");
        let meta = result.get("_meta").or_else(|| error?.get("data")).cloned().unwrap_or_default();
        let of_meta = meta.as_object().into_iter().flatten();
        let mut of_meta = of_meta.filter(|(name, _)| name.ends_with("/receipt"));
        let receipt = of_meta.next().and_then(|(_, value)| value.as_str()).map(str::to_owned);
        let receipt = receipt.or_else(|| answer.header("x-tipstaff-receipt").map(str::to_owned));
        let text = result.pointer("/content/0/text").and_then(Value::as_str);
        let told = error.and_then(|error| error.get("message")).and_then(Value::as_str);
        Ok(Called {
            refused: error.is_some() || result.get("isError") == Some(&Value::Bool(true)),
            text: text.or(told).unwrap_or_default().to_owned(),
            receipt: receipt.unwrap_or_default(),
        })
    }

    fn request(
        &self,
        method: &str,
        params: &Value,
        wait: Duration,
    ) -> Result<(Answer, Value), Stop> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let answer = self.post(&message, wait)?;
        let found = messages(&answer).into_iter().find(|message| {
            message.get("id") == Some(&id.into()) && message.get("method").is_none()
        });
        let status = answer.status;
        let found = found.ok_or_else(|| {
            Stop::failed(format!("{method} at /mcp answered {status} without an answer"))
        })?;
        Ok((answer, found))
    }

    fn post(&self, message: &Value, wait: Duration) -> Result<Answer, Stop> {
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("accept", "application/json, text/event-stream".to_owned()),
        ];
        if let Some(id) = &self.id {
            headers.push(("mcp-session-id", id.clone()));
            headers.push(("mcp-protocol-version", REVISION.to_owned()));
        }
        let request = Request {
            method: "POST",
            path: "/mcp".to_owned(),
            headers,
            body: message.to_string().into_bytes(),
            credential: self.who,
            wait,
        };
        Ok(self.exam.transport.send(&request)?)
    }
}

/// The messages of an answer, whether it came alone or as events.
fn messages(answer: &Answer) -> Vec<Value> {
    let text = String::from_utf8_lossy(&answer.body);
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(&text).into_iter().collect();
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data.trim_start()).ok()).collect()
}
