//! One client over streamable HTTP, so cheap that it is not what is measured.
//!
//! The adversary is an answer that is counted without being one: each call's answer is looked at for the
//! text that only the upstream can have given.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::echo::{TOOL, find};
use crate::failure::Failure;

/// Time for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// One client with one session on one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
    session: Option<String>,
    /// The tool, under the name that the target gives it.
    tool: String,
    next: u64,
}

impl Connection {
    /// Opens a session and looks for the tool.
    pub(crate) fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        let stream = BufReader::with_capacity(64 << 10, stream);
        let mut own = Self { stream, address, session: None, tool: String::new(), next: 1 };
        own.ask(
            "\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",\
                 \"capabilities\":{},\"clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}}",
        )?;
        // A gateway that knows no notifications says so with an error, and takes calls all the same.
        own.post("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}")?;
        let listed = own.ask("\"method\":\"tools/list\",\"params\":{}")?;
        own.tool = tool(&listed).ok_or_else(|| Failure::wrong("the tool is not listed"))?;
        Ok(own)
    }

    /// Calls until a time comes; how long each call took.
    pub(crate) fn load(&mut self, until: Instant) -> Result<Vec<Duration>, Failure> {
        let text = "e".repeat(100);
        let call = format!(
            "\"method\":\"tools/call\",\"params\":{{\"name\":\"{}\",\"arguments\":{{\"name\":\"today\",\
             \"text\":\"{text}\"}}}}",
            self.tool
        );
        let mut latencies = Vec::new();
        while Instant::now() < until {
            let begun = Instant::now();
            let answer = self.ask(&call)?;
            latencies.push(begun.elapsed());
            if find(&answer, text.as_bytes()).is_none() {
                let words = String::from_utf8_lossy(&answer).into_owned();
                return Err(Failure::wrong(format!("a call was refused: {words}")));
            }
        }
        Ok(latencies)
    }

    fn ask(&mut self, rest: &str) -> Result<Vec<u8>, Failure> {
        let number = self.next;
        self.next += 1;
        let request = format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},{rest}}}");
        let (status, answer) = self.post(&request)?;
        if status.contains(" 20") && find(&answer, b"\"result\"").is_some() {
            return Ok(answer);
        }
        Err(Failure::wrong(format!("{status}: {}", String::from_utf8_lossy(&answer))))
    }

    /// Status line and body of the answer, whole.
    fn post(&mut self, body: &str) -> Result<(String, Vec<u8>), Failure> {
        let session = match &self.session {
            Some(id) => format!("mcp-session-id: {id}\r\nmcp-protocol-version: 2025-11-25\r\n"),
            None => String::new(),
        };
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json, \
             text/event-stream\r\n{session}content-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut chunked) = (None, false);
        let status = self.line()?;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse::<usize>().ok(),
                "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
                "mcp-session-id" => self.session = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = Vec::new();
        if chunked {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.trim(), 16).map_err(Failure::wrong)?;
                let at = body.len();
                body.resize(at + size + 2, 0);
                self.stream.read_exact(body.get_mut(at..).unwrap_or_default())?;
                body.truncate(at + size);
                if size == 0 {
                    break;
                }
            }
        } else {
            body.resize(length.unwrap_or(0), 0);
            self.stream.read_exact(&mut body)?;
        }
        Ok((status, body))
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(Failure::wrong("the connection was closed"));
        }
        Ok(line.trim_end().to_owned())
    }
}

/// The tool's name in a list, which a gateway may have put a server's name before.
fn tool(listed: &[u8]) -> Option<String> {
    // In an event the JSON has something before and after it.
    let (from, to) = (find(listed, b"{")?, listed.iter().rposition(|byte| *byte == b'}')?);
    let listed: Value = serde_json::from_slice(listed.get(from..=to)?).ok()?;
    let names = listed.pointer("/result/tools")?.as_array()?.iter();
    let mut names = names.filter_map(|tool| tool.get("name")?.as_str());
    names.find(|name| name.replace('-', "_").ends_with(TOOL)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_is_found_under_the_name_that_a_gateway_gives_it() {
        let list = |name| {
            format!("{{\"result\":{{\"tools\":[{{\"name\":\"x\"}},{{\"name\":\"{name}\"}}]}}}}")
        };
        for name in ["read_note", "bench-read-note", "notes__read_note"] {
            assert_eq!(tool(list(name).as_bytes()).as_deref(), Some(name));
            let event = format!("event: message\r\ndata: {}\r\n\r\n", list(name));
            assert_eq!(tool(event.as_bytes()).as_deref(), Some(name));
        }
        assert_eq!(tool(list("write_note").as_bytes()), None);
        assert_eq!(tool(b"{\"result\":{\"tools\":[]}}"), None);
    }
}
