"""A scripted MCP client without a model: it calls what it is told to call. A process of its own, because whoever
approves must not be the agent, nor anything that the agent started.

One JSON object a line on standard input, one answer a line on standard output:

    {"open": COMMAND, "session": NAME}       starts a server, shakes hands, lists its tools
    {"call": TOOL, "arguments": OBJECT}      {"through": BOOL, "failed": BOOL, "policy": …, "text": …}: whether the
                                             call was let through, whether the tool failed, and the rule that
                                             decided a refusal; "meta" is sent as `_meta`
    {"close": true}                          ends the server
"""

import json
import os
import subprocess
import sys

LIMIT_S = 60


class Session:
    """One MCP session over the pipes of a command."""

    def __init__(self, command, name):
        env = {**os.environ, "TIPSTAFF_SESSION": name}
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self.number = 0
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "agentdojo-replay", "version": "1"},
        }
        self.ask("initialize", hello)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.tools = [tool["name"] for tool in self.ask("tools/list", {})["result"]["tools"]]

    def send(self, frame):
        self.child.stdin.write((json.dumps(frame) + "\n").encode())
        self.child.stdin.flush()

    def ask(self, method, params):
        self.number += 1
        self.send({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        for line in self.child.stdout:
            frame = json.loads(line)
            if frame.get("id") == self.number:
                return frame
        raise EOFError("the server is gone")

    def call(self, tool, arguments, meta):
        more = {"_meta": meta} if meta else {}
        answer = self.ask("tools/call", {"name": tool, "arguments": arguments, **more})
        if "error" in answer:
            return {"through": False, "failed": True, "policy": None, "text": answer["error"]["message"]}
        result = answer["result"]
        text = "".join(part.get("text", "") for part in result["content"])
        meta = result.get("_meta", {})
        through = "tipstaff/verdict" not in meta
        return {"through": through, "policy": meta.get("tipstaff/policy"), "failed": bool(result.get("isError")), "text": text}

    def close(self):
        self.child.stdin.close()
        try:
            self.child.wait(LIMIT_S)
        finally:
            if self.child.poll() is None:
                self.child.kill()
                self.child.wait()
            self.child.stdout.close()


def main():
    session = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "open" in asked:
            session = Session(asked["open"], asked["session"])
            answer = {"tools": session.tools}
        elif "call" in asked:
            answer = session.call(asked["call"], asked["arguments"], asked.get("meta"))
        else:
            session.close()
            answer = {"closed": True}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
