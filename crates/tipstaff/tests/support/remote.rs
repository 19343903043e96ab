//! A far MCP server over HTTP, ended with the test.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::{Session, World, python};

const REMOTE: &str = include_str!("remote.py");
/// Lets every tool of the far server run, but one.
pub const POLICY: &str = "@id(\"remote-may-run\")\n@rank(\"1\")\n\
    permit (principal, action in Action::\"call\", resource in Server::\"far\");\n\
    @id(\"not-this\")\nforbid (principal, action, resource == Tool::\"far/write_file\");\n";

/// A running far server.
pub struct Remote {
    child: Child,
    pub port: u16,
}

impl Remote {
    /// Starts one that wants this value of `Authorization`; empty for none.
    pub fn start(world: &World, wanted: &str) -> Self {
        Self::start_at(world, wanted, 0)
    }

    pub fn start_at(world: &World, wanted: &str, port: u16) -> Self {
        let script = world.at("remote.py");
        fs::write(&script, REMOTE).unwrap();
        let mut command = Command::new(python());
        command.arg(script).args([wanted, &port.to_string()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap() }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.stop();
    }
}

impl World {
    /// A session with a far server.
    pub fn far(&self, url: &str, words: &[&str], env: &[(&str, &str)]) -> Session {
        let mut command = self.command();
        command.args(["wrap", "--name", "far", "--url", url]).args(words);
        command.envs(env.iter().copied()).current_dir(self.work());
        Session::start(command)
    }

    /// The same for a client that is a process of its own: whoever starts a client is one, too.
    pub fn far_apart(&self, url: &str) -> Session {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "\"$@\"; exit $?", "client", super::BINARY, "wrap", "--name", "far"]);
        command.args(["--url", url]).env("TIPSTAFF_HOME", self.home());
        command.env_remove("TIPSTAFF_SESSION").current_dir(self.work());
        Session::start(command)
    }
}
