"""The upstream of the storm: a tiny MCP server that records every call it sees, durably.

    recorder.py FILE

One line per call, the unique token of its arguments, appended and synced before the answer.
"""

import json
import os
import sys

file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
schema = {"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]}
tools = [{"name": "record", "description": "Record a token.", "inputSchema": schema}]


def answer(identity, result):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": identity, "result": result}) + "\n")
    sys.stdout.flush()


for line in sys.stdin:
    frame = json.loads(line)
    method, identity = frame.get("method"), frame.get("id")
    if method == "initialize":
        info = {"name": "recorder", "version": "1"}
        answer(identity, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info})
    elif method == "tools/list":
        answer(identity, {"tools": tools})
    elif method == "tools/call":
        token = frame["params"]["arguments"]["token"]
        os.write(file, f"{token}\n".encode())
        os.fdatasync(file)
        answer(identity, {"content": [{"type": "text", "text": token}]})
