"""Widely used MCP servers from npm and PyPI: started, listed and called, directly and through `tipstaff wrap`.

Called by `run --servers`, which installs them. Each runs twice in a folder that is laid anew, driven by
the official Python client; lists and results must be the same, and each result through `wrap` carries its
receipt. Nothing here needs more than the loopback network: what a server would fetch from elsewhere
is not called. The last line is `N passed, M failed`.
"""

import asyncio
import contextlib
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings

import checks
from checks import check
from mcp import Client, MCPError, StdioServerParameters, stdio_client

warnings.simplefilter("ignore")
TIPSTAFF = str(pathlib.Path(os.environ["TIPSTAFF"]).resolve())
INSTALLED = pathlib.Path(sys.argv[1]).resolve()
NODE = str(INSTALLED / "node_modules/node/bin/node")
PAGE = b"<html><body><h1>Title</h1><p>Words.</p></body></html>"


def npm(package, *arguments):
    folder = INSTALLED / "node_modules" / package
    said = json.loads((folder / "package.json").read_text())
    # Of several commands, the first is the server.
    script = said["bin"] if isinstance(said["bin"], str) else next(iter(said["bin"].values()))
    return [NODE, str(folder / script), *arguments], f"{package} {said['version']}"


def pypi(package, *arguments):
    listed = subprocess.run([sys.executable, "-m", "pip", "show", package], capture_output=True, text=True).stdout
    version = re.search(r"^Version: (\S+)", listed, re.M)
    program = str(pathlib.Path(sys.executable).parent / package)
    return [program, *arguments], f"{package} {version[1] if version else '?'}"


def servers(work, page):
    """Each server: how it is started, and what is called with which arguments."""
    thought = {"thought": "ü", "nextThoughtNeeded": False, "thoughtNumber": 1, "totalThoughts": 1}
    entity = {"name": "Ada", "entityType": "person", "observations": ["wrote the first program"]}
    hour = {"source_timezone": "Asia/Tokyo", "time": "12:00", "target_timezone": "Asia/Kolkata"}
    return {
        "filesystem": (
            npm("@modelcontextprotocol/server-filesystem", work),
            [
                ("write_file", {"path": f"{work}/new.txt", "content": "ü\n"}),
                ("read_text_file", {"path": f"{work}/new.txt"}),
                ("list_directory", {"path": work}),
            ],
        ),
        "everything": (
            npm("@modelcontextprotocol/server-everything"),
            [("echo", {"message": "ü"}), ("get-sum", {"a": 1, "b": 2}), ("get-tiny-image", {})],
        ),
        "memory": (
            npm("@modelcontextprotocol/server-memory"),
            [("create_entities", {"entities": [entity]}), ("search_nodes", {"query": "Ada"}), ("read_graph", {})],
        ),
        "thinking": (npm("@modelcontextprotocol/server-sequential-thinking"), [("sequentialthinking", thought)]),
        "git-npm": (npm("@cyanheads/git-mcp-server"), [("git_status", {"path": work})]),
        # What these two are for needs a browser or a far server. They say so, and that is compared.
        "playwright": (npm("@playwright/mcp", "--headless"), [("browser_close", {})]),
        "context7": (npm("@upstash/context7-mcp"), [("resolve-library-id", {})]),
        "time": (pypi("mcp-server-time", "--local-timezone", "UTC"), [("convert_time", hour)]),
        "git": (
            pypi("mcp-server-git", "--repository", work),
            [
                ("git_status", {"repo_path": work}),
                ("git_add", {"repo_path": work, "files": ["a.txt"]}),
                ("git_diff_staged", {"repo_path": work}),
            ],
        ),
        "fetch": (pypi("mcp-server-fetch", "--ignore-robots-txt", "--allow-private-ips"), [("fetch", {"url": page})]),
        "duckdb": (
            pypi("mcp-server-motherduck", "--db-path", ":memory:", "--read-write"),
            [("execute_query", {"sql": "SELECT 40 + 2 AS answer, 'ü' AS sign"})],
        ),
        "excel": (
            pypi("excel-mcp-server", "stdio", "--allow-dir", work),
            [
                ("create_workbook", {"path": f"{work}/book.xlsx"}),
                (
                    "write_range",
                    {"path": f"{work}/book.xlsx", "sheet": "Sheet1", "at": "A1", "rows": [["a", 1], ["ü", 2]]},
                ),
                ("read_range", {"path": f"{work}/book.xlsx", "sheet": "Sheet1"}),
            ],
        ),
    }


