//! What a client's hook is told, read strictly where something is judged by it.
//!
//! The adversary is an input that is cut off, doubled or too large: what can't be read whole is no event,
//! and the call is refused. A tool's result is taken as it is and only digested.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tipstaff_core::limits::{BODY_BYTES_MAX, RESULT_BYTES_MAX};
use tipstaff_core::receipt::Status;
use tipstaff_core::{Action, Digest, Json};

use super::contract::{Contract, Form, Moment, Source};

/// Largest input: a call and its result, escaped.
pub(crate) const INPUT_BYTES_MAX: usize = 2 * (BODY_BYTES_MAX + RESULT_BYTES_MAX);

/// What happened in the client, and the form of the answer that it waits for.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) event: Event,
    pub(crate) form: Form,
}

/// What happened in the client.
#[derive(Debug)]
pub(crate) enum Event {
    /// A tool is about to be used.
    Before(Box<Before>),
    /// A tool was used.
    After(After),
    /// A person wrote something to the agent.
    Prompt { text: String },
    /// Nothing that is judged.
    Other,
}

/// A tool is about to be used.
#[derive(Debug)]
pub(crate) struct Before {
    pub(crate) action: Action,
    pub(crate) of: Of,
    pub(crate) ticket: Digest,
    /// The folder that relative paths of the call are relative to.
    pub(crate) cwd: Option<PathBuf>,
}

/// A tool was used.
#[derive(Debug)]
pub(crate) struct After {
    pub(crate) of: Of,
    pub(crate) ticket: Digest,
    pub(crate) status: Status,
    pub(crate) result: Option<String>,
}

/// Whose tool it is, as the client says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Of {
    /// The client's own, or a server's that can't be told from one.
    Client,
    /// `mcp__server__tool`, without its first part. Where the server's name ends is not said.
    Joined(String),
    /// The server of that name.
    Server(String),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, alias = "hookEventName")]
    hook_event_name: Cow<'a, str>,
    /// Cursor's is `conversation_id`; earlier releases of VS Code wrote `sessionId`.
    #[serde(borrow, default, alias = "sessionId")]
    session_id: Cow<'a, str>,
    #[serde(borrow, default)]
    conversation_id: Cow<'a, str>,
    cwd: Option<PathBuf>,
    #[serde(borrow)]
    workspace_roots: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool_input: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_use_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    command: Option<&'a RawValue>,
    #[serde(borrow)]
    file_path: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    mcp_context: Option<&'a RawValue>,
    #[serde(borrow)]
    mcp_server_name: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_response: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_output: Option<&'a RawValue>,
    #[serde(borrow)]
    result_json: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    error_message: Option<&'a RawValue>,
    cursor_version: Option<IgnoredAny>,
    timestamp: Option<IgnoredAny>,
    permission_mode: Option<IgnoredAny>,
}

/// A server's tool, where the client says both names.
#[derive(Deserialize)]
struct McpContext {
    server_name: String,
    tool_name: String,
}

/// A result that says by itself that the tool failed.
#[derive(Deserialize)]
struct Failed {
    error: Option<IgnoredAny>,
    #[serde(rename = "isError")]
    is_error: Option<bool>,
}

/// A call, as the client says it.
struct Call<'a> {
    of: Of,
    server: Cow<'a, str>,
    tool: Cow<'a, str>,
    /// Its arguments, as JSON.
    arguments: Cow<'a, str>,
}

impl Told {
    /// Reads what a client writes to its hook.
    ///
    /// # Errors
    /// Why it can't be judged.
    pub(crate) fn read(contract: Contract, input: &[u8]) -> Result<Self, String> {
        if input.len() > INPUT_BYTES_MAX {
            return Err("the input is too large".to_owned());
        }
        let envelope: Envelope<'_> =
            serde_json::from_slice(input).map_err(|error| format!("the input: {error}"))?;
        let contract = envelope.caller(contract);
        let (moment, form) = contract.moment(&envelope.hook_event_name);
        let event = match moment {
            Moment::Before(source) => envelope.before(contract, source)?,
            Moment::After(source) => envelope.after(contract, source, Status::Ok)?,
            Moment::AfterFailure(source) => envelope.after(contract, source, Status::Error)?,
            Moment::Prompt => envelope.prompt(),
            Moment::Other => Event::Other,
        };
        Ok(Self { event, form })
    }
}

impl<'a> Envelope<'a> {
    /// Who calls. Cursor and VS Code also run the hooks of Claude Code's settings, and what they say can be
    /// told from what Claude Code says.
    fn caller(&self, said: Contract) -> Contract {
        match said {
            Contract::ClaudeCode if self.cursor_version.is_some() => Contract::Cursor,
            Contract::ClaudeCode if self.timestamp.is_some() && self.permission_mode.is_none() => {
                Contract::Vscode
            }
            _ => said,
        }
    }

    fn before(&self, contract: Contract, source: Source) -> Result<Event, String> {
        let Some(call) = self.call(contract, source)? else { return Ok(Event::Other) };
        if call.arguments.len() > BODY_BYTES_MAX {
            return Err("the arguments are larger than 4 MiB".to_owned());
        }
        let arguments =
            Json::parse(call.arguments.as_bytes()).map_err(|e| format!("the arguments: {e}"))?;
        if arguments.as_object().is_none() {
            return Err("the arguments are no object".to_owned());
        }
        let action = Action::new(&call.server, &call.tool, "tools/call", arguments, None)
            .map_err(|error| format!("the tool's name: {error}"))?;
        let ticket = self.ticket(&call)?;
        Ok(Event::Before(Box::new(Before { action, ticket, of: call.of, cwd: self.folder() })))
    }

