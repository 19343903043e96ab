//! The frames that the gateway itself writes.
//!
//! The adversary makes a refusal look like something else, or like nothing: every refusal says what
//! was refused, by which policy, and names its receipt, in the form that the asking side shows.

use tipstaff_core::Digest;
use tipstaff_core::json::{Json, write_string};
use tipstaff_monitor::Refusal;

use crate::message::{Id, Malformed};
use crate::request::Form;

/// JSON-RPC: the other side, or the gateway, could not do it.
pub(crate) const FAILED: i64 = -32000;
/// JSON-RPC: the monitor refused.
pub(crate) const REFUSED: i64 = -32001;

/// Why there is no answer of the other side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure<'a> {
    /// A sentence for the agent.
    pub(crate) text: &'a str,
    /// The receipt of the verdict, if one was reached.
    pub(crate) receipt: Option<Digest>,
}

/// A request, or without an id a notification.
pub(crate) fn request(id: Option<&Id>, method: &str, params: Option<&Json>) -> String {
    let mut line = String::with_capacity(256);
    line.push_str("{\"jsonrpc\":\"2.0\"");
    if let Some(id) = id {
        line.push_str(",\"id\":");
        id.to_json().write_canonical(&mut line);
    }
    line.push_str(",\"method\":");
    write_string(&mut line, method);
    if let Some(params) = params {
        line.push_str(",\"params\":");
        params.write_canonical(&mut line);
    }
    line.push_str("}\n");
    line
}

/// An answer with a result or an error in `member`.
pub(crate) fn answer(id: Option<&Id>, member: &str, value: &Json) -> String {
    let mut line = String::with_capacity(256);
    line.push_str("{\"jsonrpc\":\"2.0\",\"id\":");
    id.map_or(Json::Null, Id::to_json).write_canonical(&mut line);
    line.push(',');
    write_string(&mut line, member);
    line.push(':');
    value.write_canonical(&mut line);
    line.push_str("}\n");
    line
}

/// The answer to a malformed frame.
pub(crate) fn malformed(fault: &Malformed) -> String {
    error(fault.id.as_ref(), fault.code, &fault.text, None)
}

/// The answer to a request that the monitor refused.
pub(crate) fn refusal(id: &Id, form: Form, refusal: &Refusal) -> String {
    let word = |word: Option<&str>| word.map_or(Json::Null, Json::string);
    let meta = members(vec![
        ("tipstaff/receipt", word(refusal.receipt.map(|receipt| receipt.to_hex()).as_deref())),
        ("tipstaff/verdict", word(refusal.verdict.map(tipstaff_core::Verdict::as_str))),
        ("tipstaff/policy", word(refusal.rule.as_deref())),
    ]);
    told(id, form, REFUSED, &refusal.text, Some(meta))
}

/// The answer to a request that could not be carried out.
pub(crate) fn failure(id: &Id, form: Form, failure: Failure<'_>) -> String {
    let receipt = failure.receipt.map(|receipt| Json::string(&receipt.to_hex()));
    let meta = receipt.map(|receipt| members(vec![("tipstaff/receipt", receipt)]));
    told(id, form, FAILED, failure.text, meta)
}

fn told(id: &Id, form: Form, code: i64, text: &str, meta: Option<Json>) -> String {
    if form == Form::Error {
        return error(Some(id), code, text, meta);
    }
    let content = members(vec![("type", Json::string("text")), ("text", Json::string(text))]);
    let mut result = vec![("content", Json::Array(vec![content])), ("isError", Json::from(true))];
    result.extend(meta.map(|meta| ("_meta", meta)));
    answer(Some(id), "result", &members(result))
}

/// An error, with what it is about.
pub(crate) fn error(id: Option<&Id>, code: i64, text: &str, data: Option<Json>) -> String {
    let mut error = vec![("code", Json::from(code)), ("message", Json::string(text))];
    error.extend(data.map(|data| ("data", data)));
    answer(id, "error", &members(error))
}

fn members(members: Vec<(&str, Json)>) -> Json {
    let members = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Json::object(members).unwrap_or(Json::Null)
}

#[cfg(test)]
mod tests {
    use tipstaff_core::Verdict;

    use super::*;

    #[test]
    fn a_refusal_says_why_in_both_forms() {
        let no = Refusal {
            verdict: Some(Verdict::Deny),
            receipt: Some(Digest::ZERO),
            rule: Some("no-home".into()),
            text: "No.".into(),
        };
        let zeros = "0".repeat(64);
        assert_eq!(
            refusal(&Id::Integer(3), Form::ToolResult, &no),
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{{\"_meta\":{{\"tipstaff/policy\":\"no-home\",\
                 \"tipstaff/receipt\":\"{zeros}\",\"tipstaff/verdict\":\"DENY\"}},\"content\":[{{\"text\":\
                 \"No.\",\"type\":\"text\"}}],\"isError\":true}}}}\n"
            )
        );
        let line = refusal(&Id::Integer(3), Form::Error, &no);
        let read = Json::parse(line.trim_end().as_bytes()).unwrap();
        assert_eq!(read.pointer("/error/code").and_then(Json::as_integer), Some(REFUSED));
        assert_eq!(
            read.pointer("/error/data/tipstaff~1verdict").and_then(Json::as_str),
            Some("DENY")
        );
    }
}
