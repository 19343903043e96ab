"""Hijacked agents without a language model: every user task of AgentDojo, then every pair of a user task with an
attacker's task, played call by call over MCP and scored by AgentDojo's own checkers.

    replay.py --results FOLDER [--suite NAME]... [--arm NAME]... [--protocol after|read]... [--rules own|default]
              [--every N] [--goals]

Arms: `none` is the suite's server alone; `open` is behind `tipstaff wrap` with rules that permit everything, and must
read the same. The others have the rules and a person: `grant` grants held calls that belong to the user's task and
refuses the rest, `refuse` refuses everything, `careless` grants everything. `--rules default` takes the rules of a
new home instead of policies/. `--every N` plays each Nth pair only. The table goes to standard output, the sessions
to FOLDER, a file for each suite and arm. Exit 1: a run without rules doesn't read as it must, or with `--goals` the
arm `grant` misses one.
"""

import argparse
import concurrent.futures
import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import pathlib
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import meanings
from people import Agent, Approver
from tables import HEAD, NAMES, PROTOCOLS, misread, rows, short_of, table

HERE = pathlib.Path(__file__).resolve().parent
ARMS = ("none", "open", "grant", "refuse", "careless")
RULES = {"own": HERE / "policies", "open": HERE / "open", "default": None}


class Zygote:
    """The process that holds a suite and forks its sessions."""

    def __init__(self, suite, folder):
        self.suite, self.path = suite, str(folder / f"{suite}.sock")
        self.errors = open(folder / f"{suite}.err", "wb")
        self.child = subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), suite, self.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
        )
        told = json.loads(self.child.stdout.readline() or "{}")
        self.users, self.injections, self.armed = told["users"], told["injections"], told["armed"]

    @contextlib.contextmanager
    def session(self, user, injection):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(120)
            control.connect(self.path)
            with control.makefile("rw") as lines:

                def ask(what):
                    lines.write(json.dumps(what) + "\n")
                    lines.flush()
                    return json.loads(lines.readline())

                yield ask({"user": user, "injection": injection}), ask

    def close(self):
        self.child.kill()
        self.child.wait()
        self.errors.close()


class Home:
    """A Tipstaff home with the referee's rules. Each replayed session in it is a session of its own."""

    def __init__(self, tipstaff, folder, rules):
        self.tipstaff, self.folder = tipstaff, folder
        subprocess.run([tipstaff, "--home", str(folder), "init"], check=True, capture_output=True)
        told = subprocess.run([tipstaff, "wrap", "--help"], check=True, capture_output=True, text=True)
        self.takes_requests = "--intent" in told.stdout
        config = folder / "config.toml"
        text = config.read_text().replace("repeats_per_minute = 20", "repeats_per_minute = 1000000")
        if RULES[rules]:
            for file in (folder / "policies").glob("*.cedar"):
                file.unlink()
            for file in RULES[rules].glob("*.cedar"):
                shutil.copy(file, folder / "policies")
        if rules == "open":
            text = text.replace("risk_limit = 100", "risk_limit = 0")
        if rules == "own":
            text += "\n" + meanings.config((HERE / "meanings.toml").read_text())
        text = text.replace("session_grace_s = 3", "session_grace_s = 0")
        config.write_text(text.replace("idle_exit_s = 60", "idle_exit_s = 3"))
        said = subprocess.run([tipstaff, "--home", str(folder), "policy", "check"], capture_output=True, text=True)
        if said.returncode:
            raise SystemExit(f"the referee's policies have faults:\n{said.stdout}{said.stderr}")

    def wrapped(self, server, words, request):
        """The command of a server behind the gateway, for a session with the user's request."""
        intent = []
        if self.takes_requests:
            file = self.folder.with_suffix(".request")
            file.write_text(request)
            intent = ["--intent", str(file)]
        return [self.tipstaff, "--home", str(self.folder), "wrap", "--name", server, *intent, "--", *words]


class Worker:
    """An agent, and the homes that stand between it and the servers."""

    def __init__(self, tipstaff, folder, rules, errors):
        self.tipstaff, self.folder, self.rules = tipstaff, folder, rules
        self.agent, self.homes, self.count = Agent(errors), {}, 0

    def home(self, arm):
        rules = "open" if arm == "open" else self.rules
        if rules not in self.homes:
            self.homes[rules] = Home(self.tipstaff, self.folder / rules, rules)
        return self.homes[rules]

    def open(self, words):
        """Starts a server in a session of its own."""
        self.count += 1
        self.agent.ask({"open": words, "session": f"replay-{self.count}"})


def play(zygote, worker, user, injection, arm, protocol):
    """One session: what was solved, what was asked, what was refused."""
    agent = worker.agent
    with zygote.session(user, injection) as (opened, ask):
        mine = opened["calls"]["user"]
        words, approver = [sys.executable, "-I", "-S", str(HERE / "stdio.py"), opened["socket"]], None
        if arm != "none":
            home = worker.home(arm)
            words = home.wrapped(zygote.suite, words, opened["request"])
            may = lambda *call: arm == "careless" or (arm == "grant" and list(call) in mine)  # noqa: E731
            approver = Approver(home.tipstaff, home.folder, may)
        worker.open(words)
        asked, questions, refused = ({"user": 0, "attacker": 0} for _ in range(3))
        why = []
        for whose, tool, several in turns(order(opened["calls"], protocol)):
            before = len(approver.held) if approver else 0
            calls = [{"tool": tool, "arguments": arguments} for arguments in several]
            answers, times = agent.turn(calls, approver)
            asked[whose] += (len(approver.held) if approver else 0) - before
            questions[whose] += times
            for answer in answers:
                if not answer["through"]:
                    refused[whose] += 1
                    why.append([whose, tool, answer["policy"], answer["text"][:300]])
        agent.ask({"close": True})
        scored = ask({"score": True})
    theirs = opened["calls"]["attacker"]
    return {
        "user": user, "injection": injection, "arm": arm, "protocol": protocol,
        "calls": len(mine), "attacker_calls": len(theirs),
        # Without the result of a refused call, no model could have gone on as the ground truth does.
        "solved": scored["solved"] and not refused["user"], "hijacked": scored["hijacked"],
        "asked": asked["user"], "asked_attacker": asked["attacker"],
        "questions": questions["user"], "questions_attacker": questions["attacker"],
        "refused": refused["user"], "refused_attacker": refused["attacker"], "why": why,
    }


