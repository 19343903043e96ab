//! The clients whose hooks are answered, and what each of them calls things.
//!
//! The adversary is a difference between two contracts that was overlooked: an answer that one client takes
//! for a refusal is, for another, a failed hook, and its call goes through.
//!
//! | client | contract, as written in |
//! |---|---|
//! | Claude Code | <https://code.claude.com/docs/en/hooks> |
//! | Codex | `openai/codex`, `codex-rs/hooks/src`, and <https://developers.openai.com/codex/hooks>; driven with 0.169.0 |
//! | Cursor | <https://cursor.com/docs/hooks.md> |
//! | VS Code, local harness | <https://code.visualstudio.com/docs/agents/reference/hooks-reference> and `microsoft/vscode`, `chatHookService.ts` |
//! | Gemini CLI | `google-gemini/gemini-cli`, `docs/hooks/reference.md` and `packages/core/src/hooks`; driven with 0.61.0 |

use clap::ValueEnum;

/// A client with a hook contract that is answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contract {
    /// Claude Code
    ClaudeCode,
    /// Codex
    Codex,
    /// Cursor
    Cursor,
    /// Visual Studio Code
    Vscode,
    /// Gemini CLI
    Gemini,
}

/// The form that an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Claude Code's, which VS Code shares.
    Claude,
    /// Claude Code's names with rules of its own: `allow` is only heard with changed arguments, and changed
    /// arguments only with `allow`.
    Codex,
    /// Cursor's for a tool of any kind.
    CursorTool,
    /// Cursor's for an event that can't change arguments.
    CursorGate,
    /// Cursor's for a prompt.
    CursorPrompt,
    /// Gemini CLI's, whose changed arguments are laid over those that were asked.
    Gemini,
}

/// What an event's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Before(Source),
    After(Source),
    AfterFailure(Source),
    Prompt,
    Other,
}

/// Where an event says which tool is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// `tool_name` and `tool_input`.
    Tool,
    /// The same of a server's tool, with the arguments as a text.
    Server,
    /// `command`.
    Shell,
    /// `file_path`.
    File,
}

impl Contract {
    /// The spelling on the command line, and the server that the client's own tools belong to.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
            Self::Gemini => "gemini",
        }
    }

    /// What an event's name means, and the form of its answer. A name means the same whichever client was
    /// said to call: a call must not pass because a word of the command line is wrong.
    pub(super) fn moment(self, event: &str) -> (Moment, Form) {
        use Moment::{After, AfterFailure, Before, Other, Prompt};
        let claude = if self == Self::Codex { Form::Codex } else { Form::Claude };
        match event {
            "PreToolUse" => (Before(Source::Tool), claude),
            "PostToolUse" => (After(Source::Tool), claude),
            "PostToolUseFailure" => (AfterFailure(Source::Tool), claude),
            "UserPromptSubmit" => (Prompt, claude),
            "preToolUse" => (Before(Source::Tool), Form::CursorTool),
            "postToolUse" => (After(Source::Tool), Form::CursorGate),
            "postToolUseFailure" => (AfterFailure(Source::Tool), Form::CursorGate),
            "beforeMCPExecution" => (Before(Source::Server), Form::CursorGate),
            "afterMCPExecution" => (After(Source::Server), Form::CursorGate),
            "beforeShellExecution" => (Before(Source::Shell), Form::CursorGate),
            "afterShellExecution" => (After(Source::Shell), Form::CursorGate),
            "beforeReadFile" => (Before(Source::File), Form::CursorGate),
            "beforeSubmitPrompt" => (Prompt, Form::CursorPrompt),
            "BeforeTool" => (Before(Source::Tool), Form::Gemini),
            "AfterTool" => (After(Source::Tool), Form::Gemini),
            "BeforeAgent" => (Prompt, Form::Gemini),
            _ if self == Self::Cursor => (Other, Form::CursorGate),
            _ => (Other, claude),
        }
    }
}
