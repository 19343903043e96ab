"""Replays recorded sessions through `tipstaff hook`, with the policies that a new home ships. Nothing is executed.

    replay.py --sessions FOLDER --results FOLDER [--half tuned|held-out] [--only WORD] [--workers N]
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import manifest
import recording

HERE = pathlib.Path(__file__).resolve().parent
TIPSTAFF = os.environ["TIPSTAFF"]
LIMIT_S = 90
LOOK_S = 0.03
REPEAT, WITHIN_S = 10, 30 * 60
"""What the person says yes to, where the queue offers it. The time is that of the recording, which a replay is faster than."""
DENIED = re.compile(r"\((?P<verdict>[A-Z_]+)(?: by policy `(?P<rule>[^`]+)`)?; (?P<class>[^,]+), T(?P<tier>\d)\)")
REASON = re.compile(r"Reason: ([\w-]+)")


class Session:
    """One recording in a fresh home: its agent, and the person who approves what is held."""

    def __init__(self, data, scratch):
        self.recording = recording.read(data)
        self.given, self.at = [], 0.0
        self.user, self.home = scratch / "user", scratch / "home"
        self.moved = recording.Moved(self.recording, self.user)
        self.root = pathlib.Path(self.moved(self.recording.root))
        self.root.mkdir(parents=True)
        (self.user / ".claude").mkdir(parents=True, exist_ok=True)
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.user), "TIPSTAFF_HOME": str(self.home)}
        self.tell("install", "--client", "claude-code", "--enforce")
        config = self.home / "config.toml"
        text = re.sub(r"(?m)^roots = .*$", f"roots = [{json.dumps(str(self.root))}]", config.read_text())
        config.write_text(text)
        self.agent = subprocess.Popen([sys.executable, "-I", str(HERE / "agent.py")], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ)

    def tell(self, *words):
        ran = subprocess.run([TIPSTAFF, *words], capture_output=True, text=True, env=self.environment, cwd=self.user)
        if ran.returncode:
            raise RuntimeError(f"tipstaff {words}: {ran.stdout}{ran.stderr}")
        return ran.stdout

    def ask(self, event, may=True):
        """The hook's answer, and what was held meanwhile. A person answers what is held."""
        self.agent.stdin.write(json.dumps({"event": event, "home": str(self.home), "user": str(self.user)}) + "\n")
        self.agent.stdin.flush()
        held, until = {}, time.monotonic() + LIMIT_S
        while not select.select([self.agent.stdout], [], [], LOOK_S)[0]:
            if time.monotonic() > until:
                raise TimeoutError(f"no answer to {event['hook_event_name']}")
            if event["hook_event_name"] != "PreToolUse":
                continue
            for hold in json.loads(self.tell("--json", "queue")):
                if hold["state"] == "waiting" and hold["of"] not in held:
                    held[hold["of"]] = hold
                    self.answer(hold, may)
        line = self.agent.stdout.readline()
        if not line:
            raise EOFError("the agent ended")
        return json.loads(line), list(held.values())

    def answer(self, hold, may):
        if not (may and (hold.get("offer") or {}).get("kind")):
            self.tell("approve" if may else "refuse", hold["of"])
            return
        said = self.tell("--json", "approve", hold["of"], "--repeat", str(REPEAT), "--within", "8h")
        self.given.append((json.loads(said)["receipt"], self.at + WITHIN_S))

    def pass_time(self, at):
        """Ends what lasted long enough, by the recording's own clock."""
        self.at = at or self.at
        for of, until in list(self.given):
            if self.at >= until:
                self.given.remove((of, until))
                stands = json.loads(self.tell("--json", "queue", "--standing"))
                if any(one["of"] == of for one in stands):
                    self.tell("withdraw", of)

    def event(self, name, one, **more):
        folder = pathlib.Path(self.moved(one.cwd))
        if folder.is_relative_to(self.user):
            folder.mkdir(parents=True, exist_ok=True)
        cwd = folder if folder.is_dir() else self.root
        return {"session_id": "recorded", "hook_event_name": name, "cwd": str(cwd), **more}

    def play(self):
        calls, sent = [], {}
        for one in self.recording.events:
            if one.kind == "prompt":
                self.ask(self.event("UserPromptSubmit", one, prompt=self.moved(one.text)))
            elif one.kind == "call":
                self.pass_time(one.at)
                event = self.event("PreToolUse", one, tool_name=one.tool, tool_input=self.moved(one.input),
                                   tool_use_id=one.id)
                may = one.id not in self.recording.declined
                answer, held = self.ask(event, may)
                call = {"tool": one.tool, "input": event["tool_input"], "declined": not may, **judged(answer, held)}
                calls.append(call)
                sent[one.id] = event if call["answer"] in ("permitted", "approved") else None
            elif sent.get(one.id):
                name = "PostToolUseFailure" if one.failed else "PostToolUse"
                field = "error" if one.failed else "tool_response"
                self.ask({**sent[one.id], "hook_event_name": name, field: one.text})
        return calls

    def end(self):
        self.agent.stdin.close()
        self.agent.wait(LIMIT_S)
        for process in pathlib.Path("/proc").glob("[0-9]*"):  # elsewhere it leaves when it was idle for a minute
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                if b"monitor" in words and bytes(self.home) in words:
                    os.kill(int(process.name), signal.SIGTERM)
                    until = time.monotonic() + 5
                    while (process / "cmdline").read_bytes() and time.monotonic() < until:
                        time.sleep(LOOK_S)
            except OSError:
                continue  # not ours, or gone


