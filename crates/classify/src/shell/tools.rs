//! Build tools, containers, clouds, forges and database clients.
//!
//! The adversary publishes, deploys or destroys with a tool that everyone uses all day.

use tipstaff_core::Tier;

use super::args::{has, operands};
use super::forge::forge;
use super::parse::Word;
use super::{Feed, Line, lead};
use crate::{UNCLASSIFIED, sql};

impl Line {
    pub(super) fn tool_program(&mut self, name: &str, args: &[Word], feed: Feed<'_>) -> bool {
        self.package_tool(name, args)
            || self.build_tool(name, args)
            || self.remote_tool(name, args)
            || self.database_tool(name, args, feed)
    }

    fn build_tool(&mut self, name: &str, args: &[Word]) -> bool {
        match name {
            "make" | "gmake" | "cmake" | "ninja" | "pytest" | "tox" | "nox" | "jest" | "vitest"
            | "mocha" | "gradle" | "gradlew" | "mvn" | "mvnw" | "bazel" | "buck" | "rustc"
            | "gcc" | "g++" | "clang" | "clang++" | "cc" | "c++" | "tsc" | "eslint" | "ruff"
            | "black" | "prettier" | "mypy" | "pyright" | "rustfmt" | "gofmt" | "shellcheck"
            | "javac" | "meson" | "webpack" | "vite" | "dotnet" | "ctest" | "just" | "isort"
            | "clang-format" | "clippy-driver" | "autoconf" | "ld" | "ar" | "golangci-lint"
            | "staticcheck" | "gotestsum" | "goimports" | "gofumpt" | "govulncheck" | "biome"
            | "oxlint" | "stylelint" | "markdownlint" | "markdownlint-cli2" | "esbuild"
            | "rollup" | "swc" | "tsup" | "playwright" | "cypress" | "ava" | "nyc" | "c8"
            | "svelte-check" | "vue-tsc" | "next" | "nuxt" | "astro" | "ng" | "flake8"
            | "pylint" | "basedpyright" | "ty" | "bandit" | "coverage" | "rspec" | "rubocop"
            | "phpunit" | "phpstan" | "pest" | "sbt" | "zig" | "stack" | "cabal" | "swift"
            | "swiftlint" | "swiftformat" | "xcodebuild" | "flutter" | "dart" | "ktlint"
            | "detekt" | "buf" | "protoc" | "sqlc" | "hadolint" | "actionlint" | "yamllint"
            | "shfmt" | "clang-tidy" | "cppcheck" | "mdbook" | "sphinx-build" | "pre-commit"
            | "nixfmt" | "alejandra" | "statix" | "deadnix" | "nix-instantiate" | "shellspec"
            | "bats" => {
                self.likely_paths(args);
                if operands(args).iter().any(|goal| publishes(goal)) {
                    self.found(Tier::T4, "pkg:publish");
                }
                self.local("code:build");
            }
            // They run the project's own program.
            "streamlit" | "flask" | "uvicorn" | "gunicorn" => {
                self.likely_paths(args);
                if args.iter().any(|word| word.text.contains("://")) {
                    self.found(Tier::T5, "shell:remote-exec");
                }
                self.local("code:run");
            }
            // Tasks have names of their own, such as `deploy:staging`.
            "task" | "turbo" | "nx" | "rake" | "mix" | "lerna" => {
                self.likely_paths(args);
                self.tasks(&operands(args));
            }
            "mise" => self.mise(args),
            _ => return false,
        }
        true
    }

    fn tasks(&mut self, names: &[&str]) {
        let parts = names.iter().flat_map(|name| name.split([':', '.', '-', '_']));
        if parts.into_iter().any(publishes) {
            self.found(Tier::T4, "pkg:publish");
        }
        self.local("code:build");
    }

