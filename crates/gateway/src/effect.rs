//! The effects of this door: each takes a permit by value and writes exactly what was judged.
//!
//! The adversary is a request that is judged in one form and sent in another. What goes out is made
//! from the permit's own action, whatever the frame said that it was read from.

use tipstaff_core::{Action, Json};

use crate::judge::Warrant;
use crate::pipe::{Pipe, PipeError};
use crate::request::{Envelope, TOOLS_CALL};

/// Whether an effect that has begun is still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filed {
    /// It waits for its answer.
    Kept,
    /// Whoever asked has gone; nothing may be sent.
    Withdrawn,
}

/// Carries out the permitted action: sends it to the other side.
///
/// `file` is given the running effect before a byte leaves, so that an answer always finds it.
pub(crate) fn send<W: Warrant>(
    permit: W,
    envelope: &Envelope,
    to: &Pipe,
    file: impl FnOnce(W::Effect) -> Filed,
) -> Result<(), PipeError> {
    let line = line(permit.action(), envelope);
    match file(permit.start()) {
        Filed::Kept => to.send(line.as_bytes()),
        Filed::Withdrawn => Ok(()),
    }
}

fn line(action: &Action, envelope: &Envelope) -> String {
    let mut params = if action.operation() == TOOLS_CALL {
        let members = vec![
            ("arguments".to_owned(), action.parameters().clone()),
            ("name".to_owned(), Json::string(action.tool())),
        ];
        Json::object(members).unwrap_or(Json::Null)
    } else {
        action.parameters().clone()
    };
    if let Json::Object(object) = &mut params {
        if let Some(task) = &envelope.task {
            *object = object.with("task", task.clone());
        }
        if let Some(meta) = &envelope.meta {
            *object = object.with("_meta", Json::Object(meta.clone()));
        }
    }
    crate::answer::request(Some(&envelope.id), action.operation(), Some(&params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Id;
    use crate::request::Form;

    #[test]
    fn what_is_sent_is_the_action() {
        let envelope = Envelope {
            id: Id::Text("a".into()),
            meta: Json::parse(br#"{"progressToken":1}"#).unwrap().as_object().cloned(),
            task: Some(Json::parse(br#"{"ttl":5}"#).unwrap()),
            form: Form::Error,
            depends_on: Vec::new(),
        };
        let arguments = Json::parse(br#"{"z":1,"a":[]}"#).unwrap();
        let action = Action::new("s", "t", TOOLS_CALL, arguments.clone(), None).unwrap();
        assert_eq!(
            line(&action, &envelope),
            concat!(
                r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"_meta":{"progressToken":1},"#,
                r#""arguments":{"a":[],"z":1},"name":"t","task":{"ttl":5}}}"#,
                "\n"
            )
        );
        let action = Action::new("s", "prompts/get", "prompts/get", arguments, None).unwrap();
        let envelope = Envelope { task: None, meta: None, ..envelope };
        assert!(line(&action, &envelope).ends_with("\"params\":{\"a\":[],\"z\":1}}\n"));
    }
}
