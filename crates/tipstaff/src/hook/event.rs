//! What a client's hook is told, read strictly where something is judged by it.
//!
//! The adversary is an input that is cut off, doubled or too large: what can't be read whole is no event,
//! and the call is refused. A tool's result is taken as it is and only digested.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;
use tipstaff_core::limits::{BODY_BYTES_MAX, RESULT_BYTES_MAX};
use tipstaff_core::receipt::Status;
use tipstaff_core::{Action, Digest, Json};

/// Name of the server that a client's own tools belong to.
const BUILT_IN: &str = "claude-code";
/// Largest input: a call and its result, escaped.
pub(crate) const INPUT_BYTES_MAX: usize = 2 * (BODY_BYTES_MAX + RESULT_BYTES_MAX);

/// What happened in the client.
#[derive(Debug)]
pub(crate) enum Event {
    /// A tool is about to be used.
    Before(Box<Before>),
    /// A tool was used.
    After(After),
    /// Nothing that is judged.
    Other,
}

/// A tool is about to be used.
#[derive(Debug)]
pub(crate) struct Before {
    pub(crate) action: Action,
    /// The tool's name as the client says it.
    pub(crate) tool: String,
    pub(crate) ticket: Digest,
    /// The folder that relative paths of the call are relative to.
    pub(crate) cwd: Option<PathBuf>,
}

/// A tool was used.
#[derive(Debug)]
pub(crate) struct After {
    /// The tool's name as the client says it.
    pub(crate) tool: String,
    pub(crate) ticket: Digest,
    pub(crate) status: Status,
    pub(crate) result: Option<String>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    hook_event_name: Cow<'a, str>,
    #[serde(borrow, default)]
    session_id: Cow<'a, str>,
    cwd: Option<PathBuf>,
    #[serde(borrow)]
    tool_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool_input: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_use_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool_response: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Event {
    /// Reads what a client writes to its hook.
    ///
    /// # Errors
    /// Why it can't be judged.
    pub(crate) fn read(input: &[u8]) -> Result<Self, String> {
        if input.len() > INPUT_BYTES_MAX {
            return Err("the input is too large".to_owned());
        }
        let envelope: Envelope<'_> =
            serde_json::from_slice(input).map_err(|error| format!("the input: {error}"))?;
        match envelope.hook_event_name.as_ref() {
            "PreToolUse" => envelope.before().map(|before| Self::Before(Box::new(before))),
            "PostToolUse" => {
                let result = envelope.tool_response.map(|raw| raw.get().to_owned());
                envelope.after(Status::Ok, result).map(Self::After)
            }
            "PostToolUseFailure" => {
                let result = envelope.error.map(|raw| raw.get().to_owned());
                envelope.after(Status::Error, result).map(Self::After)
            }
            _ => Ok(Self::Other),
        }
    }
}

impl Envelope<'_> {
    fn before(&self) -> Result<Before, String> {
        let tool = self.tool()?;
        let raw = self.tool_input.ok_or("the input names no arguments")?.get();
        if raw.len() > BODY_BYTES_MAX {
            return Err("the arguments are larger than 4 MiB".to_owned());
        }
        let arguments = Json::parse(raw.as_bytes()).map_err(|e| format!("the arguments: {e}"))?;
        if arguments.as_object().is_none() {
            return Err("the arguments are no object".to_owned());
        }
        let (server, name) = of_server(tool);
        let action = Action::new(server, name, "tools/call", arguments, None)
            .map_err(|error| format!("the tool's name: {error}"))?;
        Ok(Before {
            action,
            tool: tool.to_owned(),
            ticket: self.ticket(tool)?,
            cwd: self.cwd.clone(),
        })
    }

    fn after(&self, status: Status, result: Option<String>) -> Result<After, String> {
        let tool = self.tool()?;
        // A larger one is not digested; that it ended is still known.
        let result = result.filter(|result| result.len() <= BODY_BYTES_MAX / 2);
        Ok(After { tool: tool.to_owned(), ticket: self.ticket(tool)?, status, result })
    }

