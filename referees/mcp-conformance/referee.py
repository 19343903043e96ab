"""Runs the conformance suite and the official clients directly and through `tipstaff serve`.

Called by `run`, which installs everything. The fixture stands behind the gateway twice: once over
standard streams, once over HTTP. Then two fixtures stand behind one endpoint. The last line is
`N passed, M failed`.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import raw
from checks import check, count, difference, finish, normal
from suite import Suite

HERE = pathlib.Path(__file__).resolve().parent
TIPSTAFF = str(pathlib.Path(os.environ["TIPSTAFF"]).resolve())
INSTALLED = pathlib.Path(sys.argv[1]).resolve()
SHORT = "--short" in sys.argv[2:]
NODE = str(INSTALLED / "node_modules/node/bin/node")
PACKAGES = INSTALLED / "node_modules/@modelcontextprotocol"
FIXTURE = [sys.executable, str(HERE / "fixture.py")]

started = []


def tipstaff(home, *words):
    return subprocess.run([TIPSTAFF, "--home", str(home), *words], capture_output=True, text=True, timeout=120)


def start(command, log):
    """Starts a server that says on its first line where it is."""
    with open(log, "a") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    started.append(process)
    for line in process.stdout:
        url = re.search(r"http://\S+", line)
        if url:
            return process, url[0]
    sys.exit(f"{command[0]} said no address: {pathlib.Path(log).read_text()[-600:]}")


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def serve(base, name, servers):
    home = base / name
    made = tipstaff(home, "init")
    check(f"{name}: init", made.returncode == 0, made.stderr)
    (home / "config.toml").write_text("".join(f"[servers.{server}]\n{how}\n" for server, how in servers.items()))
    shutil.copy(HERE / "referee.cedar", home / "policies")
    process, url = start([TIPSTAFF, "--home", str(home), "serve", "--listen", "127.0.0.1:0"], base / f"{name}.log")
    return home, process, f"{url}/mcp"


# The clients.


def drive(client, url, prefix, out, where):
    python = [sys.executable, str(HERE / "drive.py"), url, prefix, str(out)]
    node = [NODE, str(HERE / "drive.mjs"), url, prefix, str(out), str(INSTALLED)]
    try:
        ran = subprocess.run(python if client == "python" else node, capture_output=True, text=True, timeout=200)
        told = ran.stderr[-1000:]
    except subprocess.TimeoutExpired:
        told = "no end after 200 s"
    check(f"{client}, {where}: the script runs", out.exists(), told)
    return json.loads(out.read_text()) if out.exists() else {}


def check_direct(client, steps):
    """That the script itself sees what it is there for; two equal failures would look alike."""
    strange = {name: value for name, value in steps.items() if isinstance(value, dict) and "exception" in value}
    check(f"{client}, directly: no step breaks", steps and not strange, strange)
    seen = {
        name: len(steps.get(name) or [])
        for name in ("logged", "asked for sampling", "asked for elicitation", "updated")
    }
    expected = {"logged": 3, "asked for sampling": 1, "asked for elicitation": 3, "updated": 1}
    check(f"{client}, directly: messages, questions and updates come", seen == expected, seen)
    check(f"{client}, directly: a cancelled call ends in the server", steps.get("cancelled in the server") == 1, steps)


def without_prefix(step, value, prefix):
    """A list of several servers as one of them alone would give it."""
    key = {"tools/list": "tools", "prompts/list": "prompts"}.get(step)
    if not prefix or key is None or not isinstance(value, dict):
        return value
    own = [entry for entry in value.get(key, []) if entry["name"].startswith(prefix)]
    return {**value, key: [{**entry, "name": entry["name"].removeprefix(prefix)} for entry in own]}


def receipts_in(value):
    if isinstance(value, dict):
        meta = value.get("_meta")
        if isinstance(meta, dict) and "tipstaff/receipt" in meta:
            yield meta["tipstaff/receipt"]
        for inner in value.values():
            yield from receipts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from receipts_in(inner)


def compare_client(client, where, direct, through, prefix, name):
    if not direct or not through:
        return []
    for step, expected in direct.items():
        found = through.get(step, "missing")
        if step == "unlisted tool" or (prefix and step in ("initialize", "prompts/get missing")):
            continue
        if prefix and step == "resources/read missing":
            # No server is asked: the gateway answers for all of them.
            code = (found.get("error") or {}).get("code")
            check(f"{client}, {where}: {step} is the same error", code == expected["error"]["code"], found)
            continue
        if step == "as it comes":
            # The fixture alone is spoken to in a later revision, which stamps its results.
            same = isinstance(found, dict) and found.get("structuredContent") == expected.get("structuredContent")
            check(f"{client}, {where}: without being told a revision, it works", same, found)
            continue
        if step == "name":
            expected = {**expected, "content": [{"type": "text", "text": name}]}
        expected, found = normal(expected), normal(without_prefix(step, found, prefix))
        check(f"{client}, {where}: {step} is the same", expected == found, difference(expected, found))
    refused = through.get("unlisted tool")
    meta = (refused or {}).get("_meta") or {}
    right = meta.get("tipstaff/verdict") == "DENY" and refused.get("isError") is True
    check(f"{client}, {where}: a tool that is not listed is refused", right, refused)
    if prefix:
        missing = through.get("prompts/get missing")
        check(f"{client}, {where}: a prompt that is not listed is refused", "error" in missing, missing)
    calls = [value for value in through.values() if isinstance(value, dict) and "content" in value]
    bare = [
        value
        for value in calls
        if not re.fullmatch("[0-9a-f]{64}", (value.get("_meta") or {}).get("tipstaff/receipt", ""))
    ]
    check(f"{client}, {where}: each of {len(calls)} results carries its receipt", calls and not bare, bare)
    return list(receipts_in(through))


def inspector(url, *more):
    program = [NODE, str(PACKAGES / "inspector/clients/launcher/build/index.js"), "--cli", url, "--transport", "http"]
    ran = subprocess.run([*program, *more], capture_output=True, text=True, timeout=120)
    try:
        return json.loads(ran.stdout)
    except ValueError:
        return {"no answer": ran.stdout[-300:] + ran.stderr[-600:]}


def inspect(where, direct, through):
    for name, more in {
        "tools/list": ["--method", "tools/list"],
        "tools/call": ["--method", "tools/call", "--tool-name", "add", "--tool-arg", "a=3", "--tool-arg", "b=4"],
        "resources/read": ["--method", "resources/read", "--uri", "test://template/9/data"],
        "prompts/get": ["--method", "prompts/get", "--prompt-name", "test_simple_prompt"],
    }.items():
        expected, found = normal(inspector(direct, *more)), normal(inspector(through, *more))
        right = expected == found and "no answer" not in expected
        check(f"inspector, {where}: {name} is the same", right, difference(expected, found))


# What is left behind.


def check_log(name, home, seen):
    verify = tipstaff(home, "--json", "verify")
    valid = verify.returncode == 0 and json.loads(verify.stdout or "{}").get("valid") is True
    check(f"{name}: every chain is valid", valid, verify.stdout[-600:] + verify.stderr)
    fsck = tipstaff(home, "--json", "log", "fsck")
    check(
        f"{name}: log fsck has no faults",
        fsck.returncode == 0 and json.loads(fsck.stdout or "{}").get("faults") == [],
        fsck.stdout,
    )
    replay = json.loads(tipstaff(home, "--json", "replay").stdout or "{}")
    right = replay.get("differ") == 0 and replay.get("expired") == 0 and replay.get("rederived", 0) > 10
    check(f"{name}: replay: {replay.get('rederived')} verdicts, none differs", right, replay)
    lines = [json.loads(line) for line in tipstaff(home, "--json", "receipts", "list").stdout.splitlines()]
    verdicts = {line["hash"]: line["receipt"] for line in lines if line["receipt"]["kind"] == "verdict"}
    lost = sorted(set(seen) - set(verdicts))
    check(
        f"{name}: each of {len(set(seen))} receipts that a client was told of is a verdict in the log",
        seen and not lost,
        lost,
    )
    ended = {line["receipt"]["of"] for line in lines if line["receipt"]["kind"] == "outcome"}
    open_ended = [h for h, r in verdicts.items() if r["decision"]["verdict"] == "ALLOW" and h not in ended]
    check(f"{name}: each permitted action has its outcome", not open_ended, open_ended)
    asked = {receipt["action"] for receipt in verdicts.values()}
    check(f"{name}: what the server asked of the client has receipts", {"mcp:sample", "mcp:elicit"} <= asked, asked)


def running(words):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if all(word.encode() in line for word in words):
                found.append(int(entry.name))
    return found


def end(name, process, mark):
    check(f"{name}: serve ends well when it is told to", stop(process) == 0, process.returncode)
    until = time.monotonic() + 60
    while running([mark, "--stdio"]) and time.monotonic() < until:
        time.sleep(0.1)
    left = running([mark, "--stdio"])
    check(f"{name}: no server is left running", not left, left)
    for process_id in left:
        os.kill(process_id, signal.SIGKILL)


def version_of(package):
    return json.loads((PACKAGES / package / "package.json").read_text())["version"]


def versions():
    said = subprocess.run([TIPSTAFF, "--version"], capture_output=True, text=True).stdout.split()
    node = subprocess.run([NODE, "--version"], capture_output=True, text=True).stdout.strip()
    listed = subprocess.run([sys.executable, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True)
    mcp = next(one["version"] for one in json.loads(listed.stdout) if one["name"] == "mcp")
    return {
        "tipstaff": said[-1] if said else "?",
        "@modelcontextprotocol/conformance": version_of("conformance"),
        "@modelcontextprotocol/inspector": version_of("inspector"),
        "@modelcontextprotocol/sdk (TypeScript client)": version_of("sdk"),
        "mcp (Python client and fixture)": mcp,
        "node": node,
    }


def quoted(words):
    return "[" + ", ".join(json.dumps(str(word)) for word in words) + "]"


def run_all(base):
    suite = Suite(NODE, PACKAGES / "conformance", SHORT)
    check(f"the suite requires {len(suite.scored)} server scenarios", len(suite.scored) == 30, suite.scored)
    # Known to `running` by its name, so that another run's servers are left alone.
    mark = f"referee-{os.getpid()}"
    _, direct_url = start([*FIXTURE, "--http", mark], base / "fixture.log")
    direct = suite.server(direct_url, base / "direct")
    suite.direct_is_complete(direct)
    clients = {
        client: drive(client, direct_url, "", base / f"direct-{client}.json", "directly")
        for client in ("python", "typescript")
    }
    for client, steps in clients.items():
        check_direct(client, steps)
    stdio = f"command = {quoted([*FIXTURE, '--stdio', mark])}"
    ways = {"through, stdio": {"fixture": stdio}}
    if not SHORT:
        ways["through, http"] = {"fixture": f'url = "{direct_url}"'}
    runs, told = {}, {}
    for number, (where, servers) in enumerate(ways.items()):
        home, process, url = serve(base, f"home{number}", servers)
        runs[where] = suite.server(url, base / f"through{number}")
        told[where] = suite.compare(where, direct, runs[where])
        seen = []
        for client, expected in clients.items():
            found = drive(client, url, "", base / f"{number}-{client}.json", where)
            seen += compare_client(client, where, expected, found, "", mark)
        inspect(where, direct_url, url)
        expected, found = (normal(raw.dropped_and_resumed(at)) for at in (direct_url, url))
        right = len(expected) == 4 and expected == found
        check(
            f"{where}: a stream that was dropped is resumed, nothing lost and nothing twice",
            right,
            difference(expected, found),
        )
        end(where, process, mark)
        check_log(where, home, seen)
    if not SHORT:
        several(base, clients, direct_url, stdio, mark)
        as_client = suite.client(shlex.join([sys.executable, str(HERE / "bridge.py")]), base / "as-client")
        suite.report(HERE / "RESULTS.md", versions(), direct, runs, told, as_client)


def several(base, clients, direct_url, stdio, mark):
    """Two servers behind one endpoint: one over standard streams, one over HTTP."""
    second = "second" + mark
    _, second_url = start([*FIXTURE, "--http", second], base / "fixture2.log")
    home, process, url = serve(base, "several", {"one": stdio, "two": f'url = "{second_url}"'})
    seen = []
    listed = inspector(url, "--method", "tools/list").get("tools", [])
    names = [tool["name"] for tool in listed]
    alone = [tool["name"] for tool in inspector(direct_url, "--method", "tools/list").get("tools", [])]
    expected = sorted(f"{server}__{name}" for server in ("one", "two") for name in alone)
    check(f"two servers: {len(expected)} tools, each with its server's name", sorted(names) == expected, names)
    for server, name in (("one", mark), ("two", second)):
        for client, steps in clients.items():
            found = drive(client, url, f"{server}__", base / f"{server}-{client}.json", server)
            # A resource that both list is the first one's, so the second can't be watched through it.
            steps = dict(steps)
            if server == "two":
                for step in ("touch", "updated", "updated, in the end"):
                    steps.pop(step, None)
            seen += compare_client(client, f"of two: {server}", steps, found, f"{server}__", name)
    end("two servers", process, mark)
    check_log("two servers", home, seen)


def main():
    # So that what was started is ended then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    base = pathlib.Path(tempfile.mkdtemp(prefix="tipstaff-conformance-")).resolve()
    try:
        run_all(base)
    except Exception as error:  # noqa: BLE001  a run that breaks is a failed check, not silence
        check("the run comes to its end", False, repr(error))
    finally:
        for process in started:
            if process.poll() is None:
                stop(process)
        if count["failed"]:
            print(f"kept for a look: {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)
    finish()


main()