    fn after(&self, contract: Contract, source: Source, status: Status) -> Result<Event, String> {
        let Some(call) = self.call(contract, source)? else { return Ok(Event::Other) };
        let ticket = self.ticket(&call)?;
        let result = match status {
            Status::Ok => [self.tool_response, self.tool_output, self.result_json, self.output],
            _ => [self.error, self.error_message, None, None],
        };
        let result = result.into_iter().flatten().next().map(|raw| raw.get().to_owned());
        let failed = result.as_deref().is_some_and(|result| says_failure(contract, result));
        let status = if failed { Status::Error } else { status };
        // A larger one is not digested; that it ended is still known.
        let result = result.filter(|result| result.len() <= BODY_BYTES_MAX / 2);
        Ok(Event::After(After { of: call.of, ticket, status, result }))
    }

    fn prompt(&self) -> Event {
        let text = self.prompt.and_then(text_of).filter(|text| text.len() <= BODY_BYTES_MAX);
        match text {
            Some(text) => Event::Prompt { text },
            None => Event::Other,
        }
    }

    /// The call that is meant; `None` for one that another event is about.
    fn call(&self, contract: Contract, source: Source) -> Result<Option<Call<'_>>, String> {
        let own = |tool: &'static str, argument: &str, raw: Option<&RawValue>| {
            let raw = raw.ok_or_else(|| format!("the input names no {argument}"))?.get();
            let arguments = Cow::Owned(format!("{{\"{argument}\":{raw}}}"));
            let (server, tool) = (contract.as_str().into(), tool.into());
            Ok(Some(Call { of: Of::Client, server, tool, arguments }))
        };
        match source {
            Source::Shell => return own("Shell", "command", self.command),
            Source::File => return own("Read", "file_path", self.file_path),
            Source::Tool | Source::Server => {}
        }
        let tool = self.tool_name.as_deref().ok_or("the input names no tool")?;
        let raw = self.tool_input.ok_or("the input names no arguments")?;
        let (of, server, tool) = match source {
            Source::Server => {
                let server = self.mcp_server_name.and_then(text_of);
                let of = server.clone().map_or(Of::Client, Of::Server);
                (of, server.map_or(contract.as_str().into(), Cow::Owned), tool.into())
            }
            // `beforeMCPExecution` says the server too.
            _ if contract == Contract::Cursor && tool.starts_with("MCP:") => return Ok(None),
            _ => self.named(contract, tool)?,
        };
        // Cursor says a server's arguments as a text.
        let arguments = match source {
            Source::Server => text_of(raw).map_or(raw.get().into(), Cow::Owned),
            _ => raw.get().into(),
        };
        Ok(Some(Call { of, server, tool, arguments }))
    }

    /// Whose tool it is, and the names of server and tool.
    fn named<'b>(
        &self,
        contract: Contract,
        tool: &'b str,
    ) -> Result<(Of, Cow<'b, str>, Cow<'b, str>), String> {
        if let Some(raw) = self.mcp_context {
            let context: McpContext =
                serde_json::from_str(raw.get()).map_err(|e| format!("the tool's server: {e}"))?;
            let of = Of::Server(context.server_name.clone());
            return Ok((of, context.server_name.into(), context.tool_name.into()));
        }
        let Some(rest) = tool.strip_prefix("mcp__") else {
            return Ok((Of::Client, contract.as_str().into(), tool.into()));
        };
        let parts = rest.split_once("__");
        let parts = parts.filter(|(server, tool)| !server.is_empty() && !tool.is_empty());
        let (server, name) = parts.unwrap_or((contract.as_str(), tool));
        Ok((Of::Joined(rest.to_owned()), server.into(), name.into()))
    }

    fn session(&self) -> &str {
        if self.session_id.is_empty() { &self.conversation_id } else { &self.session_id }
    }

    /// The name that the call has before and after it was made. Some clients give calls no number.
    fn ticket(&self, call: &Call<'_>) -> Result<Digest, String> {
        let number = match &self.tool_use_id {
            Some(id) if !id.is_empty() => id.to_string(),
            _ => format!("{}\n{}", self.tool_name.as_deref().unwrap_or(&call.tool), call.arguments),
        };
        if self.session().is_empty() {
            return Err("the input names no session".to_owned());
        }
        Ok(Digest::of_parts(&[b"hook\0", self.session().as_bytes(), b"\0", number.as_bytes()]))
    }

    fn folder(&self) -> Option<PathBuf> {
        let given = self.cwd.clone().filter(|cwd| !cwd.as_os_str().is_empty());
        given.or_else(|| {
            let roots: Vec<PathBuf> = serde_json::from_str(self.workspace_roots?.get()).ok()?;
            roots.into_iter().next()
        })
    }
}

fn text_of(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// Whether a result says that its tool failed, where the client has no event for that.
fn says_failure(contract: Contract, result: &str) -> bool {
    let says = matches!(contract, Contract::Codex | Contract::Gemini);
    says && serde_json::from_str::<Failed>(result)
        .is_ok_and(|said| said.error.is_some() || said.is_error == Some(true))
}

#[cfg(test)]
mod tests;
