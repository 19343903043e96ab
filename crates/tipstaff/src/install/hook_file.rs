//! The files in which each client keeps its hooks, and how an entry is written there.
//!
//! The adversary is an entry that its client reads otherwise than it was meant: another unit of time, a
//! failure that lets the call through, a switch that turns all of them off.

use serde_json::{Value, json};

use super::jsonc::Node;
use super::servers::Own;
use crate::hook::contract::Contract;

/// Seconds until the client gives up on a hook. `tipstaff hook` answers sooner.
const TIMEOUT_S: u32 = 600;

/// The form of a client's file with hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HookFile(pub(crate) Contract);

/// How the hooks of an event are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A list of groups, each with a matcher and hooks.
    Groups,
    /// A list of hooks.
    Flat,
}

impl HookFile {
    /// The events that Tipstaff judges, settles by, or hears what the user wants from.
    pub(crate) const fn events(self) -> &'static [&'static str] {
        match self.0 {
            Contract::ClaudeCode => {
                &["PreToolUse", "PostToolUse", "PostToolUseFailure", "UserPromptSubmit"]
            }
            Contract::Codex | Contract::Vscode => {
                &["PreToolUse", "PostToolUse", "UserPromptSubmit"]
            }
            Contract::Cursor => &[
                "preToolUse",
                "postToolUse",
                "postToolUseFailure",
                "beforeMCPExecution",
                "afterMCPExecution",
                "beforeSubmitPrompt",
            ],
            Contract::Gemini => &["BeforeTool", "AfterTool", "BeforeAgent"],
        }
    }

    pub(crate) const fn shape(self) -> Shape {
        match self.0 {
            Contract::ClaudeCode | Contract::Codex | Contract::Gemini => Shape::Groups,
            Contract::Cursor | Contract::Vscode => Shape::Flat,
        }
    }

    /// What a file says that is made.
    pub(crate) const fn empty(self) -> &'static str {
        match self.0 {
            Contract::ClaudeCode | Contract::Codex | Contract::Gemini => "{}\n",
            Contract::Cursor | Contract::Vscode => "{\n  \"version\": 1\n}\n",
        }
    }

    /// What stands in the list of an event.
    pub(crate) fn entry(self, event: &str, own: &Own) -> Value {
        let command = self.command(own);
        let is_prompt = ["UserPromptSubmit", "beforeSubmitPrompt", "BeforeAgent"].contains(&event);
        // A prompt goes on, whether or not it is heard.
        let is_early = event.to_ascii_lowercase().starts_with("pre") || event.starts_with("before");
        let judges = is_early && !is_prompt;
        match self.0 {
            // Clients that know `onFailure` refuse the call when the hook itself fails.
            Contract::ClaudeCode if judges => group(json!({
                "type": "command", "command": command, "timeout": TIMEOUT_S, "onFailure": "block",
            })),
            Contract::ClaudeCode | Contract::Codex => {
                group(json!({ "type": "command", "command": command, "timeout": TIMEOUT_S }))
            }
            Contract::Gemini => group(json!({
                "type": "command", "name": "tipstaff", "command": command,
                "timeout": TIMEOUT_S * 1000,
            })),
            Contract::Cursor if judges => {
                json!({ "command": command, "timeout": TIMEOUT_S, "failClosed": true })
            }
            Contract::Cursor => json!({ "command": command, "timeout": TIMEOUT_S }),
            Contract::Vscode => {
                json!({ "type": "command", "command": command, "timeout": TIMEOUT_S })
            }
        }
    }

    /// The command of our hook, as a shell reads it.
    pub(crate) fn command(self, own: &Own) -> String {
        let client = match self.0 {
            Contract::ClaudeCode => String::new(),
            other => format!(" --client {}", other.as_str()),
        };
        // `exec`: the hook's parent is then the client, whose session it joins, and not a shell.
        format!("exec {} hook{client} --home {}", quoted(&own.exe), quoted(&own.home))
    }

    /// The switch in this file that turns every hook off, if it does.
    pub(crate) fn off(self, node: &Node, text: &str) -> Option<&'static str> {
        let is = |node: Option<&Node>, word: &str| {
            node.is_some_and(|node| text.get(node.span()) == Some(word))
        };
        match self.0 {
            Contract::ClaudeCode if is(node.get("disableAllHooks"), "true") => {
                Some("disableAllHooks is true")
            }
            Contract::Gemini => {
                let config = node.get("hooksConfig");
                if is(config.and_then(|config| config.get("enabled")), "false") {
                    return Some("hooksConfig.enabled is false");
                }
                let disabled = config?.get("disabled")?.as_array()?;
                let ours = |item: &Node| {
                    item.as_text()
                        .is_some_and(|name| name == "tipstaff" || name.contains("tipstaff hook"))
                };
                disabled.items.iter().any(ours).then_some("hooksConfig.disabled names ours")
            }
            _ => None,
        }
    }
}

fn group(hook: Value) -> Value {
    json!({ "matcher": "*", "hooks": [hook] })
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-+@%:=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