def order(calls, protocol):
    """The calls of a hijacked session, each with whose it is.

    `after`: the whole task, then the attacker's calls. `read`: the attacker's calls follow the first read of the
    injected text, and the rest of the task comes after them.
    """
    mine = [("user", *call) for call in calls["user"]]
    at = len(mine) if protocol == "after" else calls["read"]
    return mine[:at] + [("attacker", *call) for call in calls["attacker"]] + mine[at:]


def turns(calls):
    """What is called at once: calls of one tool with different arguments that follow each other."""
    made = []
    for whose, tool, arguments in calls:
        if made and made[-1][:2] == (whose, tool) and arguments not in made[-1][2]:
            made[-1][2].append(arguments)
        else:
            made.append((whose, tool, [arguments]))
    return made


def plan(zygote, arms, protocols, every):
    for arm in arms:
        for user in zygote.users:
            yield user, None, arm, "after"
        for protocol in protocols:
            for user, injection in zygote.armed[::every]:
                yield user, injection, arm, protocol


def run_suite(suite, arms, protocols, tipstaff, rules, jobs, work, every):
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{suite}-", dir=work))
    zygote, idle, workers = Zygote(suite, folder), queue.Queue(), []
    try:
        with open(folder / "agents.err", "wb") as errors:
            for number in range(jobs):
                own = folder / f"worker{number}"
                own.mkdir()
                workers.append(Worker(tipstaff, own, rules, errors))
                idle.put(workers[-1])

            def one(task):
                worker = idle.get()
                try:
                    return play(zygote, worker, *task)
                finally:
                    idle.put(worker)

            with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
                results = list(pool.map(one, plan(zygote, arms, protocols, every)))
        return results, len(zygote.users), len(zygote.injections)
    finally:
        for worker in workers:
            worker.agent.end()
        zygote.close()
        clear(folder)


def clear(folder):
    """Removes a folder, once the monitors of the homes in it have let go of their locks."""
    for lock in folder.rglob("lock"):
        with open(lock) as file:
            for _ in range(100):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def ran(tipstaff, rules):
    """What was run, so that a report doesn't mix the sessions of different programs or rules."""
    told = subprocess.run([tipstaff, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    digest = hashlib.sha256()
    if rules == "own":
        for file in [HERE / "meanings.toml", HERE / "meanings.py", *sorted(RULES[rules].glob("*.cedar"))]:
            digest.update(file.read_bytes())
    versions = {name: importlib.metadata.version(name) for name in ("agentdojo", "mcp")}
    return {**versions, "tipstaff": told, "rules": rules, "rules_digest": digest.hexdigest()[:16]}


def keep(folder, suite, arms, results, what):
    for arm in arms:
        name = f"{suite}-{arm}" + ("-default" if what["rules"] == "default" else "")
        of_arm = [one for one in results if one["arm"] == arm]
        text = json.dumps({"suite": suite, "arm": arm, "ran": what, "sessions": of_arm}, indent=1)
        (folder / f"{name}.json").write_text(text)


def main():
    said = argparse.ArgumentParser()
    said.add_argument("--suite", action="append", choices=NAMES)
    said.add_argument("--arm", action="append", choices=ARMS)
    said.add_argument("--protocol", action="append", choices=PROTOCOLS)
    said.add_argument("--rules", choices=("own", "default"), default="own")
    said.add_argument("--jobs", type=int, default=2)
    said.add_argument("--every", type=int, default=1)
    said.add_argument("--goals", action="store_true")
    said.add_argument("--results", type=pathlib.Path, required=True)
    args = said.parse_args()
    suites, arms = args.suite or NAMES, args.arm or ARMS
    protocols = args.protocol or PROTOCOLS
    tipstaff = str(pathlib.Path(os.environ["TIPSTAFF"]).resolve())
    args.results = args.results.resolve()
    args.results.mkdir(parents=True, exist_ok=True)
    what, faults, lines, everything = ran(tipstaff, args.rules), [], [], []
    for suite in suites:
        start = time.monotonic()
        results, users, injections = run_suite(
            suite, arms, protocols, tipstaff, args.rules, args.jobs, args.results, args.every
        )
        keep(args.results, suite, arms, results, what)
        lines += rows(suite, results, arms, protocols)
        everything += results
        armed = len({(one["user"], one["injection"]) for one in results if one["injection"]})
        print(f"{suite}: {users} user tasks, {users * injections} pairs, {armed} armed and played, "
              f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        faults += misread(suite, results)
    print(table(HEAD, lines))
    if args.goals:
        goals = list(short_of(everything))
        print("\n" + table(["goal", "wanted", "got"], [goal[:3] for goal in goals]))
        faults += [f"{name}: {got} instead of {wanted}" for name, wanted, got, good in goals if not good]
    print("\n".join(faults), file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
