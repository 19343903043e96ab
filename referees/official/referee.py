"""Compares what the official clients see of the official servers, directly and behind `tipstaff wrap`.

Called by `run`, which installs both. Every step of the transcripts is one check; then come the checks of
what was refused, of the receipts, and of the log. The last line is `N passed, N failed`.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
TIPSTAFF = str(pathlib.Path(os.environ["TIPSTAFF"]).resolve())
INSTALLED = pathlib.Path(sys.argv[1]).resolve()
SHORT = "--short" in sys.argv[2:]
CONFIG = 'roots = ["{base}/python/work", "{base}/typescript/work"]\nsession_grace_s = 1\nidle_exit_s = 1\napproval_wait_s = 0\n'

passed, failed = 0, 0


def check(name, good, why=""):
    global passed, failed
    if good:
        passed += 1
        print(f"ok    {name}", flush=True)
    else:
        failed += 1
        print(f"FAIL  {name}  {str(why)[:1200]}", flush=True)


def tipstaff(home, *words):
    command = [TIPSTAFF, "--home", str(home), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def fresh(work, outside):
    for folder in (work, outside):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    (work / ".ssh").mkdir()
    (work / ".ssh" / "id_ed25519").write_text("not a key\n")
    (work / "a.txt").write_text("one\ntwo\n")
    (work / "ü.txt").write_text("grüße\n")


def commands(work, through, runner):
    """The servers' command lines; behind wrap if a home is given."""
    answer = {}
    for name, arguments in (("filesystem", [str(work)]), ("everything", [])):
        package = f"@modelcontextprotocol/server-{name}"
        version = json.loads((INSTALLED / "node_modules" / package / "package.json").read_text())["version"]
        if runner:
            line = ["npx", "-y", f"{package}@{version}", *arguments]
        else:
            line = ["node", str(INSTALLED / "node_modules" / package / "dist/index.js"), *arguments]
        # The servers get no --name: the name is derived, as for most users.
        answer[name] = ([TIPSTAFF, "--home", str(through), "wrap", "--"] if through else []) + line
    return answer


def drive(client, base, through=None, runner=False):
    work, outside = base / "work", base / "outside"
    fresh(work, outside)
    spec = {
        "work": str(work),
        "outside": str(outside),
        "errors": str(base / "errors"),
        "modules": str(INSTALLED),
        "servers": commands(work, through, runner),
    }
    (base / "spec.json").write_text(json.dumps(spec))
    out = base / "out.json"
    out.unlink(missing_ok=True)
    program = [sys.executable, str(HERE / "drive.py")] if client == "python" else ["node", str(HERE / "drive.mjs")]
    try:
        run = subprocess.run([*program, str(base / "spec.json"), str(out)], capture_output=True, text=True, timeout=150)
        told = run.stderr[-600:]
    except subprocess.TimeoutExpired:
        told = "no end after 150 s"
    where = "through wrap" if through else "directly"
    errors = base / "errors"
    words = errors.read_text()[-600:] if errors.exists() else ""
    check(f"{client}: the script runs {where}", out.exists(), told + words)
    return json.loads(out.read_text()) if out.exists() else {}


def normal(value):
    """Without what Tipstaff adds to `_meta`, and without the time of day that a server writes."""
    if isinstance(value, dict):
        value = {name: normal(inner) for name, inner in value.items()}
        meta = value.get("_meta")
        if isinstance(meta, dict):
            meta = {name: inner for name, inner in meta.items() if not name.startswith("tipstaff/")}
            value.pop("_meta")
            if meta:
                value["_meta"] = meta
        return value
    if isinstance(value, list):
        return [normal(inner) for inner in value]
    if isinstance(value, str):
        value = re.sub(r"created at \d+:\d\d:\d\d( [AP]M)?", "created at T", value)
        # The client's answer goes on in canonical form: equal, its members sorted.
        head, mark, raw = value.partition("Raw result: ")
        if mark:
            return head + json.dumps(json.loads(raw), sort_keys=True)
    return value


