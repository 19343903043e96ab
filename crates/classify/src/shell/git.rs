//! What a `git` command would do.
//!
//! The adversary spells a forced push in one of its many ways, or runs code through an option.

use tipstaff_core::Tier;

use super::args::{has, operands, option_value};
use super::parse::Word;
use super::{Line, lead};
use crate::UNCLASSIFIED;

impl Line {
    pub(super) fn git_program(&mut self, name: &str, args: &[Word]) -> bool {
        if name != "git" {
            return false;
        }
        let mut rest = args;
        while let [first, tail @ ..] = rest {
            let text = first.text.as_str();
            if !text.starts_with('-') {
                break;
            }
            rest = tail;
            self.leads.lost |= !matches!(text, "--no-pager" | "-P");
            match text {
                "-C" | "--git-dir" | "--work-tree" | "--namespace" => {
                    if let Some(folder) = rest.first() {
                        self.path_word(folder);
                    }
                    rest = rest.get(1..).unwrap_or_default();
                }
                "-c" | "--config-env" => {
                    self.opaque();
                    rest = rest.get(1..).unwrap_or_default();
                }
                "--version" | "--help" => {
                    self.found(Tier::T1, "git:read");
                    return true;
                }
                "--no-pager"
                | "-P"
                | "--bare"
                | "--literal-pathspecs"
                | "--no-optional-locks"
                | "-p"
                | "--paginate" => {}
                _ if text.starts_with("--git-dir=") || text.starts_with("--work-tree=") => {
                    self.path(option_value(text).unwrap_or_default());
                }
                _ => self.opaque(),
            }
        }
        match rest.split_first() {
            Some((command, args)) => self.git_command(&command.text, args),
            None => self.found(Tier::T1, "git:read"),
        }
        true
    }

