//! Where the clients keep their configuration on this machine.
//!
//! The adversary is a server that nobody looked for: a file that a client reads and this list lacks stays
//! outside the gateway, so the list says for each client all the places that its documentation names.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::hook_file::HookFile;
use super::plan::{IfMissing, Planned};
use super::servers::Format;
use crate::hook::contract::Contract;

/// The folders of VS Code's editions.
const EDITIONS: [&str; 3] = ["Code", "Code - Insiders", "VSCodium"];

/// A client whose configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// Claude Code: servers and hooks
    ClaudeCode,
    /// Claude Desktop
    ClaudeDesktop,
    /// Cursor
    Cursor,
    /// Visual Studio Code
    Vscode,
    /// Codex
    Codex,
    /// Gemini CLI
    Gemini,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Servers.
    Servers(Format),
    /// Hooks.
    Hooks(HookFile),
    /// Both.
    Both(Format, HookFile),
}

impl Holds {
    /// The form of its hooks, if it may hold some.
    pub(crate) const fn hooks(self) -> Option<HookFile> {
        match self {
            Self::Servers(_) => None,
            Self::Hooks(file) | Self::Both(_, file) => Some(file),
        }
    }

    /// The form of its servers, if it may name some.
    pub(crate) const fn servers(self) -> Option<Format> {
        match self {
            Self::Hooks(_) => None,
            Self::Servers(format) | Self::Both(format, _) => Some(format),
        }
    }
}

/// A file that a client may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) path: PathBuf,
    pub(crate) holds: Holds,
    /// It lies in the current folder, and others may share it.
    pub(crate) shared: bool,
}

/// The folders that say where configuration is.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    pub(crate) home: PathBuf,
    pub(crate) current: PathBuf,
    config: PathBuf,
    claude: Option<PathBuf>,
    codex: PathBuf,
}

impl Client {
    /// The spelling on the command line and in output.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
        }
    }
}

impl Folders {
    /// The folders of this user; `None` without a home folder.
    pub(crate) fn of_user() -> Option<Self> {
        let named = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let home = named("HOME")?;
        Some(Self {
            current: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            config: named("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")),
            claude: named("CLAUDE_CONFIG_DIR"),
            codex: named("CODEX_HOME").unwrap_or_else(|| home.join(".codex")),
            home,
        })
    }

    /// The folder of Claude Code's settings.
    pub(crate) fn claude(&self) -> PathBuf {
        self.claude.clone().unwrap_or_else(|| self.home.join(".claude"))
    }

    /// The folder of Codex.
    pub(crate) fn codex(&self) -> &Path {
        &self.codex
    }

    /// Every file that may name servers or hooks, there or not.
    pub(crate) fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        let mut add = |client, path: PathBuf, holds, shared| {
            places.push(Place { client, path, holds, shared });
        };
        let (home, here) = (&self.home, &self.current);
        let user = self.claude.as_ref().unwrap_or(home).join(".claude.json");
        add(Client::ClaudeCode, user, Holds::Servers(Format::ClaudeCode), false);
        let project = here.join(".mcp.json");
        add(Client::ClaudeCode, project, Holds::Servers(Format::McpServers), true);
        let hooks = |contract| Holds::Hooks(HookFile(contract));
        let settings = self.claude().join("settings.json");
        add(Client::ClaudeCode, settings, hooks(Contract::ClaudeCode), false);
        add(Client::Cursor, home.join(".cursor/hooks.json"), hooks(Contract::Cursor), false);
        // VS Code reads every file of this folder.
        let vscode = home.join(".copilot/hooks/tipstaff.json");
        add(Client::Vscode, vscode, hooks(Contract::Vscode), false);
        add(Client::Codex, self.codex.join("hooks.json"), hooks(Contract::Codex), false);
        let both = Holds::Both(Format::McpServers, HookFile(Contract::Gemini));
        add(Client::Gemini, home.join(".gemini/settings.json"), both, false);
        for folder in [&self.config, &home.join("Library/Application Support")] {
            let path = folder.join("Claude/claude_desktop_config.json");
            add(Client::ClaudeDesktop, path, Holds::Servers(Format::McpServers), false);
            for edition in EDITIONS {
                for path in profiles(&folder.join(edition).join("User")) {
                    add(Client::Vscode, path, Holds::Servers(Format::Servers), false);
                }
            }
        }
        for (folder, shared) in [(home, false), (here, true)] {
            let path = folder.join(".cursor/mcp.json");
            add(Client::Cursor, path, Holds::Servers(Format::McpServers), shared);
        }
        let project = here.join(".vscode/mcp.json");
        add(Client::Vscode, project, Holds::Servers(Format::Servers), true);
        for (path, shared) in [(self.codex.clone(), false), (here.join(".codex"), true)] {
            add(Client::Codex, path.join("config.toml"), Holds::Servers(Format::Codex), shared);
        }
        places
    }

    /// Whether a client's file with hooks may be made: it is, where this user has the client.
    pub(crate) fn if_missing(&self, client: Client) -> IfMissing {
        let has = match client {
            Client::ClaudeCode => {
                let user = self.claude.as_ref().unwrap_or(&self.home).join(".claude.json");
                self.claude().is_dir() || is_there(&user)
            }
            Client::ClaudeDesktop => false,
            Client::Cursor => self.home.join(".cursor").is_dir(),
            Client::Vscode => {
                let folders = [self.config.clone(), self.home.join("Library/Application Support")];
                let editions =
                    folders.iter().flat_map(|folder| EDITIONS.map(|name| folder.join(name)));
                editions.into_iter().any(|edition| edition.join("User").is_dir())
            }
            Client::Codex => self.codex.is_dir(),
            Client::Gemini => self.home.join(".gemini").is_dir(),
        };
        if has { IfMissing::Make } else { IfMissing::Skip }
    }
}

/// The clients among these whose built-in tools no hook of ours is for.
pub(crate) fn without_hooks(plans: &[Planned]) -> impl Iterator<Item = Client> + '_ {
    let has = |client: Client, hooks: bool| {
        plans.iter().any(|plan| plan.place.client == client && (!hooks || !plan.hooks.is_empty()))
    };
    [Client::ClaudeCode, Client::Cursor, Client::Vscode, Client::Codex, Client::Gemini]
        .into_iter()
        .filter(move |client| has(*client, false) && !has(*client, true))
}

/// Whether something is there, a link that leads nowhere included.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The server files of an editor's user: the default one, and one for each profile.
fn profiles(user: &Path) -> Vec<PathBuf> {
    const PROFILES_MAX: usize = 64;
    let mut found = vec![user.join("mcp.json")];
    let entries = std::fs::read_dir(user.join("profiles")).into_iter().flatten().flatten();
    let mut more: Vec<PathBuf> =
        entries.take(PROFILES_MAX).map(|entry| entry.path().join("mcp.json")).collect();
    more.sort();
    found.extend(more);
    found
}
