"""A client for coding agents, as small as the contract allows: it starts the MCP servers of its
configuration, asks the tool hooks of its settings before and after each built-in tool, and does what they
let it do. It reads one action a line and prints one answer a line.

    client.py HOME FOLDER

An action is {"tool": "Bash", "input": {"command": …}}, {"tool": "Write", "input": {"file_path": …,
"content": …}} or {"server": NAME, "tool": …, "input": {…}} for a tool of an MCP server.
"""

import json
import os
import pathlib
import subprocess
import sys

HOME, FOLDER = pathlib.Path(sys.argv[1]), sys.argv[2]
SETTINGS = json.loads((HOME / ".claude/settings.json").read_text())
SERVERS = json.loads((HOME / ".claude.json").read_text())["mcpServers"]
running = {}
number = 0


class Server:
    def __init__(self, entry):
        words = [entry["command"], *entry.get("args", [])]
        env = {**os.environ, **entry.get("env", {})}
        self.child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=FOLDER, env=env)
        self.next = 0
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "day-one", "version": "1"}}
        self.ask("initialize", hello)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.ask("tools/list", {})

    def send(self, frame):
        self.child.stdin.write((json.dumps(frame) + "\n").encode())
        self.child.stdin.flush()

    def ask(self, method, params):
        self.next += 1
        self.send({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params})
        while True:
            answer = json.loads(self.child.stdout.readline())
            if answer.get("id") == self.next:
                return answer


def hooks(event, more):
    """Runs the hooks of an event; why one of them refuses, or None."""
    for group in SETTINGS.get("hooks", {}).get(event, []):
        for hook in group["hooks"]:
            given = {"session_id": "day-one", "transcript_path": "/dev/null", "cwd": FOLDER, "hook_event_name": event}
            done = subprocess.run(hook["command"], shell=True, input=json.dumps({**given, **more}), text=True,
                                  capture_output=True, cwd=FOLDER, timeout=hook.get("timeout", 60))
            if done.returncode == 2:
                return done.stderr
            said = json.loads(done.stdout or "{}").get("hookSpecificOutput", {})
            if said.get("permissionDecision") == "deny":
                return said.get("permissionDecisionReason", "denied")
    return None


def built_in(tool, given):
    if tool == "Bash":
        done = subprocess.run(given["command"], shell=True, cwd=FOLDER, capture_output=True, text=True)
        return {"stdout": done.stdout, "stderr": done.stderr, "interrupted": False}
    pathlib.Path(given["file_path"]).write_text(given["content"])
    return {"filePath": given["file_path"], "success": True}


def act(action):
    global number
    tool, given = action["tool"], action["input"]
    if "server" in action:
        name = action["server"]
        if name not in running:
            running[name] = Server(SERVERS[name])
        result = running[name].ask("tools/call", {"name": tool, "arguments": given}).get("result", {})
        text = "".join(part.get("text", "") for part in result.get("content", []))
        return {"refused": text} if result.get("isError") else {"done": text}
    number += 1
    more = {"tool_name": tool, "tool_input": given, "tool_use_id": f"toolu_{number}"}
    refused = hooks("PreToolUse", more)
    if refused is not None:
        return {"refused": refused}
    response = built_in(tool, given)
    hooks("PostToolUse", {**more, "tool_response": response})
    return {"done": response}


for line in sys.stdin:
    print(json.dumps(act(json.loads(line))), flush=True)
for server in running.values():
    server.child.stdin.close()
    server.child.wait()
