//! Package managers and what they run.
//!
//! The adversary publishes, or has a package's own script do it.

use tipstaff_core::Tier;

use super::Line;
use super::args::{has, operands};
use super::parse::Word;
use super::tools::publishes;
use crate::UNCLASSIFIED;

impl Line {
    pub(super) fn package_tool(&mut self, name: &str, args: &[Word]) -> bool {
        let names = operands(args);
        let sub = names.first().copied().unwrap_or_default();
        let asks = names.is_empty() && has(args, "vVh", &["version", "help"]);
        match name {
            "npm" | "pnpm" | "yarn" | "bun" | "cargo" | "pip" | "pip3" | "uv" | "poetry"
            | "gem" | "bundle" | "go" | "conda" | "mamba" | "composer" | "twine" | "pipx"
            | "rustup" | "corepack" | "deno" => {
                self.likely_paths(args);
                match sub {
                    _ if asks => self.found(Tier::T1, "pkg:read"),
                    _ if runs_scripts(name) && is_script(sub) => {
                        self.script_of_package(&names);
                    }
                    "publish" | "upload" | "unpublish" | "yank" | "owner" | "login" | "adduser"
                    | "token" | "access" | "dist-tag" | "deprecate" | "push" | "team" | "hook"
                    | "release" => {
                        let tier = if sub == "unpublish" { Tier::T5 } else { Tier::T4 };
                        self.found(tier, "pkg:publish");
                    }
                    "list" | "ls" | "show" | "view" | "info" | "freeze" | "outdated" | "search"
                    | "tree" | "metadata" | "why" | "audit" | "version" | "help" | "check-deps"
                    | "root" | "bin"
                        if !has(args, "", &["fix", "write"]) =>
                    {
                        self.found(Tier::T1, "pkg:read");
                    }
                    "env" if name == "go" && !has(args, "w", &[]) => {
                        self.found(Tier::T1, "pkg:read")
                    }
                    "install" | "i" | "ci" | "add" | "remove" | "rm" | "uninstall" | "update"
                    | "upgrade" | "link" | "dedupe" | "sync" | "lock" | "get" | "mod"
                    | "vendor" | "init" | "new" | "create" | "fetch" | "generate-lockfile"
                    | "download" | "tidy" | "" | "toolchain" | "component" | "target" | "venv" => {
                        self.local("pkg:install");
                    }
                    "run" | "exec" | "x" | "dlx" | "start" | "test" | "t" | "build" | "b" | "c"
                    | "r" | "check" | "clippy" | "fmt" | "bench" | "doc" | "vet" | "generate"
                    | "nextest" | "clean" | "fix" | "pack" | "package" | "lint" => {
                        let class = if matches!(sub, "run" | "exec" | "x" | "dlx" | "start" | "r") {
                            "code:run"
                        } else {
                            "code:build"
                        };
                        self.local(class);
                    }
                    "config" | "set" | "cache" => self.found(Tier::T3, "pkg:install"),
                    _ => self.found(Tier::T3, UNCLASSIFIED),
                }
            }
            "npx" | "bunx" | "uvx" => self.local("code:run"),
            "nix" => self.nix(args, &names),
            "brew" | "apt" | "apt-get" | "apt-cache" | "yum" | "dnf" | "pacman" | "apk"
            | "snap" | "zypper" | "dpkg" | "rpm" | "port" | "nix-env" | "flatpak" => {
                let reads = matches!(
                    sub,
                    "list" | "search" | "show" | "info" | "policy" | "depends" | "outdated"
                ) || asks;
                if reads {
                    self.found(Tier::T1, "pkg:read");
                } else {
                    self.likely_paths(args);
                    self.found(Tier::T4, "pkg:system");
                }
            }
            _ => return false,
        }
        true
    }

    /// `pnpm NAME` runs what the package calls so, or a program that it has installed.
    fn script_of_package(&mut self, names: &[&str]) {
        let parts = names.first().map(|name| name.split([':', '.', '-', '_']));
        if parts.into_iter().flatten().any(publishes) {
            self.found(Tier::T4, "pkg:publish");
        }
        self.local("code:run");
    }