    fn mise(&mut self, args: &[Word]) {
        let names = operands(args);
        self.likely_paths(args);
        match names.first().copied().unwrap_or_default() {
            "run" | "r" => self.tasks(&names),
            "ls" | "list" | "which" | "where" | "current" | "version" | "doctor" | "tasks"
                if names.len() <= 2 =>
            {
                self.found(Tier::T1, "pkg:read")
            }
            "install" | "i" | "use" | "upgrade" | "up" => self.local("pkg:install"),
            _ => self.found(Tier::T3, UNCLASSIFIED),
        }
    }

    fn remote_tool(&mut self, name: &str, args: &[Word]) -> bool {
        let names = operands(args);
        let sub = names.first().copied().unwrap_or_default();
        self.likely_tool_paths(name, args);
        let (tier, class) = match name {
            "docker" | "podman" | "nerdctl" | "docker-compose" | "buildah" => {
                container(args, &names)
            }
            "kubectl" | "oc" | "k" => match sub {
                "get" | "describe" if names.iter().any(|word| word.starts_with("secret")) => {
                    (Tier::T4, "k8s:secret-read")
                }
                "get" | "describe" | "logs" | "top" | "explain" | "version" | "api-resources"
                | "api-versions" | "cluster-info" | "diff" | "wait" | "events" => {
                    (Tier::T1, "k8s:read")
                }
                "config" if matches!(names.get(1), Some(&("get-contexts" | "current-context"))) => {
                    (Tier::T1, "k8s:read")
                }
                "delete" | "drain" | "evict" => (Tier::T5, "k8s:delete"),
                "replace" if has(args, "", &["force"]) => (Tier::T5, "k8s:delete"),
                "apply" if has(args, "", &["prune"]) => (Tier::T5, "k8s:delete"),
                _ => (Tier::T4, "k8s:write"),
            },
            "helm" => match sub {
                "list" | "ls" | "get" | "status" | "template" | "show" | "search" | "version"
                | "history" | "lint" => (Tier::T1, "k8s:read"),
                "uninstall" | "delete" | "del" | "un" | "rollback" => (Tier::T5, "k8s:delete"),
                _ => (Tier::T4, "k8s:write"),
            },
            "terraform" | "tofu" | "terragrunt" | "pulumi" | "cdk" => match sub {
                "plan" | "preview" | "diff" | "synth" => (Tier::T2, "infra:plan"),
                "show" | "validate" | "output" | "version" | "providers" | "graph" | "get" => {
                    (Tier::T1, "infra:plan")
                }
                "state" if matches!(names.get(1), Some(&("list" | "show"))) => {
                    (Tier::T1, "infra:plan")
                }
                "init" | "fmt" => (Tier::T3, "infra:plan"),
                "destroy" | "state" | "taint" | "force-unlock" => (Tier::T5, "infra:destroy"),
                "apply" | "up" | "deploy" if has(args, "d", &["destroy"]) => {
                    (Tier::T5, "infra:destroy")
                }
                "apply" | "up" | "deploy" | "run-all" => (Tier::T5, "infra:apply"),
                _ => (Tier::T4, "infra:apply"),
            },
            "ansible" | "ansible-playbook" | "salt" | "puppet" | "chef-client" | "fly"
            | "flyctl" | "heroku" | "vercel" | "netlify" | "wrangler" | "firebase"
            | "serverless" | "eb" | "doctl" | "aws" | "gcloud" | "gsutil" | "az" | "linode-cli"
            | "hcloud" | "bq" | "eksctl" => cloud(args, &names),
            "gh" | "glab" | "hub" => forge(args, &names),
            _ => return false,
        };
        if (name, tier, class) == ("gh", Tier::T4, "repo:write") {
            self.led(class, lead::forge(args));
            return true;
        }
        if class == "git:write" {
            // It fetches into the current folder, as git does.
            self.path(".");
        }
        self.found(tier, class);
        true
    }

