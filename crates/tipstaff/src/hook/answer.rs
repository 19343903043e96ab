//! What a client is told, in the form that it understands.
//!
//! The adversary is an answer that its client drops: a change that can't be said as it is meant is a
//! refusal.

use std::io::Write as _;

use serde_json::{Map, Value, json};
use tipstaff_core::Json;

use super::Permitted;
use super::contract::Form;

/// What the client is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing that changes what it would do.
    Nothing,
    /// The call may go on without a question.
    Allow(String),
    /// The call may go on with these arguments.
    Change(Permitted, Value),
    /// The call is refused.
    Deny(String),
}

impl Answer {
    /// Changed arguments, or a refusal where this form can't say them.
    pub(super) fn changed(form: Form, permitted: Permitted, asked: &Json, now: &Json) -> Self {
        let refused =
            |why: &str| Self::Deny(format!("The arguments would have to change, and {why}."));
        match form {
            Form::CursorGate | Form::CursorPrompt => {
                return refused("this event of the client can't change them");
            }
            // What is left out of the answer stays in the call.
            Form::Gemini if lacks(now, asked) => {
                return refused("this client can't leave one of them out");
            }
            Form::Claude | Form::Codex | Form::CursorTool | Form::Gemini => {}
        }
        match serde_json::from_str(&now.to_canonical()) {
            Ok(input) => Self::Change(permitted, input),
            Err(_) => refused("they can't be written"),
        }
    }

    fn to_json(&self, form: Form) -> Option<Value> {
        match form {
            Form::Claude | Form::Codex => self.to_claude(form),
            Form::CursorTool | Form::CursorGate => Some(self.to_cursor()),
            Form::CursorPrompt => Some(json!({ "continue": !matches!(self, Self::Deny(_)) })),
            Form::Gemini => self.to_gemini(),
        }
    }

    fn to_claude(&self, form: Form) -> Option<Value> {
        let mut output = Map::new();
        output.insert("hookEventName".to_owned(), "PreToolUse".into());
        let mut say = |name: &str, value: Value| output.insert(name.to_owned(), value);
        match self {
            Self::Nothing => return None,
            Self::Allow(_) if form == Form::Codex => return None,
            Self::Allow(reason) => {
                say("permissionDecision", "allow".into());
                say("permissionDecisionReason", reason.as_str().into());
            }
            Self::Change(permitted, input) => {
                // Without a decision Claude Code asks its user about the changed arguments. Codex asks by
                // another event, and doesn't hear of a change without this word.
                if *permitted == Permitted::Grant || form == Form::Codex {
                    say("permissionDecision", "allow".into());
                }
                say("updatedInput", input.clone());
            }
            Self::Deny(reason) => {
                say("permissionDecision", "deny".into());
                say("permissionDecisionReason", reason.as_str().into());
            }
        }
        Some(json!({ "hookSpecificOutput": output }))
    }

    /// Always an object: with `failClosed`, Cursor takes no JSON for a failed hook.
    fn to_cursor(&self) -> Value {
        match self {
            Self::Nothing => json!({}),
            Self::Allow(_) => json!({ "permission": "allow" }),
            Self::Change(_, input) => json!({ "permission": "allow", "updated_input": input }),
            Self::Deny(reason) => {
                json!({ "permission": "deny", "user_message": reason, "agent_message": reason })
            }
        }
    }

    fn to_gemini(&self) -> Option<Value> {
        match self {
            Self::Nothing => None,
            Self::Allow(_) => Some(json!({ "decision": "allow" })),
            Self::Change(_, input) => Some(json!({
                "hookSpecificOutput": { "hookEventName": "BeforeTool", "tool_input": input },
            })),
            Self::Deny(reason) => Some(json!({ "decision": "deny", "reason": reason })),
        }
    }

    /// Writes it to standard output.
    ///
    /// # Errors
    /// Why it can't be written.
    pub(super) fn write(&self, form: Form) -> Result<(), String> {
        let Some(json) = self.to_json(form) else { return Ok(()) };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{json}")
            .and_then(|()| out.flush())
            .map_err(|error| format!("the answer can't be written: {error}"))
    }
}

/// Whether something that was asked is not there any more.
fn lacks(now: &Json, asked: &Json) -> bool {
    let names = asked.as_object().into_iter().flat_map(|object| object.iter());
    names.into_iter().any(|(name, _)| now.get(name).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(form: Form, permitted: Permitted, asked: &str, now: &str) -> Value {
        let (asked, now) = (Json::parse(asked.as_bytes()), Json::parse(now.as_bytes()));
        let answer = Answer::changed(form, permitted, &asked.unwrap(), &now.unwrap());
        answer.to_json(form).unwrap()
    }

    #[test]
    fn a_change_is_said_as_each_client_hears_it_or_refused() {
        let (asked, now) = (r#"{"a":1,"b":2}"#, r#"{"a":3,"b":2}"#);
        let of = |form| change(form, Permitted::Defer, asked, now);
        let input = json!({ "a": 3, "b": 2 });
        let claude = of(Form::Claude)["hookSpecificOutput"].clone();
        assert_eq!((&claude["updatedInput"], claude.get("permissionDecision")), (&input, None));
        let codex = of(Form::Codex)["hookSpecificOutput"].clone();
        assert_eq!(
            (&codex["updatedInput"], &codex["permissionDecision"]),
            (&input, &json!("allow"))
        );
        assert_eq!(of(Form::CursorTool)["updated_input"], input);
        assert_eq!(of(Form::CursorGate)["permission"], "deny");
        assert_eq!(of(Form::Gemini)["hookSpecificOutput"]["tool_input"], input);
        assert_eq!(of(Form::Gemini).get("decision"), None);
        let less = change(Form::Gemini, Permitted::Grant, asked, r#"{"a":3}"#);
        assert_eq!(less["decision"], "deny", "a key that is left out would stay");
        assert_eq!(
            change(Form::Claude, Permitted::Grant, asked, r#"{"a":3}"#)["hookSpecificOutput"]["updatedInput"],
            json!({ "a": 3 })
        );
    }

    #[test]
    fn silence_is_said_where_silence_would_be_a_failure() {
        for (form, wanted) in [
            (Form::Claude, None),
            (Form::Codex, None),
            (Form::Gemini, None),
            (Form::CursorTool, Some(json!({}))),
            (Form::CursorGate, Some(json!({}))),
            (Form::CursorPrompt, Some(json!({ "continue": true }))),
        ] {
            assert_eq!(Answer::Nothing.to_json(form), wanted, "{form:?}");
        }
        let allow = Answer::Allow("r".to_owned());
        assert_eq!(allow.to_json(Form::Codex), None, "an `allow` alone is a failed hook there");
    }
}