def difference(one, other, place=""):
    """The first place where two values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(set(one) | set(other)):
            if one.get(name) != other.get(name):
                return difference(one.get(name), other.get(name), f"{place}/{name}")
    if isinstance(one, list) and isinstance(other, list):
        for at, (first, second) in enumerate(zip(one, other)):
            if first != second:
                return difference(first, second, f"{place}/{at}")
        return f"{place}: directly {len(one)} elements, through {len(other)}: {one[len(other):] or other[len(one):]}"
    return f"{place}: directly {one!r}, through {other!r}"


def receipts_in(value):
    """Every receipt id that a transcript carries."""
    if isinstance(value, dict):
        meta = value.get("_meta") or {}
        if "tipstaff/receipt" in meta:
            yield meta["tipstaff/receipt"]
        for inner in value.values():
            yield from receipts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from receipts_in(inner)


def compare(client, direct, through, base):
    for server in ("filesystem", "everything"):
        for step, expected in direct.get(server, {}).items():
            found = through.get(server, {}).get(step, "missing")
            name = f"{client}: {server}: {step}"
            if step == "progress seen":
                # The last one races with the result inside the client, directly too.
                expected, found = expected[:2], found[:2]
            expected, found = normal(expected), normal(found)
            check(f"{name} is the same", expected == found, difference(expected, found))
    gates = [
        ("filesystem", "write outside", "STEP_UP", "outside-roots"),
        ("filesystem", "read a key", "DENY", "credentials"),
        ("filesystem", "unlisted tool", "DENY", None),
        ("everything", "environment", "STEP_UP", "high-tiers"),
    ]
    for server, step, verdict, policy in gates:
        found = through.get(f"{server} gated", {}).get(step, {})
        meta = found.get("_meta") or {}
        right = (
            found.get("isError") is True
            and meta.get("tipstaff/verdict") == verdict
            and meta.get("tipstaff/policy") == policy
            and re.fullmatch("[0-9a-f]{64}", meta.get("tipstaff/receipt", ""))
            and "Tipstaff refused this call" in found.get("content", [{}])[0].get("text", "")
        )
        check(f"{client}: {server}: {step} is {verdict} by {policy}", right, found)
    inside = through.get("filesystem gated", {}).get("write inside", {})
    right = not inside.get("isError") and "tipstaff/receipt" in (inside.get("_meta") or {})
    check(f"{client}: filesystem: write inside is allowed, with its receipt", right, inside)
    check(f"{client}: nothing was written outside", not any((base / "outside").iterdir()))
    check(f"{client}: what was allowed was written", (base / "work/more.txt").exists())
    calls = [value for value in through.get("everything", {}).values() if isinstance(value, dict) and "content" in value]
    bare = [value for value in calls if not (value.get("_meta") or {}).get("tipstaff/receipt")]
    check(f"{client}: each of {len(calls)} results carries its receipt", calls and not bare, bare)


def running(home):
    """Processes of this home, by their command line."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(home).encode() in words:
                found.append(int(entry.name))
    return found


def wait_for_end(home):
    until = time.monotonic() + 60
    while running(home) and time.monotonic() < until:
        time.sleep(0.1)
    left = running(home)
    for process in left:
        os.kill(process, signal.SIGKILL)
    check("shims, servers and monitor have ended by themselves", not left, left)