def judged(answer, held):
    """What became of a call: permitted, approved, declined, refused, or a fault of the hook."""
    hold = held[0] if held else {}
    found = {"rule": hold.get("rule"), "class": hold.get("class"), "tier": hold.get("tier"),
             "reason": hold.get("reason"), "asked": len(held)}
    if answer["code"] != 0:
        return {**found, "answer": "fault", "why": answer["err"].strip()}
    if not answer["out"].strip():
        return {**found, "answer": "approved" if held else "permitted"}
    said = json.loads(answer["out"])["hookSpecificOutput"]
    why = said.get("permissionDecisionReason", "")
    if said.get("permissionDecision") != "deny":
        return {**found, "answer": "changed", "why": why}
    match = DENIED.search(why)
    if match and not held:
        found.update(rule=match["rule"], tier=int(match["tier"]), **{"class": match["class"]})
        found["reason"] = (REASON.search(why) or [None, None])[1]
    return {**found, "answer": "refused", "why": why}


def classes(session, calls):
    """Class and tier of what was permitted, from the receipts, which are in the order of the calls."""
    receipts = [json.loads(line)["receipt"] for line in session.tell("--json", "receipts", "list").splitlines()]
    verdicts = [one for one in receipts if one["kind"] == "verdict" and one["door"] == "hook"]
    at = 0
    for call in calls:
        if call["answer"] == "fault":
            continue
        if at >= len(verdicts):
            raise RuntimeError("fewer receipts than calls")
        first = verdicts[at]
        call["class"], call["tier"] = call["class"] or first["action"], call["tier"] or first["tier"]
        call["rule"] = call["rule"] or first["decision"]["rule"]
        call["covered"] = first["decision"]["reason"] == "approved_before"
        at += 1
        if call["asked"]:  # and the verdict after the person's answer
            at += 1
    return at == len(verdicts)


def replay(line, sessions):
    file = sessions / f"{line.sha256}.jsonl"
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != line.sha256:
        raise RuntimeError(f"{file} is not what the manifest says")
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="nuisance-"))
    try:
        session = Session(data, scratch)
        try:
            calls = session.play()
            whole = classes(session, calls)
        finally:
            session.end()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {"half": line.half, "repository": line.repository, "recording": line.sha256, "calls": calls,
            "minutes": session.recording.minutes, "span": session.recording.span, "whole": whole,
            "prompts": sum(one.kind == "prompt" for one in session.recording.events)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=pathlib.Path, required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--half", choices=("tuned", "held-out"))
    parser.add_argument("--only", default="")
    parser.add_argument("--workers", type=int, default=3)
    options = parser.parse_args()
    wanted = [line for line in manifest.read() if options.half in (None, line.half)
              and (options.only in line.repository or line.sha256.startswith(options.only))]
    missing = [line for line in wanted if not (options.sessions / f"{line.sha256}.jsonl").is_file()]
    if missing:
        print(f"SKIPPED: {len(missing)} of {len(wanted)} recordings are not in {options.sessions}; "
              "`referees/nuisance/run --fetch FOLDER` gets them")
        return 0
    options.results.mkdir(parents=True, exist_ok=True)
    version = subprocess.run([TIPSTAFF, "--version"], capture_output=True, text=True).stdout.strip()
    program = hashlib.sha256(pathlib.Path(TIPSTAFF).read_bytes()).hexdigest()
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        running = {pool.submit(replay, line, options.sessions): line for line in wanted}
        for number, done in enumerate(concurrent.futures.as_completed(running), 1):
            line = running[done]
            try:
                result = done.result()
            except Exception as error:  # one session's failure is a figure, not the end
                failed += 1
                print(f"FAIL  {line.repository} {line.sha256[:8]}: {error}", file=sys.stderr)
                continue
            kept = {"ran": version, "program": program, **result}
            (options.results / f"{line.sha256}.json").write_text(json.dumps(kept))
            counts = [call["answer"] for call in result["calls"]]
            print(f"{number}/{len(wanted)} {line.repository} {line.sha256[:8]}: {len(counts)} calls, "
                  f"{counts.count('approved')} approved, "
                  f"{sum(call.get('covered', False) for call in result['calls'])} covered, {counts.count('refused')} refused, "
                  f"{counts.count('fault')} faults, {result['minutes']:.0f} minutes", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
