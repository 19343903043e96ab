"""An MCP server that is hard to end and says too much. Its first argument is a folder for what it
notes down; with a second one, it answers everything a thousand times."""

import json
import os
import signal
import sys
import time

# Whatever becomes of the test, it doesn't stay.
signal.alarm(120)

FOLDER = sys.argv[1]
TIMES = 1000 if len(sys.argv) > 2 else 1
NAMES = ["echo", "hang", "deaf", "huge", "chatter", "babble"]
PIECE = "x" * 100_000
PIECES = 1000


def note(name, text):
    path = os.path.join(FOLDER, name)
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def write(message):
    sys.stdout.write(json.dumps(message) + "\n")


def answer(identity, result):
    for n in range(TIMES):
        write({"jsonrpc": "2.0", "id": identity, "result": result})
        if TIMES > 1:
            write({"jsonrpc": "2.0", "id": f"{identity}-{n}", "result": result})
    sys.stdout.flush()


def content(text):
    return {"content": [{"type": "text", "text": text}]}


def chat(n):
    params = {"level": "info", "data": f"{n} {PIECE}"}
    write({"jsonrpc": "2.0", "method": "notifications/message", "params": params})


def call(identity, name, arguments):
    if name == "deaf":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    if name in ("hang", "deaf"):
        # It reads no more, so that it doesn't see the end of its input either.
        note("running", name)
        while True:
            time.sleep(1)
    elif name == "huge":
        head, tail = json.dumps(answer_with("@", identity)).split("@")
        note("bytes", str(len(head) + PIECES * len(PIECE) + len(tail)))
        sys.stdout.write(head)
        for _ in range(PIECES):
            sys.stdout.write(PIECE)
        sys.stdout.write(tail + "\n")
        sys.stdout.flush()
    elif name == "chatter":
        answer(identity, content("nobody asks for what follows"))
        for n in range(PIECES):
            chat(n)
        sys.stdout.flush()
    elif name == "babble":
        note("running", name)
        while True:
            chat(0)
    else:
        answer(identity, content("echo " + arguments.get("text", "")))


def answer_with(text, identity):
    return {"jsonrpc": "2.0", "id": identity, "result": content(text)}


note("pid", str(os.getpid()))
for line in sys.stdin:
    frame = json.loads(line)
    method, identity = frame.get("method"), frame.get("id")
    if method == "initialize":
        info = {"name": "unruly", "version": "1"}
        capabilities = {"tools": {}, "logging": {}}
        version = "2025-11-25"
        answer(identity, {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info})
    elif method == "tools/list":
        schema = {"type": "object"}
        tools = [{"name": n, "description": f"Tool {n}.", "inputSchema": schema} for n in NAMES]
        answer(identity, {"tools": tools})
    elif method == "tools/call":
        call(identity, frame["params"]["name"], frame["params"].get("arguments") or {})
