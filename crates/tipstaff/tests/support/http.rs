//! `tipstaff serve`, and a client that speaks HTTP/1.1 as it likes, wrong where a test wants it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{BINARY, World, kill};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running `serve`, ended with the test.
pub struct Served {
    pub child: Child,
    pub port: u16,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    }

    /// The one message, whether it came alone or as the last event.
    pub fn json(&self) -> Value {
        self.messages().pop().unwrap_or_else(|| panic!("no message: {self:?}"))
    }

    pub fn messages(&self) -> Vec<Value> {
        if self.body.starts_with('{') {
            return vec![serde_json::from_str(&self.body).unwrap()];
        }
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

impl Served {
    pub fn start(world: &World) -> Self {
        Self::start_with(world, &[])
    }

    /// The same, with more options.
    pub fn start_with(world: &World, options: &[&str]) -> Self {
        Self::start_at(world, 0, options)
    }

    /// The same, at a port.
    pub fn start_at(world: &World, port: u16, options: &[&str]) -> Self {
        let mut command = world.command();
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]).args(options);
        command.current_dir(world.work());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let Some((_, port)) = line.trim().rsplit_once("://127.0.0.1:") else {
            let mut words = String::new();
            child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
            panic!("no address: {line:?}; {words}");
        };
        let port = port.parse().unwrap();
        // What it says is read, so that it never waits for a reader.
        let errors = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(drop));
        Self { child, port }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a request with exactly these header lines beside the length.
    pub fn raw(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let mut head = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        // One that refuses doesn't wait for the rest.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        read_answer(&mut BufReader::new(stream))
    }

    /// A request to `/mcp` with the headers that it should have, and `more`.
    pub fn mcp(&self, verb: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let host = format!("127.0.0.1:{}", self.port);
        let mut headers = vec![("Host", host.as_str())];
        let usual = [
            ("Accept", "application/json, text/event-stream"),
            ("Content-Type", "application/json"),
        ];
        headers.extend(usual.into_iter().filter(|(name, _)| more.iter().all(|(m, _)| m != name)));
        headers.extend(more.iter().copied().filter(|(name, _)| *name != "Host"));
        if let Some(host) = more.iter().find(|(name, _)| *name == "Host") {
            headers[0] = *host;
        }
        self.raw(&format!("{verb} /mcp"), &headers, body.as_bytes())
    }

    /// Opens a session.
    pub fn open(&self) -> Talk<'_> {
        let opened = self.mcp("POST", &[], &hello());
        assert_eq!(opened.status, 200, "{opened:?}");
        let id = opened.header("mcp-session-id").unwrap_or_else(|| panic!("{opened:?}"));
        let talk = Talk { served: self, id, opened: opened.json()["result"].clone() };
        let line = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(talk.post(&line).status, 202);
        talk
    }

    /// Asks it to end; its exit code.
    pub fn end(&mut self) -> i32 {
        kill(self.child.id(), "TERM");
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A session.
pub struct Talk<'a> {
    pub served: &'a Served,
    pub id: String,
    pub opened: Value,
}

impl Talk<'_> {
    pub fn post(&self, message: &Value) -> Answer {
        self.send("POST", &[], &message.to_string())
    }

    pub fn send(&self, verb: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let mut headers =
            vec![("Mcp-Session-Id", self.id.as_str()), ("MCP-Protocol-Version", "2025-11-25")];
        headers.extend_from_slice(more);
        self.served.mcp(verb, &headers, body)
    }

    pub fn request(&self, id: u64, method: &str, params: Value) -> Answer {
        self.post(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
    }

    pub fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.request(7, method, params);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["result"].clone()
    }

    pub fn call(&self, tool: &str, arguments: Value) -> Value {
        self.result("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Listens for what belongs to no request.
    pub fn listen(&self, more: &[(&str, &str)]) -> Listening {
        let mut stream = self.served.connect();
        let port = self.served.port;
        let mut head = format!(
            "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\
             Mcp-Session-Id: {}\r\n",
            self.id
        );
        for (name, value) in more {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        Listening::new(stream)
    }
}

/// A stream that is being read.
pub struct Listening {
    reader: BufReader<TcpStream>,
    pub last: Option<String>,
}

impl Listening {
    /// Reads the answer to a request that was sent.
    pub fn new(stream: TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let head = read_head(&mut reader);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Self { reader, last: None }
    }

    /// The next message; `None` at the end.
    pub fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        loop {
            line.clear();
            // The last chunk is empty.
            if self.reader.read_line(&mut line).unwrap() == 0 || line == "0\r\n" {
                return None;
            }
            if let Some(id) = line.strip_prefix("id: ") {
                self.last = Some(id.trim().to_owned());
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }
}

pub fn hello() -> String {
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {"sampling": {}},
        "clientInfo": {"name": "test", "version": "1"},
    });
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string()
}

fn read_head<R: Read>(reader: &mut BufReader<R>) -> String {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            return head;
        }
        head.push_str(&line);
    }
}

pub fn read_answer<R: Read>(reader: &mut BufReader<R>) -> Answer {
    let head = read_head(reader);
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let mut answer = Answer { status, head, body: String::new() };
    let mut bytes = Vec::new();
    if let Some(length) = answer.header("content-length") {
        bytes.resize(length.parse().unwrap(), 0);
        reader.read_exact(&mut bytes).unwrap();
    } else if answer.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
            let mut chunk = vec![0; length + 2];
            if reader.read_exact(&mut chunk).is_err() || length == 0 {
                break;
            }
            bytes.extend_from_slice(&chunk[..length]);
        }
    }
    answer.body = String::from_utf8(bytes).unwrap();
    answer
}

pub const FAR: &str = include_str!("far.py");
/// Lets the servers of these tests do everything, and one tool nothing.
pub const POLICY: &str = r#"@id("far-may")
@rank("1")
permit (principal, action, resource) when { resource in Server::"alpha" || resource in Server::"beta" };
"#;

/// A home with the notes server behind it.
pub fn notes() -> World {
    let world = World::new();
    let work = world.work();
    world.config(&format!("[servers.notes]\ncommand = [{BINARY:?}, \"notes\", {work:?}]"));
    world
}

/// A home with two servers, each with its arguments.
pub fn pair(alpha: &str, beta: &str) -> World {
    let world = World::new();
    fs::write(world.at("far.py"), FAR).unwrap();
    fs::write(world.home().join("policies/far.cedar"), POLICY).unwrap();
    let script = world.at("far.py");
    let server = |name: &str, more: &str| {
        let python = super::python();
        format!("[servers.{name}]\ncommand = [{python:?}, {script:?}, {name:?}{more}]\n")
    };
    world.config(&format!("{}{}", server("alpha", alpha), server("beta", beta)));
    world
}

pub fn names(list: &Value, key: &str, of: &str) -> Vec<String> {
    list[key].as_array().unwrap().iter().map(|e| e[of].as_str().unwrap().to_owned()).collect()
}
