//! A closed-loop MCP client over stdio: as many calls in flight as it is told, one write per turn.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::echo::{TOOL, find, id, line_end};
use crate::failure::Failure;

/// How long a child may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// One upstream, or one gateway in front of it.
#[derive(Debug)]
pub(crate) struct Client {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    held: Vec<u8>,
    next: u64,
}

/// What one measurement saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) latencies: Vec<Duration>,
    pub(crate) errors: u64,
}

impl Client {
    /// Starts a server and greets it.
    pub(crate) fn start(command: &[String]) -> Result<Self, Failure> {
        let (program, args) =
            command.split_first().ok_or_else(|| Failure::wrong("no command was given"))?;
        let mut spawned = Command::new(program);
        spawned.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = spawned.spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| Failure::wrong("no output"))?;
        let mut client = Self { child, input, output, held: Vec::new(), next: 1 };
        let hello = "\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",\
                     \"capabilities\":{},\"clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}}";
        client.ask(hello)?;
        client.send(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")?;
        let tools = client.ask("\"method\":\"tools/list\",\"params\":{}")?;
        if find(&tools, TOOL.as_bytes()).is_none() {
            return Err(Failure::wrong("the tool is not listed"));
        }
        Ok(client)
    }

    /// Asks for one call and doesn't wait; its number.
    pub(crate) fn post(&mut self) -> Result<u64, Failure> {
        let mut turn = Vec::new();
        let number = self.call(&mut turn);
        self.send(&turn)?;
        Ok(number)
    }

    /// Waits for the answer of a call.
    pub(crate) fn answer(&mut self, number: u64) -> Result<(), Failure> {
        let number = number.to_string();
        loop {
            for line in self.lines()? {
                if id(&line) == Some(number.as_bytes()) {
                    let refused = find(&line, b"\"isError\":true").is_some();
                    return if refused {
                        Err(Failure::wrong("a call was refused"))
                    } else {
                        Ok(())
                    };
                }
            }
        }
    }

    /// The child's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many calls were made since the start.
    pub(crate) const fn calls(&self) -> u64 {
        // Two requests greeted the server.
        self.next - 3
    }

    /// Keeps `in_flight` calls going for a time, then waits for all of them.
    pub(crate) fn load(&mut self, in_flight: usize, time: Duration) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        let mut sent: std::collections::HashMap<u64, Instant> = std::collections::HashMap::new();
        let mut turn = Vec::new();
        let until = Instant::now() + time;
        for _ in 0..in_flight {
            let number = self.call(&mut turn);
            sent.insert(number, Instant::now());
        }
        while !sent.is_empty() {
            self.send(&turn)?;
            turn.clear();
            let lines = self.lines()?;
            let now = Instant::now();
            for line in lines {
                let number =
                    id(&line).and_then(|id| std::str::from_utf8(id).ok()?.trim().parse().ok());
                let Some(begun) = number.and_then(|number| sent.remove(&number)) else { continue };
                seen.latencies.push(now - begun);
                let refused = find(&line, b"\"isError\":true").is_some();
                seen.errors += u64::from(refused || find(&line, b"\"result\"").is_none());
                if now < until {
                    let number = self.call(&mut turn);
                    sent.insert(number, now);
                }
            }
        }
        Ok(seen)
    }

    /// Ends the child: its input closes, and what does not end then is killed by its id.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        drop(self.input.take());
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        self.child.wait()?;
        Err(Failure::wrong("a child did not end by itself"))
    }

    fn call(&mut self, turn: &mut Vec<u8>) -> u64 {
        let number = self.next;
        self.next += 1;
        turn.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        turn.extend_from_slice(number.to_string().as_bytes());
        turn.extend_from_slice(b",\"method\":\"tools/call\",\"params\":{\"name\":\"");
        turn.extend_from_slice(TOOL.as_bytes());
        turn.extend_from_slice(b"\",\"arguments\":{\"name\":\"today\",\"text\":\"");
        turn.resize(turn.len() + 100, b'e');
        turn.extend_from_slice(b"\"}}}\n");
        number
    }

    fn ask(&mut self, rest: &str) -> Result<Vec<u8>, Failure> {
        let number = self.next;
        self.next += 1;
        self.send(format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},{rest}}}\n").as_bytes())?;
        loop {
            for line in self.lines()? {
                if id(&line) == Some(number.to_string().as_bytes()) {
                    return Ok(line);
                }
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let input = self.input.as_mut().ok_or_else(|| Failure::wrong("the input is closed"))?;
        Ok(input.write_all(bytes)?)
    }

    /// The lines that come with the next read; at least waits for one read.
    fn lines(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let mut chunk = [0; 64 << 10];
        let read = self.output.read(&mut chunk)?;
        if read == 0 {
            return Err(Failure::wrong("the server closed its output"));
        }
        self.held.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let mut lines = Vec::new();
        let mut done = 0;
        while let Some(end) = self.held.get(done..).and_then(line_end) {
            lines.push(self.held.get(done..done + end).unwrap_or_default().to_vec());
            done += end + 1;
        }
        self.held.drain(..done);
        Ok(lines)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.input.take());
        // Already gone after an orderly end; else nothing else may be left behind.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
