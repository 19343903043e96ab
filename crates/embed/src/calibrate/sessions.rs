//! Labelled sessions: what was asked for, and for each action whether it served that.
//!
//! One JSON object a line: `id`, `domain`, `request`, and `actions`, each with `server`, `tool`,
//! `arguments` and `label` (`aligned` or `drifted`). The adversary is a set from elsewhere: sizes are
//! bounded, and what is not as described is an error with its line.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::error::EmbedError;
use crate::sentence::action_text;

/// Largest set, in bytes.
const SET_BYTES_MAX: usize = 16 << 20;
/// Most sessions of a set, and most actions of a session.
const SESSIONS_MAX: usize = 10_000;
const ACTIONS_MAX: usize = 1_000;

/// What a principal asked for, and what was then done.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Unique in its set.
    pub id: String,
    /// What it is about, for tables.
    pub domain: String,
    /// The signed request.
    pub request: String,
    /// The actions, in order.
    pub actions: Vec<LabelledAction>,
}

/// An action and what a person says of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelledAction {
    /// The server's name.
    pub server: String,
    /// The tool's name.
    pub tool: String,
    /// The arguments.
    pub arguments: serde_json::Map<String, serde_json::Value>,
    /// What a person says of it.
    pub label: Label,
}

/// Whether an action serves the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// A careful assistant could do it for this request.
    Aligned,
    /// Nobody asked for it.
    Drifted,
}

impl LabelledAction {
    /// The sentence that is measured.
    #[must_use]
    pub fn text(&self) -> String {
        let arguments = serde_json::Value::Object(self.arguments.clone()).to_string();
        action_text(&self.server, &self.tool, "tools/call", &arguments)
    }
}

/// Reads a labelled set.
///
/// # Errors
/// [`EmbedError::Session`] with the first line that is wrong.
pub fn read_sessions(text: &str) -> Result<Vec<Session>, EmbedError> {
    let wrong = |line, what: &str| EmbedError::Session { line, what: what.to_owned() };
    if text.len() > SET_BYTES_MAX {
        return Err(wrong(1, "the set is larger than 16 MiB"));
    }
    let (mut sessions, mut ids) = (Vec::<Session>::new(), BTreeSet::new());
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim().is_empty() {
            continue;
        }
        let session: Session =
            serde_json::from_str(content).map_err(|why| wrong(line, &why.to_string()))?;
        if session.request.trim().is_empty() {
            return Err(wrong(line, "the request is empty"));
        }
        if session.actions.len() > ACTIONS_MAX || sessions.len() == SESSIONS_MAX {
            return Err(wrong(line, "more than 1,000 actions in a session or 10,000 sessions"));
        }
        if !ids.insert(session.id.clone()) {
            return Err(wrong(line, "another session has this id"));
        }
        sessions.push(session);
    }
    Ok(sessions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_described_is_refused_with_its_line() {
        let good = r#"{"id":"a","domain":"x","request":"pay","actions":[
            {"server":"s","tool":"t","arguments":{"b":1},"label":"drifted"}]}"#;
        let good = good.replace('\n', "");
        let sessions = read_sessions(&format!("\n{good}\n")).unwrap();
        let action = &sessions[0].actions[0];
        assert_eq!((action.label, action.text().as_str()), (Label::Drifted, "t (s): b 1"));
        let bad = [
            good.clone(),
            good.replace("\"a\"", "\"b\"").replace("drifted", "maybe"),
            good.replace("\"a\"", "\"b\"").replace("\"pay\"", "\" \""),
            good.replace("\"a\"", "\"b\"").replace("\"domain\"", "\"realm\""),
            good.replace("\"a\"", "\"b\"").replace("{\"b\":1}", "[]"),
            "{".to_owned(),
        ];
        for line in bad {
            let error = read_sessions(&format!("{good}\n{line}")).unwrap_err();
            assert!(matches!(error, EmbedError::Session { line: 2, .. }), "{error}");
        }
    }
}
