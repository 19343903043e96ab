//! A small MCP server of our own: notes in one folder.
//!
//! The adversary is the agent that calls it, with names that lead out of the folder, links, and sizes
//! that fill the disk. It is a server like any other and makes no judgements: what stands in front of
//! it does. Its tools do what they say, on real files.

mod folder;
mod tools;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use tipstaff_core::json::{Json, Object};
use tipstaff_core::limits::BODY_BYTES_MAX;

use crate::answer;
use crate::error::GatewayError;
use crate::frame::{Frame, FrameReader};
use crate::message::{INVALID_PARAMS, INVALID_REQUEST, Id, METHOD_NOT_FOUND, Malformed, Message};
use folder::Folder;

/// Revisions of the protocol that are spoken, newest first.
const REVISIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// Serves the notes of `folder` over standard input and output until the input ends. The folder is made
/// if it isn't there.
///
/// # Errors
/// [`GatewayError::Folder`] if the folder can't be used, [`GatewayError::System`] if a stream breaks.
pub fn serve_notes(folder: &Path) -> Result<(), GatewayError> {
    let refuse = |source| GatewayError::Folder { path: folder.to_owned(), source };
    let notes = Folder::open(folder).map_err(refuse)?;
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let output = std::io::stdout().as_fd().try_clone_to_owned();
    serve(
        &notes,
        File::from(input.map_err(GatewayError::system("standard input"))?),
        File::from(output.map_err(GatewayError::system("standard output"))?),
    )
}

fn serve(notes: &Folder, input: impl Read, mut output: impl Write) -> Result<(), GatewayError> {
    let mut frames = FrameReader::new(input, BODY_BYTES_MAX);
    let mut out = String::new();
    while let Some(frame) = frames.next().map_err(GatewayError::system("standard input"))? {
        match frame {
            Frame::TooLong(skim, bytes) => out.push_str(&answer::malformed(&Malformed {
                code: INVALID_REQUEST,
                id: skim.id,
                text: format!("The message has {bytes} bytes; the limit is {BODY_BYTES_MAX}."),
            })),
            Frame::Line(line) => match Message::parse(line) {
                Ok(Message::Request(id, method, params)) => {
                    out.push_str(&reply(notes, &id, &method, &params.unwrap_or_default()));
                }
                Ok(Message::Notification(..) | Message::Answer(..)) => {}
                Err(fault) => out.push_str(&answer::malformed(&fault)),
            },
        }
        if !frames.has_line() {
            let written = output.write_all(out.as_bytes()).and_then(|()| output.flush());
            written.map_err(GatewayError::system("standard output"))?;
            out.clear();
        }
    }
    output.write_all(out.as_bytes()).map_err(GatewayError::system("standard output"))
}

fn reply(notes: &Folder, id: &Id, method: &str, params: &Object) -> String {
    let wrong = |code, text: &str| {
        answer::malformed(&Malformed { code, id: Some(id.clone()), text: text.to_owned() })
    };
    let result = match method {
        "initialize" => initialized(params),
        "ping" => Json::Object(Object::default()),
        "tools/list" => tools::list(),
        "tools/call" => {
            let Some(name) = params.get("name").and_then(Json::as_str) else {
                return wrong(INVALID_PARAMS, "tools/call needs the name of a tool.");
            };
            match tools::call(notes, name, params.get("arguments")) {
                Some(result) => result,
                None => return wrong(INVALID_PARAMS, "There is no such tool."),
            }
        }
        _ => return wrong(METHOD_NOT_FOUND, "There is no such method."),
    };
    answer::answer(Some(id), "result", &result)
}

fn initialized(params: &Object) -> Json {
    let asked = params.get("protocolVersion").and_then(Json::as_str);
    let [newest, ..] = REVISIONS;
    let revision = REVISIONS.into_iter().find(|known| Some(*known) == asked).unwrap_or(newest);
    object(vec![
        ("protocolVersion", Json::string(revision)),
        ("capabilities", object(vec![("tools", object(vec![("listChanged", Json::from(false))]))])),
        (
            "serverInfo",
            object(vec![
                ("name", Json::string("tipstaff-notes")),
                ("version", Json::string(env!("CARGO_PKG_VERSION"))),
            ]),
        ),
        (
            "instructions",
            Json::string("Plain-text notes in one folder: list, read, search, write, delete."),
        ),
    ])
}

