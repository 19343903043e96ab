"""Runs the suite's authorization scenarios and the official SDK's server against `tipstaff login`; writes RESULTS.md."""

import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import drive

HERE = Path(__file__).resolve().parent
INSTALLED = Path(sys.argv[1]).resolve()
SUITE = INSTALLED / "node_modules/@modelcontextprotocol/conformance"
NODE = INSTALLED / "node_modules/node/bin/node"
WIRE = "2025-11-25"
LATER = "2026-07-28"
# What the suite itself notes of its own requests.
NOTES = re.compile("incoming-|outgoing-|server-info")
count = {"passed": 0, "failed": 0}


def check(what, good, more=""):
    count["passed" if good else "failed"] += 1
    print(("ok      " if good else "FAILED  ") + what + ("" if good else f"  {more}"), flush=True)


def required(revision):
    """The authorization scenarios for clients that a revision requires."""
    part, found = None, []
    for line in (SUITE / f"requirements/{revision}.yaml").read_text().splitlines():
        if re.fullmatch(r"\w+:", line):
            part = line[:-1]
        elif part == "client" and line.startswith("  - auth/"):
            found.append(line[4:])
    return found


def listed():
    """Every authorization scenario for clients, with the revisions that it is for."""
    words = [NODE, SUITE / "dist/index.js", "list", "--client"]
    text = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    return dict(re.findall(r"- (auth/\S+) \[(.*)\]", text))


def scenario(name, out):
    words = [NODE, SUITE / "dist/index.js", "client", "--scenario", name, "--spec-version", WIRE, "--force"]
    words += ["--command", f"{sys.executable} {HERE / 'drive.py'}", "--timeout", "120000", "-o", out]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=200, cwd=out)
    files = sorted(Path(out).glob(f"**/{name.split('/')[-1]}-2*/checks.json")) or sorted(
        Path(out).glob("**/*" + name.replace("/", "-") + "*/checks.json")
    )
    checks = json.loads(files[-1].read_text()) if files else []
    checks = [one for one in checks if not NOTES.match(one["id"])]
    return checks, ran.stdout[-2000:] + ran.stderr[-2000:]


def outcome(checks):
    bad = [one for one in checks if one["status"] in ("FAILURE", "WARNING")]
    told = "; ".join(dict.fromkeys(one.get("errorMessage") or one["description"] for one in bad))
    return bool(checks) and not bad, told


def counted(checks):
    statuses = [one["status"] for one in checks]
    return ", ".join(f"{statuses.count(s)} {s}" for s in sorted(set(statuses), reverse=True)) or "none"


def suite():
    rows = []
    first = required(WIRE)
    later = [name for name in required(LATER) if name not in first]
    for revision, names in ((WIRE, first), (LATER, later)):
        for name in names:
            with tempfile.TemporaryDirectory() as out:
                checks, said = scenario(name, out)
            good, told = outcome(checks)
            check(f"suite: {name}", good, told or said)
            rows.append((revision, name, "green" if good else "not green", counted(checks), told))
    known = {name for _, name, *_ in rows}
    rest = [(name, of) for name, of in listed().items() if name not in known]
    return rows, rest


def official():
    """The official SDK's server."""
    done = []

    def see(what, good, more=""):
        check(f"SDK: {what}", good, more)
        done.append((what, "yes" if good else "NO"))

    life = 4
    process = subprocess.Popen(
        [sys.executable, HERE / "sdk.py", str(life)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        port = process.stdout.readline().strip()
        with tempfile.TemporaryDirectory() as folder:
            world = drive.World(folder, f"http://127.0.0.1:{port}/mcp")
            world.serve()
            try:
                before = json.dumps(drive.attempt(world))
                see("without a login an agent is told the next step", drive.advice(before) == [], before)
                logged_in = world.login()
                see("a person logs in: found, registered, PKCE, code", logged_in)
                if not logged_in:
                    return done
                agent = drive.Agent(world)
                names, _ = agent.names()
                see("the tools are listed", names == ["told"], names)
                told = told_by(agent)
                see("a tool is called", told.get("registered") == 1, told)
                renewed = told.get("renewed", 0)
                time.sleep(life + 1)
                told = told_by(agent)
                see("a token that has ended is renewed in the same session", told.get("renewed", 0) > renewed, told)
                file = world.folder / "home/logins/far.json"
                kept = json.loads(file.read_text())
                see("what is kept is for its owner alone", file.stat().st_mode & 0o777 == 0o600)
                ended = world.run("--json", "logout", "far")
                see("the issuer takes the tokens back at the logout", '"revoked"' in ended.stdout, ended.stdout)
                after = json.dumps(agent.call("told", {}))
                see("nothing is called with it after that", drive.advice(after) == [], after)
                log = (world.folder / "serve.log").read_text() + before + after
                see("no token is in what was said", all(kept[n] not in log for n in ("access_token", "refresh_token")))
            finally:
                world.end()
    finally:
        process.terminate()
        process.wait(timeout=20)
    return done


def told_by(agent):
    answer = agent.call("told", {})
    result = answer.get("result") or {}
    return result.get("structuredContent") or {"answer": answer}


def main():
    rows, rest = suite()
    done = official()
    version = subprocess.run([drive.TIPSTAFF, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    package = json.loads((SUITE / "package.json").read_text())["version"]
    lines = [
        "# Logging in to servers by others",
        "",
        f"Written by `referees/login/run` on {datetime.date.today()}; not edited by hand. {version}, "
        f"conformance suite {package}, Python SDK {sdk_version()}.",
        "",
        f"## The suite's authorization scenarios, over the wire of {WIRE}",
        "",
        "Not green is a scenario with a failure or a warning. Those of the later revision are run over the earlier one's",
        "wire, which is what `serve` speaks with servers.",
        "",
        "| required by | scenario | result | checks | what the suite says |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        f"Green: {sum(row[2] == 'green' for row in rows)} of {len(rows)}.",
        "",
        "Not run, since neither revision requires it: "
        + ", ".join(f"{name} ({of})" for name, of in rest)
        + ".",
        "",
        "## A server of the official Python SDK",
        "",
        "| what | found |",
        "|---|---|",
        *(f"| {what} | {found} |" for what, found in done),
        "",
        f"Checks: {count['passed']} passed, {count['failed']} failed.",
        "",
    ]
    (HERE / "RESULTS.md").write_text("\n".join(lines))
    print(f"{count['passed']} passed, {count['failed']} failed")
    sys.exit(1 if count["failed"] else 0)


def sdk_version():
    from importlib.metadata import version

    return version("mcp")


if __name__ == "__main__":
    os.environ.setdefault("TIPSTAFF", drive.TIPSTAFF)
    main()
