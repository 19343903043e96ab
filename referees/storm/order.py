"""Reads what strace saw of monitor and shim, and checks the order. Called by `order.sh`."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TIPSTAFF = os.environ["TIPSTAFF"]
CALLS = 20
POLICY = '@id("recorder")\n@rank("1")\npermit (principal, action in Action::"call", resource in Server::"recorder");\n'
TRACED = "trace=write,writev,sendto,sendmsg,pwrite64,pwritev,fdatasync,fsync"


def session(home, base):
    """A client that makes its calls one after another, so that each has its own commit."""
    shim = ["strace", "-f", "-ttt", "-y", "-s", "4096", "-e", TRACED, "-o", str(base / "shim.trace")]
    shim += [TIPSTAFF, "--home", str(home), "wrap", "--name", "recorder", "--"]
    shim += [sys.executable, str(HERE / "recorder.py"), str(base / "record")]
    client = subprocess.Popen(shim, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def ask(message):
        client.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        client.stdin.flush()
        while "id" in message:
            answer = json.loads(client.stdout.readline())
            if answer.get("id") == message["id"]:
                return answer

    info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "order", "version": "1"}}
    ask({"id": 0, "method": "initialize", "params": info})
    ask({"method": "notifications/initialized"})
    receipts = {}
    for n in range(1, CALLS + 1):
        call = {"name": "record", "arguments": {"token": f"token-{n}-end"}}
        answer = ask({"id": n, "method": "tools/call", "params": call})
        receipts[f"token-{n}-end"] = answer["result"]["_meta"]["tipstaff/receipt"]
        # Apart from the next: the outcome of this call is recorded after its reply.
        time.sleep(0.05)
    client.stdin.close()
    client.wait(30)
    return receipts


def events(trace):
    """(start, end, call, file, text, result) of each call, in the order in which they began. A call that
    another thread interrupted is put together again."""
    found, begun = [], {}
    for line in trace.read_text(errors="replace").splitlines():
        head = re.match(r"(\d+)\s+(\d+\.\d+) (.*)", line)
        if not head:
            continue
        thread, at, rest = head[1], float(head[2]), head[3]
        if rest.endswith("<unfinished ...>"):
            begun[thread] = (at, rest[: -len("<unfinished ...>")])
            continue
        start = at
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", rest)
        if resumed and thread in begun:
            start, first = begun.pop(thread)
            rest = first + resumed[1]
        call = re.match(r"(\w+)\(\d+<([^>]*)>(.*)\)\s+= (-?\d+)", rest)
        if call:
            # strace notes when a call began; one that was not interrupted ended before the next line.
            found.append((start, at, call[1], call[2], call[3], int(call[4])))
    return found


def main():
    base = pathlib.Path(tempfile.mkdtemp(prefix="tipstaff-order-")).resolve()
    home = base / "home"
    subprocess.run([TIPSTAFF, "--home", str(home), "init"], check=True, stdout=subprocess.DEVNULL)
    (home / "config.toml").write_text("session_grace_s = 0\nidle_exit_s = 2\n")
    (home / "policies/order.cedar").write_text(POLICY)
    trace = ["strace", "-f", "-ttt", "-y", "-s", "4096", "-e", TRACED, "-o", str(base / "monitor.trace")]
    monitor = subprocess.Popen([*trace, TIPSTAFF, "--home", str(home), "monitor"], stderr=subprocess.DEVNULL)
    failed = 0
    try:
        until = time.monotonic() + 20
        while not (home / "run/monitor.sock").exists():
            assert time.monotonic() < until, "the monitor does not start"
            time.sleep(0.05)
        receipts = session(home, base)
        monitor.wait(30)
        of_monitor, of_shim = events(base / "monitor.trace"), events(base / "shim.trace")
        for token, receipt in receipts.items():
            writes = {"write", "writev", "sendto", "sendmsg"}
            to_upstream = [e for e in of_shim if e[2] in writes and "pipe:" in e[3] and token in e[4] and "tools/call" in e[4]]
            # The first that names the receipt is the verdict's answer; its own write names no hash yet.
            answers = [e for e in of_monitor if e[2] in writes and "socket:" in e[3] and receipt in e[4]]
            good = len(to_upstream) == 1 and answers
            why = f"{len(to_upstream)} writes to the upstream, {len(answers)} answers"
            if good:
                answer, sent = answers[0], to_upstream[0]
                at = of_monitor.index(answer)
                before = of_monitor[:at]
                written = [e for e in before if "/wal/" in e[3] and e[2] not in ("fdatasync", "fsync")]
                synced = [e for e in before if "/wal/" in e[3] and e[2] == "fdatasync" and e[5] == 0]
                good = written and synced and written[-1][1] <= synced[-1][0] <= synced[-1][1] <= answer[0] <= sent[0]
                # Nothing is written to the log between that sync and the answer, and the sync is this call's:
                # the one of the call before is older than the shim's question.
                asked = [e for e in of_shim if e[2] in writes and "socket:" in e[3] and token in e[4]]
                good = good and asked and asked[0][0] <= written[-1][0]
                why = f"asked {asked[:1]}, written {written[-1:]}, synced {synced[-1:]}, answered {answer[:4]}, sent {sent[:4]}"
            failed += not good
            if not good:
                print(f"FAIL  {token}: {why[:1500]}")
        print(f"asked, written, fdatasync returned, answered, sent on: in this order for {len(receipts) - failed} calls")
        print(f"{len(receipts) - failed} passed, {failed} failed")
    finally:
        if monitor.poll() is None:
            monitor.send_signal(signal.SIGKILL)
            monitor.wait()
        if failed:
            print(f"kept for a look: {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)
    sys.exit(1 if failed else 0)


main()
