//! JSON-RPC frames of the agent, parsed once and strictly.
//!
//! The adversary writes a frame that means one thing here and another upstream: two members of one
//! name, a batch with a call hidden in it, an id that two answers could claim. Whatever isn't exactly
//! one request, one notification or one answer is refused with a sentence, and nothing is forwarded.

use tipstaff_core::json::{Json, Object};

use crate::skim::Skimmer;

/// Longest id in bytes. Ids are kept for as long as a call runs.
pub(crate) const ID_BYTES_MAX: usize = 256;
/// Ids that begin so are the gateway's own.
pub(crate) const OWN_ID: &str = "tipstaff-";

/// JSON-RPC: the text is not JSON that can be judged.
pub(crate) const PARSE_ERROR: i64 = -32700;
/// JSON-RPC: not a request.
pub(crate) const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC: no such method.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC: wrong parameters.
pub(crate) const INVALID_PARAMS: i64 = -32602;

/// A request's id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    /// An integer.
    Integer(i64),
    /// A string.
    Text(String),
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Something that wants an answer.
    Request(Id, String, Option<Object>),
    /// Something that wants none.
    Notification(String, Option<Object>),
    /// An answer to a request of the other side.
    Answer(Id, Answer),
}

/// What an answer carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `result`.
    Result(Json),
    /// `error`.
    Error(Json),
}

/// Why a frame is refused, and whom to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) code: i64,
    pub(crate) id: Option<Id>,
    pub(crate) text: String,
}

impl Id {
    /// The id that a JSON value is.
    pub(crate) fn of(json: &Json) -> Option<Self> {
        match json {
            Json::String(text) if text.len() <= ID_BYTES_MAX => Some(Self::Text(text.clone())),
            Json::Number(number) => number.as_integer().map(Self::Integer),
            _ => None,
        }
    }

    /// The id that a raw JSON text is.
    pub(crate) fn of_raw(raw: &str) -> Option<Self> {
        if raw.starts_with('"') {
            let text: String = serde_json::from_str(raw).ok()?;
            return (text.len() <= ID_BYTES_MAX).then_some(Self::Text(text));
        }
        let number: i64 = raw.parse().ok()?;
        (raw == number.to_string()).then_some(Self::Integer(number))
    }

    /// The id as a JSON value.
    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Integer(number) => Json::from(*number),
            Self::Text(text) => Json::string(text),
        }
    }
}

impl Message {
    /// Reads one frame.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let json = Json::parse(line).map_err(|error| Malformed {
            code: PARSE_ERROR,
            id: Skimmer::skim(line).id,
            text: format!("The message was not forwarded: {error}."),
        })?;
        let Json::Object(frame) = json else {
            let text = match json {
                Json::Array(_) => {
                    "JSON-RPC batches are not part of MCP since 2025-06-18; send one message a line."
                }
                _ => "A message must be a JSON object.",
            };
            return Err(invalid(None, text));
        };
        let id = frame.get("id").and_then(Id::of);
        if frame.get("jsonrpc").and_then(Json::as_str) != Some("2.0") {
            return Err(invalid(id, "The member `jsonrpc` must be \"2.0\"."));
        }
        if frame.get("id").is_some() && id.is_none() {
            return Err(invalid(
                None,
                "An id must be an integer or a string of at most 256 bytes.",
            ));
        }
        if let Some((name, _)) = frame.iter().find(|(name, _)| !MEMBERS.contains(name)) {
            let text = format!("A message has no member `{}`.", name.escape_debug());
            return Err(invalid(id, &text));
        }
        match (frame.get("method"), frame.get("result"), frame.get("error"), id) {
            (Some(Json::String(method)), None, None, id) => {
                let params = match frame.get("params") {
                    None => None,
                    Some(Json::Object(params)) => Some(params.clone()),
                    Some(_) => return Err(invalid(id, "The member `params` must be an object.")),
                };
                match id {
                    Some(id) => Ok(Self::Request(id, method.clone(), params)),
                    // A lenient server carries out a call without an id: it would never be judged.
                    None if !method.starts_with("notifications/") => {
                        Err(invalid(None, "A request must have an id; it was not forwarded."))
                    }
                    None => Ok(Self::Notification(method.clone(), params)),
                }
            }
            (None, Some(result), None, Some(id)) => {
                Ok(Self::Answer(id, Answer::Result(result.clone())))
            }
            (None, None, Some(error), Some(id)) => {
                Ok(Self::Answer(id, Answer::Error(error.clone())))
            }
            (_, _, _, id) => Err(invalid(
                id,
                "A message is a request, a notification or an answer, and only one.",
            )),
        }
    }
}

