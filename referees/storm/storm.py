"""The storm: several wraps under load, and a process killed or stopped at a random moment, each round.

Each wrap has an upstream that records every call it sees (`recorder.py`). After each round the killed
are started again, and it must hold, without a hand: every effect that an upstream saw has a durable
verdict that permits it; every receipt that a reply named is in the log; the chains verify; `log fsck`
finds no fault; `replay` derives every verdict again. What identifies an effect is its token, which the
receipt's `inputs_digest` covers: the check recomputes that digest from the kept inputs.
"""

import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
TIPSTAFF = str(pathlib.Path(os.environ["TIPSTAFF"]).resolve())
WRAPS, IN_FLIGHT = 3, 4
POLICY = '@id("recorder")\n@rank("1")\npermit (principal, action in Action::"call", resource in Server::"recorder");\n'
CONFIG = "session_grace_s = 2\nidle_exit_s = 1\ncall_timeout_s = 20\napproval_wait_s = 0\n"


def tipstaff(home, *words):
    return subprocess.run([TIPSTAFF, "--home", str(home), *words], capture_output=True, text=True, timeout=120)


class Wrap:
    """One client of one wrap: keeps a few calls in flight, and notes the receipts of its replies."""

    def __init__(self, home, record, name):
        self.name, self.acknowledged, self.sent = name, {}, 0
        self.stop, self.lock = threading.Event(), threading.Lock()
        command = [TIPSTAFF, "--home", str(home), "wrap", "--name", "recorder", "--"]
        command += [sys.executable, str(HERE / "recorder.py"), str(record)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self.room = threading.Semaphore(IN_FLIGHT)
        self.refused = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.writer = threading.Thread(target=self.write, daemon=True)
        self.reader.start()
        self.writer.start()

    def send(self, message):
        self.process.stdin.write((json.dumps(message) + "\n").encode())

    def write(self):
        try:
            info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "storm", "version": "1"}}
            self.send({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": info})
            self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
            while not self.stop.is_set():
                if not self.room.acquire(timeout=0.05):
                    continue
                # Some load, and a log that is checked whole in a few seconds.
                time.sleep(0.01)
                self.sent += 1
                call = {"name": "record", "arguments": {"token": f"{self.name}-{self.sent}"}}
                self.send({"jsonrpc": "2.0", "id": self.sent, "method": "tools/call", "params": call})
        except OSError:
            pass

    def read(self):
        for line in self.process.stdout:
            answer = json.loads(line)
            result = answer.get("result") or {}
            if answer.get("id") == 0:
                continue
            meta = result.get("_meta") or {}
            if result.get("isError") or "error" in answer:
                self.refused.append(line.decode()[:300])
            # A refusal that could not be recorded names no receipt, and nothing was done.
            if meta.get("tipstaff/receipt"):
                with self.lock:
                    self.acknowledged[meta["tipstaff/receipt"]] = f"{self.name}-{answer['id']}"
            self.room.release()

    def replies(self):
        with self.lock:
            return len(self.acknowledged)

    def end(self):
        """Ends in order, whether or not it was killed before."""
        self.stop.set()
        self.writer.join(10)
        try:
            self.process.stdin.close()
        except OSError:
            pass
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} does not end")
        self.reader.join(10)


def monitor_of(home):
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"monitor" in words and str(home).encode() in words:
                return int(entry.name)
    return None


def send_signal(process, which):
    try:
        os.kill(process, which)
        return True
    except ProcessLookupError:
        return False


def strike(dice, home, wraps, times=(1, 1, 2, 3), pause=0.12):
    """Kills or stops one or several processes, each at a random moment."""
    told = []
    for _ in range(dice.choice(times)):
        time.sleep(dice.expovariate(1 / pause))
        target = dice.choice(("monitor", "monitor", "shim"))
        process = monitor_of(home) if target == "monitor" else dice.choice(wraps).process.pid
        if process is None:
            continue
        if dice.random() < 0.3:
            if send_signal(process, signal.SIGSTOP):
                time.sleep(dice.uniform(0.01, 0.4))
                # A stopped process may be killed, or go on.
                last = dice.choice((signal.SIGCONT, signal.SIGCONT, signal.SIGKILL))
                send_signal(process, last)
                told.append(f"stop+{last.name[3:].lower()} {target}")
        elif send_signal(process, signal.SIGKILL):
            told.append(f"kill {target}")
    return told


def kept_token(home, hash, receipt):
    """The token of a verdict by its kept inputs, which are checked against the digest in the receipt."""
    shown = tipstaff(home, "receipts", "show", hash, "--inputs")
    assert shown.returncode == 0, shown.stderr
    inputs = json.loads(shown.stdout)["inputs"]["inputs"]
    canonical = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    assert digest == receipt["inputs_digest"], f"{hash}: the kept inputs are not those of the receipt"
    return inputs["parameters"].get("token")


def check(home, records, acknowledged, known, dice):
    verify = tipstaff(home, "--json", "verify")
    assert verify.returncode == 0 and json.loads(verify.stdout)["valid"], verify.stdout + verify.stderr
    fsck = tipstaff(home, "--json", "log", "fsck")
    assert fsck.returncode == 0 and json.loads(fsck.stdout)["faults"] == [], fsck.stdout + fsck.stderr
    replay = tipstaff(home, "--json", "replay")
    counts = json.loads(replay.stdout or "{}")
    assert replay.returncode == 0 and counts["differ"] == 0 == counts["expired"], replay.stdout + replay.stderr
    listed = tipstaff(home, "--json", "receipts", "list")
    receipts = [json.loads(line) for line in listed.stdout.splitlines()]
    verdicts = {line["hash"]: line["receipt"] for line in receipts if line["receipt"]["kind"] == "verdict"}
    permitted = {hash for hash, receipt in verdicts.items() if receipt["decision"]["verdict"] in ("ALLOW", "MODIFY")}
    lost = [hash for hash in acknowledged if hash not in permitted]
    assert not lost, f"acknowledged but not permitted in the log: {lost[:3]}"
    # Which call a verdict is of: the reply said so, and the kept inputs say so for each verdict whose
    # reply was lost, and for some of the others.
    fresh = [hash for hash in permitted if hash not in known]
    for hash in fresh:
        if hash not in acknowledged or dice.random() < 0.03:
            known[hash] = kept_token(home, hash, verdicts[hash])
            said = acknowledged.get(hash, known[hash])
            assert said == known[hash], f"{hash} was named in the reply to {said}, and is of {known[hash]}"
        else:
            known[hash] = acknowledged[hash]
    tokens = set(known.values())
    seen = [token for record in records if record.exists() for token in record.read_text().split()]
    assert len(seen) == len(set(seen)), "an upstream saw a call twice"
    naked = [token for token in seen if token not in tokens]
    assert not naked, f"effects without a durable verdict: {naked[:3]}"
    ended = [line["receipt"]["of"] for line in receipts if line["receipt"]["kind"] == "outcome"]
    assert len(ended) == len(set(ended)), "an action has two outcomes"
    return len(receipts), len(seen), len(permitted - set(ended))


def settle(home):
    until = time.monotonic() + 20
    while monitor_of(home) is not None:
        assert time.monotonic() < until, "the monitor does not end"
        time.sleep(0.05)


def one_home(base, dice, rounds, first, totals):
    """A few rounds on one home; a home is left when its log is long, to keep the checks short."""
    home = base / f"home-{first}"
    assert tipstaff(home, "init").returncode == 0
    (home / "config.toml").write_text(CONFIG)
    (home / "policies/storm.cedar").write_text(POLICY)
    known, acknowledged = {}, {}
    records = [base / f"record-{first}-{n}" for n in range(WRAPS)]
    for n in range(first, first + rounds):
        wraps = [Wrap(home, records[w], f"r{n}w{w}") for w in range(WRAPS)]
        told = strike(dice, home, wraps)
        # No hand is needed: who was not killed goes on and is judged.
        before = [wrap.replies() for wrap in wraps]
        until = time.monotonic() + 25
        while any(w.process.poll() is None and w.replies() <= count for w, count in zip(wraps, before)):
            assert time.monotonic() < until, f"round {n}: no call is judged any more after {told}: " + str(
                [(wrap.name, wrap.process.poll(), wrap.refused[-1:]) for wrap in wraps]
            )
            time.sleep(0.02)
        refused = []
        for wrap in wraps:
            wrap.end()
            refused += wrap.refused
            acknowledged.update(wrap.acknowledged)
        settle(home)
        receipts, effects, open_ended = check(home, records, acknowledged, known, dice)
        print(
            f"round {n}: {', '.join(told) or 'nothing hit'}; {receipts} receipts, {effects} effects, "
            f"{len(acknowledged)} acknowledged, {open_ended} open, {len(refused)} refused",
            flush=True,
        )
        if "--verbose" in sys.argv:
            print(*sorted(set(refused))[:5], sep="\n")
        assert open_ended == 0, "a permitted action has no outcome though the monitor ended in order"
        totals[0] += 1
    totals[1] += receipts
    totals[2] += effects
    shutil.rmtree(home)


def dense_home(base, dice, rounds, first, totals):
    """Strike after strike on one home whose load goes on, and one look at everything at the end."""
    home = base / f"home-{first}"
    assert tipstaff(home, "init").returncode == 0
    (home / "config.toml").write_text("session_grace_s = 0\nidle_exit_s = 0\ncall_timeout_s = 20\n")
    (home / "policies/storm.cedar").write_text(POLICY)
    acknowledged, struck = {}, {}
    records = [base / f"record-{first}-{n}" for n in range(WRAPS)]
    wraps = [Wrap(home, records[w], f"r{first}w{w}") for w in range(WRAPS)]
    for n in range(first, first + rounds):
        before = {wrap.name: wrap.replies() for wrap in wraps}
        told = strike(dice, home, wraps, (1,), 0.05)
        until = time.monotonic() + 25
        while any(w.process.poll() is None and w.replies() <= before[w.name] for w in wraps):
            assert time.monotonic() < until, f"round {n}: no call is judged any more after {told}"
            time.sleep(0.005)
        for w, wrap in enumerate(wraps):
            if wrap.process.poll() is not None:
                wrap.end()
                acknowledged.update(wrap.acknowledged)
                wraps[w] = Wrap(home, records[w], f"r{n}x{w}")
        for what in told:
            struck[what] = struck.get(what, 0) + 1
        totals[0] += 1
    for wrap in wraps:
        wrap.end()
        acknowledged.update(wrap.acknowledged)
    settle(home)
    receipts, effects, open_ended = check(home, records, acknowledged, {}, dice)
    assert open_ended == 0, "a permitted action has no outcome though the monitor ended in order"
    what = ", ".join(f"{count} {name}" for name, count in sorted(struck.items()))
    print(f"rounds {first} to {first + rounds - 1}: {what}; {receipts} receipts, {effects} effects", flush=True)
    totals[1] += receipts
    totals[2] += effects
    shutil.rmtree(home)


def main():
    words = sys.argv[1:]
    seed = int(words[words.index("--seed") + 1]) if "--seed" in words else random.SystemRandom().randrange(1 << 32)
    rounds = 10 if "--short" in words else 100
    if words and words[0].isdigit():
        rounds = int(words[0])
    print(f"seed {seed}, {rounds} rounds, {WRAPS} wraps with {IN_FLIGHT} calls in flight each", flush=True)
    dice = random.Random(seed)
    base = pathlib.Path(tempfile.mkdtemp(prefix="tipstaff-storm-")).resolve()
    totals, good = [0, 0, 0], False
    try:
        home, step = (dense_home, 50) if "--dense" in words else (one_home, 5)
        for first in range(0, rounds, step):
            home(base, dice, min(step, rounds - first), first, totals)
        good = True
    except AssertionError as error:
        print(f"FAIL  {error}\nseed {seed}; kept for a look: {base}", flush=True)
    finally:
        for home in base.glob("home-*"):
            if process := monitor_of(home):
                send_signal(process, signal.SIGKILL)
        if good:
            shutil.rmtree(base, ignore_errors=True)
    print(f"{totals[1]} receipts, {totals[2]} effects")
    print(f"{totals[0]} passed, {rounds - totals[0]} failed")
    sys.exit(0 if good else 1)


main()