    fn tool(&self) -> Result<&str, String> {
        self.tool_name.as_deref().ok_or_else(|| "the input names no tool".to_owned())
    }

    /// The name that the call has before and after it was made. Older clients give calls no number.
    fn ticket(&self, tool: &str) -> Result<Digest, String> {
        let input = self.tool_input.map(RawValue::get).unwrap_or_default();
        let call = match &self.tool_use_id {
            Some(id) if !id.is_empty() => id.to_string(),
            _ => format!("{tool}\n{input}"),
        };
        if self.session_id.is_empty() {
            return Err("the input names no session".to_owned());
        }
        Ok(Digest::of_parts(&[b"hook\0", self.session_id.as_bytes(), b"\0", call.as_bytes()]))
    }
}

/// Server and tool of a tool's name. The client writes `mcp__server__tool` for a server's.
fn of_server(tool: &str) -> (&str, &str) {
    let of_mcp = tool.strip_prefix("mcp__").and_then(|rest| rest.split_once("__"));
    of_mcp
        .filter(|(server, tool)| !server.is_empty() && !tool.is_empty())
        .unwrap_or((BUILT_IN, tool))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(input: &str) -> Before {
        match Event::read(input.as_bytes()).unwrap() {
            Event::Before(before) => *before,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_documented_input_becomes_an_action() {
        let input = r#"{"session_id":"s","transcript_path":"/t","cwd":"/w","permission_mode":"default",
            "hook_event_name":"PreToolUse","tool_name":"Bash","tool_use_id":"toolu_1",
            "tool_input":{"command":"ls","timeout":120000}}"#;
        let read = before(input);
        assert_eq!(read.action.qualified_tool(), "claude-code/Bash");
        assert_eq!(read.cwd, Some(PathBuf::from("/w")));
        let after = r#"{"session_id":"s","hook_event_name":"PostToolUse","tool_name":"Bash",
            "tool_use_id":"toolu_1","tool_input":{"command":"ls"},"tool_response":{"ms":0.10}}"#;
        let Event::After(after) = Event::read(after.as_bytes()).unwrap() else { panic!() };
        assert_eq!((after.ticket, after.status), (read.ticket, Status::Ok));
        assert_eq!(after.result.as_deref(), Some("{\"ms\":0.10}"), "as it came");
        let mcp = input.replace("\"Bash\"", "\"mcp__git__git_status\"");
        assert_eq!(before(&mcp).action.qualified_tool(), "git/git_status");
        assert_ne!(before(&input.replace("toolu_1", "toolu_2")).ticket, read.ticket);
        assert_ne!(before(&input.replace("\"s\"", "\"s2\"")).ticket, read.ticket);
    }

    #[test]
    fn what_cannot_be_read_whole_is_refused_and_other_events_are_not() {
        let call = |more: &str| {
            format!(
                r#"{{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"Bash"{more}}}"#
            )
        };
        for input in [
            String::new(),
            "{".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            call(""),
            call(r#","tool_input":[]"#),
            call(r#","tool_input":{"a":1,"a":2}"#),
            call(r#","tool_input":{"a":"\ud800"}"#),
            call(r#","tool_input":{},"tool_name":"Read""#),
            call(r#","tool_input":{}} {"#),
            r#"{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{}}"#.to_owned(),
            r#"{"session_id":"s","hook_event_name":"PreToolUse","tool_input":{}}"#.to_owned(),
            call(&format!(r#","tool_input":{{"a":"{}"}}"#, "x".repeat(BODY_BYTES_MAX))),
        ] {
            let short: String = input.chars().take(80).collect();
            assert!(Event::read(input.as_bytes()).is_err(), "{short}");
        }
        for name in ["SessionStart", "Stop", "SomethingNew"] {
            let input = format!(r#"{{"hook_event_name":"{name}","session_id":"s","x":1.5e400}}"#);
            assert!(matches!(Event::read(input.as_bytes()), Ok(Event::Other)), "{name}");
        }
    }
}