    fn likely_tool_paths(&mut self, name: &str, args: &[Word]) {
        let mounts = matches!(name, "docker" | "podman" | "nerdctl");
        if !mounts
            && !matches!(
                name,
                "kubectl" | "helm" | "aws" | "gsutil" | "gh" | "az" | "gcloud" | "terraform"
            )
        {
            return;
        }
        self.likely_paths(args);
        if mounts {
            for word in args
                .iter()
                .filter(|word| word.text.contains(':') && word.text.starts_with(['/', '~', '.']))
            {
                self.path(word.text.split(':').next().unwrap_or_default());
            }
        }
    }

    fn database_tool(&mut self, name: &str, args: &[Word], feed: Feed<'_>) -> bool {
        match name {
            "psql" | "mysql" | "mariadb" | "sqlite3" | "duckdb" | "clickhouse-client"
            | "sqlcmd" | "cockroach" => {
                self.likely_paths(args);
                let mut texts: Vec<&str> =
                    feed.input.iter().map(|word| word.text.as_str()).collect();
                for (at, word) in args.iter().enumerate() {
                    let text = word.text.as_str();
                    let before = at
                        .checked_sub(1)
                        .and_then(|at| args.get(at))
                        .map(|word| word.text.as_str());
                    let flagged = matches!(
                        before,
                        Some("-c" | "-e" | "--command" | "--execute" | "-cmd" | "-q" | "-Q")
                    );
                    let glued =
                        text.strip_prefix("--command=").or_else(|| text.strip_prefix("--execute="));
                    let glued = glued
                        .or_else(|| text.strip_prefix("-c"))
                        .or_else(|| text.strip_prefix("-e"));
                    let glued = glued.filter(|text| !text.is_empty());
                    if flagged || text.contains(' ') && !text.starts_with('-') {
                        texts.push(text);
                    } else if let Some(text) = glued {
                        texts.push(text);
                    }
                }
                if texts.is_empty() {
                    // A script file or a pipe, not seen here.
                    self.opaque();
                }
                for text in texts {
                    // Client commands such as `\!` and `.shell` run programs or write files.
                    if text.contains('\\') || text.trim_start().starts_with('.') {
                        self.opaque();
                    }
                    let (tier, class) = sql::judge(text);
                    self.found(tier, class);
                }
            }
            "dropdb" | "dropuser" => self.found(Tier::T5, "sql:destroy"),
            "createdb" | "createuser" | "pg_restore" | "mysqlimport" => {
                self.found(Tier::T4, "sql:write")
            }
            "pg_dump" | "mysqldump" => {
                self.likely_paths(args);
                self.local("fs:write");
            }
            "redis-cli" => {
                let upper: Vec<String> =
                    args.iter().map(|word| word.text.to_ascii_uppercase()).collect();
                let any =
                    |wanted: &[&str]| upper.iter().any(|word| wanted.contains(&word.as_str()));
                if any(&["FLUSHALL", "FLUSHDB", "DEL", "UNLINK", "SHUTDOWN", "CONFIG"]) {
                    self.found(Tier::T5, "sql:destroy");
                } else if any(&["GET", "KEYS", "INFO", "SCAN", "TTL", "PING", "LLEN", "HGETALL"])
                    && !any(&["SET", "EVAL"])
                {
                    self.found(Tier::T1, "sql:read");
                } else {
                    self.found(Tier::T4, "sql:write");
                }
            }
            "mongosh" | "mongo" => self.opaque(),
            _ => return false,
        }
        true
    }
}