fn object(members: Vec<(&str, Json)>) -> Json {
    let members = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Json::object(members).unwrap_or(Json::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(folder: &Path, lines: &[&str]) -> Vec<Json> {
        let mut out = Vec::new();
        serve(&Folder::open(folder).unwrap(), lines.join("\n").as_bytes(), &mut out).unwrap();
        String::from_utf8(out)
            .unwrap()
            .lines()
            .map(|line| Json::parse(line.as_bytes()).unwrap())
            .collect()
    }

    fn call(folder: &Path, tool: &str, arguments: &str) -> (bool, String) {
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        );
        let answer = talk(folder, &[&line]).remove(0);
        let failed = answer.pointer("/result/isError").and_then(Json::as_bool).unwrap();
        let text = answer.pointer("/result/content/0/text").and_then(Json::as_str).unwrap();
        (!failed, text.to_owned())
    }

    #[test]
    fn a_session_from_hello_to_deletion() {
        let folder = tempfile::tempdir().unwrap();
        let answers = talk(
            folder.path(),
            &[
                r#"{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#,
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#,
                r#"{"jsonrpc":"2.0","id":3,"method":"initialize","params":{"protocolVersion":"1999-01-01"}}"#,
                r#"{"jsonrpc":"2.0","id":4,"method":"ping"}"#,
                r#"{"jsonrpc":"2.0","id":5,"method":"nonsense"}"#,
                "nonsense",
            ],
        );
        assert_eq!(answers.len(), 6);
        let version =
            |n: usize| answers[n].pointer("/result/protocolVersion").and_then(Json::as_str);
        assert_eq!((version(0), version(2)), (Some("2025-06-18"), Some("2025-11-25")));
        assert_eq!(answers[1].pointer("/result/tools").and_then(Json::as_array).unwrap().len(), 5);
        assert!(answers[4].get("error").is_some() && answers[5].get("error").is_some());

        let at = folder.path();
        assert!(call(at, "write_note", r#"{"name":"plan.txt","text":"Buy milk\nCall Ada"}"#).0);
        assert!(call(at, "write_note", r#"{"name":"old","text":"milk"}"#).0);
        assert_eq!(
            call(at, "read_note", r#"{"name":"plan.txt"}"#),
            (true, "Buy milk\nCall Ada".into())
        );
        assert_eq!(
            call(at, "list_notes", "{}"),
            (true, "old (4 bytes)\nplan.txt (17 bytes)".into())
        );
        let (ok, found) = call(at, "search_notes", r#"{"query":"ADA"}"#);
        assert_eq!((ok, found.as_str()), (true, "plan.txt:2: Call Ada"));
        assert_eq!(call(at, "search_notes", r#"{"query":"milk","limit":1}"#).1.lines().count(), 1);
        assert!(call(at, "delete_note", r#"{"name":"plan.txt"}"#).0);
        assert!(!call(at, "read_note", r#"{"name":"plan.txt"}"#).0);
        assert!(!call(at, "delete_note", r#"{"name":"plan.txt"}"#).0);
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::os::unix::fs::symlink(&secret, at.join("link")).unwrap();
        std::fs::create_dir(at.join("inner")).unwrap();
        for name in [
            "../secret",
            "/etc/passwd",
            "..",
            ".",
            "",
            ".hidden",
            "a/b",
            "a\\\\b",
            "a\\u0000b",
            "link",
            "inner",
        ] {
            assert!(!call(at, "read_note", &format!(r#"{{"name":"{name}"}}"#)).0, "read {name}");
            assert!(
                !call(at, "delete_note", &format!(r#"{{"name":"{name}"}}"#)).0,
                "delete {name}"
            );
        }
        // Writing through a link replaces the link, not what it leads to.
        call(at, "write_note", r#"{"name":"link","text":"mine"}"#);
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
        assert!(!call(at, "write_note", r#"{"name":"inner","text":"x"}"#).0);
        assert!(!call(at, "write_note", r#"{"name":"../x","text":"x"}"#).0);
        let long = "n".repeat(200);
        assert!(!call(at, "write_note", &format!(r#"{{"name":"{long}","text":"x"}}"#)).0);
        let large = "x".repeat((1 << 20) + 1);
        assert!(!call(at, "write_note", &format!(r#"{{"name":"big","text":"{large}"}}"#)).0);
        assert!(!call(at, "write_note", r#"{"name":"a"}"#).0);
        assert!(!call(at, "write_note", r#"{"name":"a","text":"b","mode":"x"}"#).0);
        assert_eq!(std::fs::read_dir(at).unwrap().count(), 2, "no half-written files stay");
    }
}
