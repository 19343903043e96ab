"""A scripted MCP client without a model: it calls what it is told to call. A process of its own, because whoever
approves must not be the agent, nor anything that the agent started.

One JSON object a line on standard input, answers a line each on standard output:

    {"open": COMMAND, "session": NAME}       starts a server, shakes hands, lists its tools
    {"calls": [{"tool": …, "arguments": …}]} sends all of them at once, as a client does with what its model asks for
                                             in one turn, and says each answer as it comes: {"number": PLACE,
                                             "through": BOOL, "failed": BOOL, "policy": …, "text": …}: whether the
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

    def post(self, method, params):
        self.number += 1
        self.send({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        return self.number

    def answer(self, numbers):
        """The next answer to one of these requests."""
        for line in self.child.stdout:
            frame = json.loads(line)
            if frame.get("id") in numbers:
                return frame
        raise EOFError("the server is gone")

    def ask(self, method, params):
        return self.answer([self.post(method, params)])

    def turn(self, calls):
        """Each call's place and what came of it, in the order in which the answers come."""
        posted = {}
        for place, call in enumerate(calls):
            more = {"_meta": call["meta"]} if call.get("meta") else {}
            posted[self.post("tools/call", {"name": call["tool"], "arguments": call["arguments"], **more})] = place
        while posted:
            answer = self.answer(posted)
            yield {"number": posted.pop(answer["id"]), **self.came(answer)}

    def came(self, answer):
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
            answers = [{"tools": session.tools}]
        elif "calls" in asked:
            answers = session.turn(asked["calls"])
        else:
            session.close()
            answers = [{"closed": True}]
        for answer in answers:
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