    fn nix(&mut self, args: &[Word], names: &[&str]) {
        self.likely_paths(args);
        let second = names.get(1).copied().unwrap_or_default();
        match names.first().copied().unwrap_or_default() {
            "search" | "path-info" | "log" | "why-depends" => self.found(Tier::T1, "pkg:read"),
            "flake" if matches!(second, "metadata" | "show" | "info") => {
                self.found(Tier::T1, "pkg:read")
            }
            // Expressions are programs, and what they build stays in the store.
            "eval" | "build" | "fmt" => self.local("code:build"),
            "flake" if matches!(second, "check" | "update" | "lock") => self.local("code:build"),
            "develop" | "shell" | "run" => self.local("code:run"),
            _ => self.found(Tier::T4, "pkg:system"),
        }
    }
}

/// Whether a word that is no command of a package manager's own is the name of a script.
fn runs_scripts(manager: &str) -> bool {
    matches!(manager, "pnpm" | "yarn")
}

/// A pattern could become the name of a command.
fn is_script(sub: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-' | '.');
    sub.starts_with(|c: char| c.is_ascii_alphanumeric()) && sub.chars().all(plain) && !built_in(sub)
}

/// The commands of pnpm and yarn, old and new, that this module has a rule for, and those that it has none for.
fn built_in(sub: &str) -> bool {
    const RULED: &[&str] = &[
        "publish",
        "upload",
        "unpublish",
        "yank",
        "owner",
        "login",
        "adduser",
        "token",
        "access",
        "dist-tag",
        "deprecate",
        "push",
        "team",
        "hook",
        "release",
        "list",
        "ls",
        "show",
        "view",
        "info",
        "freeze",
        "outdated",
        "search",
        "tree",
        "metadata",
        "why",
        "audit",
        "version",
        "help",
        "check-deps",
        "root",
        "bin",
        "install",
        "i",
        "ci",
        "add",
        "remove",
        "rm",
        "uninstall",
        "update",
        "upgrade",
        "link",
        "dedupe",
        "sync",
        "lock",
        "get",
        "mod",
        "vendor",
        "init",
        "new",
        "create",
        "fetch",
        "generate-lockfile",
        "download",
        "tidy",
        "toolchain",
        "component",
        "target",
        "venv",
        "run",
        "exec",
        "x",
        "dlx",
        "start",
        "test",
        "t",
        "build",
        "b",
        "c",
        "r",
        "check",
        "clippy",
        "fmt",
        "bench",
        "doc",
        "vet",
        "generate",
        "nextest",
        "clean",
        "fix",
        "pack",
        "package",
        "lint",
        "config",
        "set",
        "cache",
    ];
    const UNRULED: &[&str] = &[
        "npm",
        "global",
        "plugin",
        "plugins",
        "policies",
        "workspace",
        "workspaces",
        "node",
        "rebuild",
        "rb",
        "unplug",
        "patch",
        "patch-commit",
        "patch-remove",
        "stage",
        "constraints",
        "explain",
        "import",
        "licenses",
        "logout",
        "whoami",
        "tag",
        "unlink",
        "un",
        "up",
        "ln",
        "store",
        "server",
        "env",
        "setup",
        "self-update",
        "deploy",
        "approve-builds",
        "ignored-builds",
        "recursive",
        "multi",
        "m",
        "prune",
        "doctor",
        "completion",
        "cat-file",
        "cat-index",
        "find-hash",
        "star",
        "unstar",
        "ping",
        "profile",
        "org",
        "pkg",
        "set-script",
        "shrinkwrap",
        "repo",
        "docs",
        "bugs",
        "edit",
        "explore",
        "search-plugins",
        "generate-completion",
        "autoclean",
        "generate-lock-entry",
        "versions",
        "with",
        "runtime",
        "clone",
        "unpublish",
        "la",
        "ll",
        "c",
        "sbom",
        "se",
        "s",
        "find",
        "install-test",
        "it",
        "tst",
        "rum",
        "diff",
        "fund",
        "query",
        "stars",
        "undeprecate",
        "trust",
        "prefix",
    ];
    RULED.contains(&sub) || UNRULED.contains(&sub)
}
