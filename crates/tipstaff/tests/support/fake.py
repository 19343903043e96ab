"""An MCP server that misbehaves on request. Its one argument is a file with the version of its tools."""

import json
import os
import sys
import time

NAMES = ["echo", "env", "die", "hang", "flood", "twice", "stranger", "big", "garbage", "notify"]


def write(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def result(identity, text):
    return {"jsonrpc": "2.0", "id": identity, "result": {"content": [{"type": "text", "text": text}]}}


def tools():
    version = open(sys.argv[1]).read().strip()
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    listed = [{"name": name, "description": f"Tool {name}.", "inputSchema": schema} for name in NAMES]
    listed[0]["description"] = f"Echo, version {version}."
    return listed


def call(identity, name, arguments):
    if name == "env":
        write(result(identity, json.dumps(dict(os.environ))))
    elif name == "die":
        os._exit(7)
    elif name == "hang":
        pass
    elif name == "flood":
        for n in range(200_000):
            write({"jsonrpc": "2.0", "id": 1_000_000 + n, "result": {"text": "x" * 200}})
        write(result(identity, "flooded"))
    elif name == "twice":
        write(result(identity, "first"))
        write(result(identity, "second"))
    elif name == "stranger":
        write(result(987654, "for nobody"))
        write(result(identity, "for you"))
    elif name == "big":
        write(result(identity, "x" * (20 << 20)))
    elif name == "garbage":
        sys.stdout.buffer.write(b"\xff\xfe not JSON\n{\"jsonrpc\":\"2.0\",\n\n[]\n")
        write(result(identity, "after garbage"))
    elif name == "notify":
        write({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        time.sleep(0.3)
        write(result(identity, "notified"))
    else:
        write(result(identity, "echo " + arguments.get("text", "")))


for line in sys.stdin:
    frame = json.loads(line)
    method, identity = frame.get("method"), frame.get("id")
    if method == "initialize":
        info = {"name": "fake", "version": "1"}
        answer = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
        write({"jsonrpc": "2.0", "id": identity, "result": answer})
    elif method == "tools/list":
        write({"jsonrpc": "2.0", "id": identity, "result": {"tools": tools()}})
    elif method == "tools/call":
        call(identity, frame["params"]["name"], frame["params"].get("arguments") or {})
    elif method == "ping":
        write({"jsonrpc": "2.0", "id": identity, "result": {}})
