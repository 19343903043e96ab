//! A name for a server, from the command that starts it.
//!
//! Policies and receipts know a tool as `server/tool`. The adversary is a name that a reader takes for
//! another one, so a derived name has few characters and says what the command says, no more.

/// Commands that run another program, which their arguments name.
const RUNNERS: [&str; 17] = [
    "npx", "bunx", "uvx", "pipx", "node", "deno", "bun", "npm", "pnpm", "yarn", "uv", "docker",
    "podman", "cmd", "sh", "bash", "env",
];
/// Words with which a runner is told to run.
const VERBS: [&str; 6] = ["run", "exec", "x", "dlx", "tool", "start"];
/// Options of runners that take a value.
const VALUED: [&str; 13] = [
    "-p",
    "--package",
    "--from",
    "--with",
    "--python",
    "--directory",
    "--env",
    "-e",
    "-v",
    "--volume",
    "--mount",
    "--name",
    "--network",
];
const AFFIXES: [&str; 4] = ["mcp-server-", "server-", "mcp-", "mcp_server_"];
const SUFFIXES: [&str; 5] = ["-mcp-server", "-mcp", "-server", "_mcp", "_server"];
const EXTENSIONS: [&str; 8] = [".js", ".mjs", ".cjs", ".ts", ".py", ".sh", ".exe", ".jar"];

/// Names that files of many servers have: the folder above says more.
const EVERYDAY: [&str; 18] = [
    "index", "main", "server", "app", "cli", "start", "run", "stdio", "mcp", "mod", "__main__",
    "dist", "build", "lib", "src", "out", "bin", "esm",
];

/// The name of the server that `command` with `args` starts: `npx -y @scope/server-files@1.2` is
/// `files`.
#[must_use]
pub fn server_name(command: &str, args: &[String]) -> String {
    let base = last_segment(command);
    if !is_runner(&base) {
        return plain(&base);
    }
    let mut rest = args.iter().map(String::as_str);
    while let Some(arg) = rest.next() {
        if arg == "-m" {
            continue;
        }
        if arg.starts_with('-') {
            if VALUED.contains(&arg) {
                rest.next();
            }
            continue;
        }
        let assigns = base == "env" && arg.contains('=');
        if !VERBS.contains(&arg) && !is_runner(&last_segment(arg)) && !assigns {
            return telling(arg);
        }
    }
    plain(&base)
}

/// The last segment of a path that says which server it is: `server-files/dist/index.js` is `files`.
/// Two servers of one derived name would share their accepted tools.
fn telling(path: &str) -> String {
    let mut segments = path.trim_end_matches(['/', '\\']).rsplit(['/', '\\']);
    let found = segments.find(|segment| {
        let lower = segment.to_ascii_lowercase();
        let stem = EXTENSIONS.iter().find_map(|end| lower.strip_suffix(end)).unwrap_or(&lower);
        !stem.is_empty() && stem != "." && stem != ".." && !EVERYDAY.contains(&stem)
    });
    plain(&last_segment(found.unwrap_or(path)))
}

fn is_runner(base: &str) -> bool {
    let base = base.strip_suffix(".exe").unwrap_or(base);
    let python = base
        .strip_prefix("python")
        .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'));
    RUNNERS.contains(&base) || python
}

/// The last segment of a path or package name, without version or tag.
fn last_segment(text: &str) -> String {
    let segment = text.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or_default();
    // A scope's own `@` stands first in its segment.
    let segment = match segment.char_indices().skip(1).find(|(_, c)| matches!(c, '@' | ':' | '=')) {
        Some((at, _)) => segment.get(..at).unwrap_or(segment),
        None => segment,
    };
    segment.trim_start_matches('@').to_owned()
}

fn plain(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let mut name = lower.as_str();
    name = EXTENSIONS.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    for _ in 0..2 {
        name = AFFIXES.iter().find_map(|start| name.strip_prefix(start)).unwrap_or(name);
        name = SUFFIXES.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    }
    let kept: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .take(64)
        .collect();
    let kept = kept.trim_matches(['-', '.', '_']).to_owned();
    if kept.is_empty() { "server".to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_person_would_say() {
        for (line, name) in [
            ("npx -y @modelcontextprotocol/server-filesystem ./notes", "filesystem"),
            ("npx -y @modelcontextprotocol/server-filesystem@2026.1.14 ./notes", "filesystem"),
            ("npx --package x/y some-mcp", "some"),
            ("uvx mcp-server-git --repository .", "git"),
            ("uvx --from mcp-server-fetch==1.0 mcp-server-fetch", "fetch"),
            ("/usr/bin/python3.12 -m mcp_server_time", "time"),
            ("node dist/index.js", "index"),
            ("node /opt/node_modules/@scope/server-filesystem/dist/index.js /notes", "filesystem"),
            ("node ./weather-mcp/build/stdio.mjs", "weather"),
            ("python3 -u tools/main.py", "tools"),
            ("docker run -i --rm -e TOKEN ghcr.io/github/github-mcp-server:latest", "github"),
            ("/opt/tools/Weather-MCP.exe", "weather"),
            ("uv run --directory /srv/x server.py", "server"),
            ("npx", "npx"),
            ("./mcp-server-", "server"),
            ("python server.py", "server"),
        ] {
            let mut words = line.split(' ').map(str::to_owned);
            let command = words.next().unwrap();
            assert_eq!(server_name(&command, &words.collect::<Vec<_>>()), name, "{line}");
        }
    }
}
