//! A fast MCP server over stdio: what is measured should wait for nothing else.
//!
//! It looks for two members of each line by their bytes, and answers everything that has come with one
//! write. It is no model of a server: it believes its client.

use std::io::{Read as _, Write as _};

use crate::failure::Failure;

/// Length of the text that a call is answered with, in bytes.
const ECHO_BYTES: usize = 100;

/// The name under which the server is wrapped, so that the default policies know its tool.
pub(crate) const SERVER: &str = "notes";
/// Its one tool.
pub(crate) const TOOL: &str = "read_note";

/// Serves until standard input ends.
pub(crate) fn serve() -> Result<(), Failure> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let (mut held, mut answers) = (Vec::new(), Vec::new());
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = input.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        held.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let mut done = 0;
        while let Some(end) = held.get(done..).and_then(line_end) {
            answer(held.get(done..done + end).unwrap_or_default(), &mut answers);
            done += end + 1;
        }
        held.drain(..done);
        output.write_all(&answers)?;
        output.flush()?;
        answers.clear();
    }
}

/// The raw value of the last top-level member `id`, as far as bytes tell.
pub(crate) fn id(line: &[u8]) -> Option<&[u8]> {
    let at = find(line, b"\"id\":")? + 5;
    let rest = line.get(at..)?;
    let end = rest.iter().position(|byte| matches!(byte, b',' | b'}'))?;
    rest.get(..end)
}

/// The place of some bytes in others.
pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Where a line ends.
pub(crate) fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

/// Answers one request; nothing is written for what needs no answer.
pub(crate) fn answer(line: &[u8], out: &mut Vec<u8>) {
    let Some(id) = id(line) else { return };
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id);
    if find(line, b"\"tools/call\"").is_some() {
        out.extend_from_slice(b",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"");
        out.resize(out.len() + ECHO_BYTES, b'e');
        out.extend_from_slice(b"\"}]}}\n");
    } else if find(line, b"\"tools/list\"").is_some() {
        let tool = format!(
            ",\"result\":{{\"tools\":[{{\"name\":\"{TOOL}\",\"description\":\"Reads a note.\",\
             \"inputSchema\":{{\"type\":\"object\",\"properties\":{{\"name\":{{\"type\":\"string\"}},\
             \"text\":{{\"type\":\"string\"}}}},\"required\":[\"name\"]}},\
             \"annotations\":{{\"readOnlyHint\":true,\"openWorldHint\":false}}}}]}}}}\n"
        );
        out.extend_from_slice(tool.as_bytes());
    } else if find(line, b"\"initialize\"").is_some() {
        out.extend_from_slice(
            b",\"result\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{\"tools\":{}},\
              \"serverInfo\":{\"name\":\"echo\",\"version\":\"1\"}}}\n",
        );
    } else {
        out.extend_from_slice(b",\"result\":{}}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_json_and_bear_the_id() {
        for method in ["initialize", "tools/list", "tools/call", "ping"] {
            let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":17,\"method\":\"{method}\"}}");
            let mut out = Vec::new();
            answer(line.as_bytes(), &mut out);
            let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(json["id"], 17);
            assert!(json["result"].is_object());
        }
        let mut out = Vec::new();
        answer(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, &mut out);
        assert!(out.is_empty());
    }
}