    fn git_command(&mut self, command: &str, args: &[Word]) {
        let names = operands(args);
        let sub = names.first().copied().unwrap_or_default();
        match command {
            "status" | "log" | "diff" | "show" | "blame" | "shortlog" | "describe"
            | "rev-parse" | "ls-files" | "ls-tree" | "cat-file" | "rev-list" | "grep"
            | "name-rev" | "whatchanged" | "help" | "version" | "count-objects" | "fsck"
            | "for-each-ref" | "show-ref" | "merge-base" | "check-ignore" | "check-attr"
            | "ls-remote" | "diff-tree" | "diff-index" | "diff-files" | "var" | "cherry"
            | "range-diff" => {
                self.likely_paths(args);
                let hooks = [
                    "ext-diff",
                    "textconv",
                    "open-files-in-pager",
                    "upload-pack",
                    "exec",
                    "filters",
                ];
                if has(args, "", &hooks) || command == "grep" && has(args, "O", &[]) {
                    self.opaque();
                }
                if args.iter().any(|word| word.text.starts_with("--out")) {
                    self.found(Tier::T3, "git:write");
                }
                self.found(Tier::T1, "git:read");
            }
            "symbolic-ref" if names.len() == 1 && !has(args, "dm", &["delete"]) => {
                self.found(Tier::T1, "git:read")
            }
            "push" => self.git_push(args, &names),
            "reset" if has(args, "", &["hard", "merge"]) => self.found(Tier::T5, "git:discard"),
            "clean" if args.iter().any(|word| matches!(word.text.as_str(), "-n" | "--dry-run")) => {
                self.found(Tier::T1, "git:read")
            }
            "clean" => self.found(Tier::T5, "git:discard"),
            "checkout" | "switch" => {
                let discards = has(args, "f", &["force", "discard-changes"])
                    || args.iter().any(|word| word.text == "--") && command == "checkout"
                    || sub == ".";
                if discards { self.found(Tier::T5, "git:discard") } else { self.local("git:write") }
            }
            "restore" => {
                let staged = has(args, "S", &["staged"]) && !has(args, "W", &["worktree"]);
                if staged { self.local("git:write") } else { self.found(Tier::T5, "git:discard") }
            }
            "stash" => match sub {
                "list" | "show" => self.found(Tier::T1, "git:read"),
                "drop" | "clear" => self.found(Tier::T5, "git:discard"),
                _ => self.local("git:write"),
            },
            "branch" => {
                let lists = names.is_empty()
                    || has(args, "", &["list", "contains", "merged", "no-merged", "points-at"]);
                if has(args, "D", &[]) || has(args, "d", &["delete"]) && has(args, "f", &["force"])
                {
                    self.found(Tier::T5, "git:branch-delete");
                } else if lists
                    && !has(args, "dmMcCfu", &["delete", "move", "copy", "edit-description"])
                {
                    self.found(Tier::T1, "git:read");
                } else {
                    self.local("git:write");
                }
            }
            "tag"
                if names.is_empty()
                    || args.iter().any(|word| matches!(word.text.as_str(), "-l" | "--list")) =>
            {
                self.found(Tier::T1, "git:read")
            }
            "remote" if matches!(sub, "" | "show" | "get-url") => self.found(Tier::T1, "git:read"),
            // It says where pushes lead, as the configuration does.
            "remote" if matches!(sub, "add" | "rename" | "remove" | "rm" | "set-url") => {
                self.found(Tier::T4, "git:config");
            }
            "remote" => self.local("git:write"),
            "reflog" if matches!(sub, "expire" | "delete") => {
                self.found(Tier::T5, "git:history-destroy")
            }
            "reflog" => self.found(Tier::T1, "git:read"),
            "filter-branch" | "filter-repo" | "prune" | "gc" | "update-ref" | "replace" => {
                self.found(Tier::T5, "git:history-destroy");
            }
            "worktree" => match sub {
                "list" => self.found(Tier::T1, "git:read"),
                "remove" if has(args, "f", &["force"]) => self.found(Tier::T5, "git:discard"),
                _ => {
                    self.likely_paths(args);
                    self.local("git:write");
                }
            },
            "config" => self.git_config(args, &names),
            "commit" => {
                self.likely_paths(args);
                self.local("git:commit");
            }
            "rebase" | "bisect" | "submodule" | "difftool" | "mergetool"
                if has(args, "x", &["exec", "extcmd", "tool"])
                    || matches!(sub, "run" | "foreach")
                    || command.ends_with("tool") =>
            {
                self.opaque();
            }
            "clone" | "fetch" | "pull" | "init"
                if has(args, "uc", &["upload-pack", "config", "template"]) =>
            {
                self.opaque()
            }
            "add" | "merge" | "rebase" | "cherry-pick" | "revert" | "mv" | "rm" | "init"
            | "apply" | "am" | "fetch" | "pull" | "clone" | "submodule" | "bisect" | "notes"
            | "tag" | "reset" | "format-patch" | "archive" | "bundle" | "sparse-checkout"
            | "maintenance" | "read-tree" | "write-tree" | "update-index" => {
                self.likely_paths(args);
                self.local("git:write");
            }
            "send-email" => self.found(Tier::T4, "mail:send"),
            _ => self.found(Tier::T3, UNCLASSIFIED),
        }
    }

    fn git_push(&mut self, args: &[Word], names: &[&str]) {
        if has(args, "", &["receive-pack", "exec"]) {
            self.opaque();
        }
        let forced =
            has(args, "f", &["force", "force-with-lease", "force-if-includes", "mirror", "prune"])
                || names.iter().any(|name| name.starts_with('+'));
        let deletes = has(args, "d", &["delete"])
            || names.iter().any(|name| name.starts_with(':') && name.len() > 1);
        if forced {
            self.found(Tier::T5, "git:push-force");
        } else if deletes {
            self.found(Tier::T5, "git:push-delete");
        } else {
            self.led("git:push", lead::push(args));
        }
    }

    fn git_config(&mut self, args: &[Word], names: &[&str]) {
        let key = names.first().copied().unwrap_or_default();
        let reads = matches!(key, "list" | "get")
            || has(args, "l", &["list", "get", "get-all", "get-regexp", "show-origin"])
            || names.len() == 1
                && !has(args, "e", &["unset", "unset-all", "edit", "remove-section"]);
        let own = (key.starts_with("user.") || key.starts_with("init."))
            && !has(args, "f", &["global", "system", "file"]);
        if reads && names.len() <= 2 && !has(args, "e", &["add", "replace-all", "edit"]) {
            self.found(Tier::T1, "git:read");
        } else if own {
            self.local("git:config");
        } else {
            // Aliases, hooks, pagers and filters are code.
            self.found(Tier::T4, "git:config");
        }
    }
}