fn container(args: &[Word], names: &[&str]) -> (Tier, &'static str) {
    const GROUPS: &[&str] =
        &["container", "image", "volume", "network", "system", "compose", "builder", "buildx"];
    let composed = if names.first() == Some(&"compose") { compose(args) } else { names.to_vec() };
    // Which files it is told to read says what it will start.
    let told = composed.len() < names.len();
    let names = composed;
    let sub = names.iter().find(|word| !GROUPS.contains(word)).copied().unwrap_or_default();
    let host = args.iter().any(|word| {
        let text = word.text.as_str();
        matches!(
            text,
            "--privileged"
                | "--pid=host"
                | "--userns=host"
                | "--cap-add=ALL"
                | "--cap-add=SYS_ADMIN"
        ) || text.starts_with("/:")
            || text.contains("docker.sock")
            || text.starts_with("-v/:")
            || text.starts_with("--volume=/:")
            || text.contains("source=/,")
            || text.contains("src=/,")
    });
    match sub {
        _ if host => (Tier::T5, "shell:privileged"),
        "ps" | "images" | "logs" | "inspect" | "version" | "info" | "ls" | "top" | "stats"
        | "history" | "diff" | "port" | "search" | "df" | "events" | "" => {
            (Tier::T1, "container:read")
        }
        "push" | "login" | "logout" | "save" | "export" => (Tier::T4, "container:push"),
        "rm" | "rmi" | "prune" | "kill" | "down" | "remove" => (Tier::T5, "container:delete"),
        "config" if has(args, "q", &["quiet"]) => (Tier::T1, "container:read"),
        _ if told => (Tier::T4, "container:run"),
        "run" | "exec" | "build" | "pull" | "start" | "stop" | "restart" | "create" | "up"
        | "tag" | "cp" | "load" | "import" | "commit" | "pause" | "unpause" | "config" => {
            (Tier::T3, "container:run")
        }
        _ => (Tier::T4, "container:run"),
    }
}

/// The operands of `docker compose`, without the values of its options.
fn compose(args: &[Word]) -> Vec<&str> {
    const VALUED: &[&str] = &[
        "-f",
        "--file",
        "-p",
        "--project-name",
        "--profile",
        "--env-file",
        "--project-directory",
        "--ansi",
        "--parallel",
        "--progress",
    ];
    let mut found = Vec::new();
    let mut words = args.iter().map(|word| word.text.as_str());
    while let Some(word) = words.next() {
        // After the command, `-f` is another option.
        if found.len() < 2 && VALUED.contains(&word) {
            words.next();
        } else if !word.starts_with('-') {
            found.push(word);
        }
    }
    found
}

/// Whether the name of a goal says that others will see what comes of it.
pub(super) fn publishes(goal: &str) -> bool {
    matches!(goal, "deploy" | "publish" | "release" | "push" | "upload")
}

fn cloud(args: &[Word], names: &[&str]) -> (Tier, &'static str) {
    const DESTROYS: &[&str] = &[
        "delete",
        "terminate",
        "remove",
        "purge",
        "destroy",
        "deregister",
        "detach",
        "revoke",
        "rm",
        "rb",
        "empty",
        "disable",
        "reset",
        "drop",
        "erase",
        "schedule-key-deletion",
        "apps:destroy",
        "pg:reset",
    ];
    const READS: &[&str] = &[
        "describe", "list", "get", "ls", "show", "head", "help", "version", "info", "status",
        "lookup",
    ];
    const SECRETS: &[&str] =
        &["secret", "password", "token", "credential", "keys", "print-access", "decrypt"];
    let verb = |list: &[&str]| {
        names.iter().any(|word| {
            let lead = word.split('-').next().unwrap_or_default();
            list.contains(word) || list.contains(&lead)
        })
    };
    if verb(DESTROYS) || has(args, "", &["delete"]) {
        return (Tier::T5, "cloud:delete");
    }
    // The value of an option can look like a verb, so that only an early one makes a reading.
    let early = names
        .iter()
        .take(4)
        .any(|word| READS.contains(&word.split('-').next().unwrap_or_default()));
    if !early {
        return (Tier::T4, "cloud:write");
    }
    if names.iter().any(|word| SECRETS.iter().any(|secret| word.contains(secret))) {
        return (Tier::T4, "cloud:secret-read");
    }
    let writes = [
        "put", "create", "update", "set", "send", "invoke", "run", "start", "stop", "cp", "mv",
        "sync", "deploy", "publish", "exec", "ssh", "modify", "add", "attach",
    ];
    if verb(&writes) { (Tier::T4, "cloud:write") } else { (Tier::T1, "cloud:read") }
}