def check_log(home, sessions, seen):
    wait_for_end(home)
    verify = tipstaff(home, "--json", "verify")
    answer = json.loads(verify.stdout or "{}")
    check("verify: every chain is valid", verify.returncode == 0 and answer.get("valid") is True, verify.stdout + verify.stderr)
    closed = [chain for chain in answer.get("chains", []) if chain["chain"].startswith("s-")]
    check(
        f"{sessions} sessions for {sessions} clients with two servers each, all closed",
        len(closed) == sessions and all(chain["closed"] for chain in closed),
        closed,
    )
    fsck = tipstaff(home, "--json", "log", "fsck")
    check("log fsck: no faults", fsck.returncode == 0 and json.loads(fsck.stdout or "{}").get("faults") == [], fsck.stdout)
    replay = tipstaff(home, "--json", "replay")
    counts = json.loads(replay.stdout or "{}")
    right = replay.returncode == 0 and counts.get("differ") == 0 and counts.get("rederived", 0) > 20 and counts.get("expired") == 0
    check(f"replay: {counts.get('rederived')} verdicts, none differs", right, replay.stdout + replay.stderr)
    lines = [json.loads(line) for line in tipstaff(home, "--json", "receipts", "list").stdout.splitlines()]
    verdicts = {line["hash"]: line["receipt"] for line in lines if line["receipt"]["kind"] == "verdict"}
    lost = sorted(set(seen) - set(verdicts))
    check(f"each of {len(set(seen))} receipts that a client was told of is a verdict in the log", seen and not lost, lost)
    ended = {line["receipt"]["of"] for line in lines if line["receipt"]["kind"] == "outcome"}
    open_ended = [
        hash
        for hash, receipt in verdicts.items()
        if receipt["decision"]["verdict"] in ("ALLOW", "MODIFY") and hash not in ended
    ]
    check("each permitted action has its outcome", not open_ended, open_ended)
    asked = {receipt["action"] for receipt in verdicts.values()}
    check("what the servers asked of the client has receipts", {"mcp:sample", "mcp:elicit"} <= asked, asked)
    proof = tipstaff(home, "log", "proof", seen[0])
    check("log proof of a call", proof.returncode == 0 and proof.stdout.startswith("c2sp.org/tlog-proof"), proof.stdout + proof.stderr)


def new_home(base, name, referee):
    home = base / name
    made = tipstaff(home, "init")
    check("init", made.returncode == 0, made.stderr)
    (home / "config.toml").write_text(CONFIG.format(base=base))
    if referee:
        shutil.copy(HERE / "referee.cedar", home / "policies")
    return home


def default_set(base):
    """Without the referee's policies, what the server asks of the client is judged by the default set."""
    home = new_home(base, "default", referee=False)
    through = drive("typescript", base / "typescript", home)
    steps = through.get("everything", {})
    for step in ("sampling", "elicitation", "updates on", "logging on"):
        meta = (steps.get(step) or {}).get("_meta") or {}
        check(f"default set: {step} is held", meta.get("tipstaff/verdict") == "STEP_UP", steps.get(step))
    check("default set: the client was asked for nothing", steps.get("asked for sampling") == [] == steps.get("asked for elicitation"))
    wait_for_end(home)


def one_client(client, base, home, seen):
    try:
        direct = drive(client, base)
        through = drive(client, base, home)
        compare(client, direct, through, base)
        seen += receipts_in(through)
        if not SHORT:
            again = drive(client, base, home, runner=True)
            compare(f"{client} (npx)", direct, again, base)
            seen += receipts_in(again)
    except Exception as error:  # noqa: BLE001  a thread's fault is a failed check, not silence
        check(f"{client}: the comparison runs", False, repr(error))


def main():
    base = pathlib.Path(tempfile.mkdtemp(prefix="tipstaff-official-run-")).resolve()
    try:
        home = new_home(base, "home", referee=True)
        seen = []
        # Both clients at once, each with two servers, on one home.
        threads = [
            threading.Thread(target=one_client, args=(client, base / client, home, seen))
            for client in ("python", "typescript")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sessions = 2 if SHORT else 4
        check_log(home, sessions, seen)
        if not SHORT:
            default_set(base)
    finally:
        for process in running(base / "home") + running(base / "default"):
            os.kill(process, signal.SIGKILL)
        if failed:
            print(f"kept for a look: {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