# Servers whose calls here end in an error.
REFUSING = {"playwright", "context7"}


def lay(work):
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", str(work)], check=True)
    (work / "a.txt").write_text("one\n")


def plain(value):
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


async def drive(command, work, calls, errors):
    steps = {}
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(work),
        "MEMORY_FILE_PATH": str(work / "memory.jsonl"),
        "NO_PROXY": "127.0.0.1",
    }
    parameters = StdioServerParameters(command=command[0], args=command[1:], cwd=str(work), env=environment)
    # A server may speak a later revision; what is compared is the one that both sides speak.
    async with Client(stdio_client(parameters, errlog=errors), mode="legacy") as client:
        steps["initialize"] = {"info": plain(client.server_info), "capabilities": plain(client.server_capabilities)}
        steps["tools/list"] = plain(await client.list_tools())
        for tool, arguments in calls:
            try:
                steps[tool] = plain(await client.call_tool(tool, arguments))
            except MCPError as error:
                steps[tool] = {"error": plain(error.error)}
    return steps


def timeless(value):
    """Without the date that a time server adds."""
    if isinstance(value, dict):
        return {name: timeless(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [timeless(inner) for inner in value]
    if isinstance(value, str):
        return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "TIME", value)
    return value


def examine(name, server, calls, base, home):
    work = base / "work" / name
    command, title = server
    found = []
    for through in (False, True):
        lay(work)
        line = (
            [TIPSTAFF, "--home", str(home), "wrap", "--name", name, "--env", "MEMORY_FILE_PATH", "--", *command]
            if through
            else command
        )
        log = base / f"{name}.log"
        try:
            with log.open("w") as errors:
                found.append(asyncio.run(asyncio.wait_for(drive(line, work, calls, errors), 90)))
        except BaseException as error:  # noqa: BLE001  one server's fault is a failed check
            check(
                f"{title}: runs {'through wrap' if through else 'directly'}",
                False,
                f"{error!r} {log.read_text()[-600:]}",
            )
            return
    direct, through = found
    one, other = (timeless(checks.normal(steps)) for steps in (direct, through))
    listed = len(direct["tools/list"]["tools"])
    right = listed > 0 and one == other
    check(
        f"{title}: started, {listed} tools listed, {len(calls)} called: the same", right, checks.difference(one, other)
    )
    answers = [through[tool] for tool, _ in calls]
    fine = [a for a in answers if "error" not in a and not a.get("isError")]
    check(
        f"{title}: {'each call ends in its own error' if name in REFUSING else 'each call has a result'}",
        len(fine) == (0 if name in REFUSING else len(calls)),
        answers,
    )
    # Where the server answers with an error of the protocol, there is no result to carry one.
    bare = [a for a in answers if "error" not in a and "tipstaff/receipt" not in (a.get("_meta") or {})]
    check(f"{title}: each result carries its receipt", not bare, bare)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def page():
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{served.server_address[1]}/"
    finally:
        served.shutdown()


def main():
    base = pathlib.Path(tempfile.mkdtemp(prefix="tipstaff-servers-")).resolve()
    home = base / "home"
    made = subprocess.run([TIPSTAFF, "--home", str(home), "init"], capture_output=True, text=True)
    check("init", made.returncode == 0, made.stderr)
    (home / "config.toml").write_text(f'roots = ["{base}/work"]\nsession_grace_s = 1\nidle_exit_s = 1\n')
    (home / "policies/referee.cedar").write_text(
        '@id("referee-servers")\n@rank("5")\npermit (principal, action, resource);\n'
    )
    with page() as url:
        for name in servers("", ""):
            server, calls = servers(str(base / "work" / name), url)[name]
            examine(name, server, calls, base, home)
    verify = subprocess.run([TIPSTAFF, "--home", str(home), "--json", "verify"], capture_output=True, text=True)
    check("every chain is valid", verify.returncode == 0, verify.stdout[-600:] + verify.stderr)
    if checks.count["failed"]:
        print(f"kept for a look: {base}")
    else:
        shutil.rmtree(base, ignore_errors=True)
    checks.finish()


main()
