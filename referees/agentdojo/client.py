"""A scripted MCP client: it has no model, and calls what it is told to call. Whoever approves is scripted too."""

import json
import os
import select
import subprocess
import time

LIMIT_S = 60
LOOK_S = 0.03


class Client:
    """One MCP session over the pipes of a command."""

    def __init__(self, command, env, errors):
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=env, bufsize=0
        )
        self.number, self.rest = 0, b""
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

    def ask(self, method, params, meanwhile=None):
        self.number += 1
        self.send({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            frame = self.frame()
            if frame is None:
                if meanwhile:
                    meanwhile()
            elif frame.get("id") == self.number:
                return frame
        raise TimeoutError(f"{method} was not answered")

    def frame(self):
        while b"\n" not in self.rest:
            if not select.select([self.child.stdout], [], [], LOOK_S)[0]:
                return None
            more = os.read(self.child.stdout.fileno(), 1 << 16)
            if not more:
                raise EOFError("the server is gone")
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def call(self, tool, arguments, meanwhile=None):
        """Whether the call was let through, and the text that came back."""
        answer = self.ask("tools/call", {"name": tool, "arguments": arguments}, meanwhile)
        if "error" in answer:
            return False, answer["error"]["message"]
        result = answer["result"]
        text = "".join(part.get("text", "") for part in result["content"])
        return "tipstaff/verdict" not in result.get("_meta", {}), text

    def close(self):
        self.child.stdin.close()
        try:
            self.child.wait(LIMIT_S)
        finally:
            if self.child.poll() is None:
                self.child.kill()
                self.child.wait()
            self.child.stdout.close()


class Approver:
    """Answers held calls: grants those that `may` says, refuses the rest, and counts."""

    def __init__(self, tipstaff, home):
        self.command = [tipstaff, "--home", str(home), "--json"]
        self.asked = 0

    def look(self, may):
        ran = subprocess.run([*self.command, "queue"], capture_output=True, text=True, check=True)
        for held in json.loads(ran.stdout):
            self.asked += 1
            answer = "approve" if may else "refuse"
            subprocess.run([*self.command, answer, held["of"]], capture_output=True, text=True, check=True)
