//! A machine in a temporary folder: a user, a project, and the configuration of every client.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Ran, World};

/// A user's folder, a project, and a home that isn't there yet.
pub struct Machine(pub World);

impl Machine {
    pub fn new() -> Self {
        let world = World::empty();
        fs::create_dir_all(world.at("user")).unwrap();
        fs::create_dir_all(world.at("project")).unwrap();
        Self(world)
    }

    pub fn command(&self) -> Command {
        let mut command = self.0.command();
        for name in ["XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_DATA_HOME"] {
            command.env_remove(name);
        }
        command.env("HOME", self.0.at("user")).current_dir(self.0.at("project"));
        command
    }

    pub fn run(&self, words: &[&str]) -> Ran {
        let output = self.command().args(words).output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.at(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Everything of the user and the project, by path.
    pub fn all(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.path("user"), self.path("project")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_symlink() {
                    found.insert(
                        path.clone(),
                        fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
                    );
                } else {
                    found.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        found
    }

    pub fn home(&self) -> String {
        self.0.home().to_str().unwrap().to_owned()
    }

    /// What a server's words are behind the gateway.
    pub fn behind(&self, name: &str, env: &[&str], command: &[&str]) -> Value {
        let home = self.home();
        let mut words = vec!["wrap", "--name", name, "--home", home.as_str()];
        words.extend(env.iter().flat_map(|name| ["--env", *name]));
        words.push("--");
        words.extend(command);
        json!(words)
    }
}

pub const CLAUDE: &str = "user/.claude.json";
pub const SETTINGS: &str = "user/.claude/settings.json";
pub const DESKTOP: &str = "user/.config/Claude/claude_desktop_config.json";
pub const CURSOR: &str = "user/.cursor/mcp.json";
pub const VSCODE: &str = "project/.vscode/mcp.json";
pub const CODEX: &str = "user/.codex/config.toml";

/// Every client, each file in a manner of its own.
pub fn every_client(machine: &Machine) {
    machine.write(
        CLAUDE,
        "{\n  \"numStartups\": 7,\n  \"mcpServers\": {\n    \"files\": {\n      \"type\": \"stdio\",\n      \"command\": \"npx\",\n      \"args\": [\n        \"-y\",\n        \"server-files\"\n      ],\n      \"env\": {\"TOKEN\": \"s3cret\"}\n    },\n    \"far\": {\"type\": \"http\", \"url\": \"https://x.example/mcp\"}\n  },\n  \"projects\": {\"/p\": {\"mcpServers\": {\"git\": {\"command\": \"uvx\"}}, \"history\": []}}\n}",
    );
    machine.write(
        SETTINGS,
        "{\r\n\t\"model\": \"x\",\r\n\t\"hooks\": {\r\n\t\t\"Stop\": [{\"hooks\": [{\"type\": \"command\", \"command\": \"bell\"}]}]\r\n\t}\r\n}\r\n",
    );
    machine.write(
        "project/.mcp.json",
        "{\"mcpServers\":{\"db\":{\"command\":\"db-server\",\"args\":[]}}}\n",
    );
    machine.write(DESKTOP, "\u{feff}{ \"mcpServers\" : { \"a b\" : { \"args\" : [ \"x y\" ] , \"command\" : \"/bin/a\" } } , \"other\" : 1.50 }");
    machine.write("user/dotfiles/mcp.json", "{\n  // mine\n  \"mcpServers\": {\n    \"c\": {\"command\": \"c\", /* why */ \"args\": [\"--flag\", ], },\n  },\n}\n");
    fs::create_dir_all(machine.path("user/.cursor")).unwrap();
    symlink("../dotfiles/mcp.json", machine.path(CURSOR)).unwrap();
    machine.write(VSCODE, "{\n    // comments are fine here\n    \"inputs\": [{\"id\": \"key\", \"type\": \"promptString\"}],\n    \"servers\": {\n        \"v\": {\n            \"type\": \"stdio\",\n            \"command\": \"node\", // which\n            \"args\": [\"${workspaceFolder}/s.js\"],\n            \"env\": {\"KEY\": \"${input:key}\"}\n        },\n        \"hidden\": {\"command\": \"x\", \"envFile\": \".env\"}\n    }\n}\n");
    machine.write(CODEX, "# mine\r\nmodel = \"m\"\r\n\r\n[mcp_servers.docs] # docs\r\ncommand = \"npx\"\r\nargs = [\"-y\", 'docs']\r\nenv_vars = [\"DOCS_KEY\"]\r\n\r\n[mcp_servers.remote]\r\nurl = \"https://y.example\"");
    fs::set_permissions(machine.path(CLAUDE), fs::Permissions::from_mode(0o640)).unwrap();
}

pub fn jsonc(text: &str) -> Value {
    // Good enough for these files: no `//` and no `/*` in their texts but in one address.
    let mut out = String::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.split_once("// ").map_or(line, |(before, _)| before);
        out.push_str(line);
        out.push('\n');
    }
    let out = out
        .replace("/* why */", "")
        .replace(", ]", "]")
        .replace(", }", "}")
        .replace("},\n  }", "}\n  }")
        .replace("},\n}", "}\n}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}