const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

fn invalid(id: Option<Id>, text: &str) -> Malformed {
    Malformed { code: INVALID_REQUEST, id, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> (i64, Option<Id>) {
        let malformed = Message::parse(line.as_bytes()).expect_err(line);
        (malformed.code, malformed.id)
    }

    #[test]
    fn the_three_kinds_are_read() {
        let read = |line: &str| Message::parse(line.as_bytes()).unwrap();
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
            Message::Request(Id::Integer(1), method, None) if method == "ping"
        ));
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","method":"notifications/x","params":{}}"#),
            Message::Notification(_, Some(_))
        ));
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","id":"a","result":{}}"#),
            Message::Answer(Id::Text(_), Answer::Result(_))
        ));
    }

    /// Without an id there is nothing to answer, and a lenient server would carry it out unjudged.
    #[test]
    fn a_call_without_an_id_is_not_a_notification() {
        for method in ["tools/call", "resources/read", "initialize", "x", "notification/x"] {
            let line = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{{}}}}");
            assert_eq!(refused(&line), (INVALID_REQUEST, None), "{method}");
        }
    }

    /// Whatever the bytes, a frame is read in one way or refused, and the skimmer never panics.
    #[test]
    fn fuzz_frames() {
        let words = [
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"jsonrpc\"",
            "\"2.0\"",
            "\"id\"",
            "\"method\"",
            "1",
            "\"params\"",
            "\"tools/call\"",
            "\"name\"",
            "\"arguments\"",
            "\"_meta\"",
            "null",
            "\"result\"",
            "\"error\"",
            " ",
            "\\",
            "\"",
            "1e9",
            "\"notifications/x\"",
        ];
        bolero::check!().for_each(|bytes: &[u8]| {
            let spelled: Vec<u8> = bytes
                .iter()
                .flat_map(|byte| words[usize::from(*byte) % words.len()].bytes())
                .collect();
            let members = [
                r#""id":1"#,
                r#""id":null"#,
                r#""method":"tools/call""#,
                r#""method":"notifications/x""#,
                r#""params":{}"#,
                r#""result":{}"#,
                r#""error":{}"#,
            ];
            let framed: String = bytes
                .iter()
                .take(3)
                .map(|b| format!(",{}", members[usize::from(*b) % 7]))
                .collect();
            let framed = format!(r#"{{"jsonrpc":"2.0"{framed}}}"#);
            for line in [bytes, &spelled, framed.as_bytes()] {
                let _ = Skimmer::skim(line);
                match Message::parse(line) {
                    Ok(Message::Request(id, method, params)) => {
                        let _ = crate::request::from_client("s", &id, &method, params.as_ref());
                        let _ = crate::request::from_server("s", &id, &method, params.as_ref());
                    }
                    Ok(Message::Notification(method, _)) => {
                        assert!(method.starts_with("notifications/"));
                    }
                    Ok(Message::Answer(..)) | Err(_) => {}
                }
            }
        });
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        let id = Some(Id::Integer(1));
        assert_eq!(
            refused(r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":1,"x":2}}"#),
            (PARSE_ERROR, id.clone())
        );
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#), (PARSE_ERROR, None));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1,"method":"#), (PARSE_ERROR, None));
        assert_eq!(refused(r#"[{"jsonrpc":"2.0","id":1,"method":"a"}]"#), (INVALID_REQUEST, None));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#), (INVALID_REQUEST, None));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#), (INVALID_REQUEST, None));
        assert_eq!(
            refused(r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#),
            (INVALID_REQUEST, id.clone())
        );
        assert_eq!(
            refused(r#"{"jsonrpc":"2.0","id":1,"method":"a","x":1}"#),
            (INVALID_REQUEST, id.clone())
        );
        assert_eq!(
            refused(r#"{"jsonrpc":"2.0","id":1,"method":"a","result":1}"#),
            (INVALID_REQUEST, id.clone())
        );
        assert_eq!(
            refused(r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[]}"#),
            (INVALID_REQUEST, id.clone())
        );
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1}"#), (INVALID_REQUEST, id));
    }
}
