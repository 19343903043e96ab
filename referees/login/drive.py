"""The client that the suite starts: a home whose only server is the one at the address given, a person who logs in to
it and follows the advice that answers give, and an agent that lists and calls a tool through `serve`.

Exits with 0 if the call went through. The rest of this module is used by referee.py, too.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

TIPSTAFF = os.environ["TIPSTAFF"]
POLICY = '@id("far-may")\n@rank("1")\npermit (principal, action, resource) when { resource in Server::"far" };\n'
# What the suite wants a client to be called, where it takes the address of a description.
DOCUMENT = "https://conformance-test.local/client-metadata.json"
REVISION = "2025-11-25"
# How often advice is followed.
PATIENCE = 2


def say(*words):
    print(*words, file=sys.stderr, flush=True)


class World:
    """A home, and `serve` in front of one server."""

    def __init__(self, folder, url, oauth=""):
        self.folder = Path(folder)
        self.env = {**os.environ, "TIPSTAFF_HOME": str(self.folder / "home")}
        self.run("init")
        home = self.folder / "home"
        table = f'[servers.far]\nurl = "{url}"\n' + (f"oauth = {{ {oauth} }}\n" if oauth else "")
        (home / "config.toml").write_text(f"idle_exit_s = 0\nsession_grace_s = 0\n{table}")
        (home / "policies/far.cedar").write_text(POLICY)
        self.served = None

    def secret(self, name, value):
        folder = self.folder / "home/secrets"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(value)

    def run(self, *words):
        return subprocess.run([TIPSTAFF, *words], env=self.env, capture_output=True, text=True, timeout=60)

    def serve(self):
        words = [TIPSTAFF, "serve", "--listen", "127.0.0.1:0"]
        log = open(self.folder / "serve.log", "w")
        self.served = subprocess.Popen(words, env=self.env, stdout=subprocess.PIPE, stderr=log, text=True)
        self.address = self.served.stdout.readline().strip()

    def login(self, *words):
        """Logs in as a person does: the printed address is opened, and redirects are followed."""
        command = [TIPSTAFF, "--json", "login", "far", "--no-browser", "--wait", "20", *words]
        process = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = process.stdout.readline()
        said = json.loads(first) if first.startswith("{") else {}
        if "open" in said:
            curl = ["curl", "-sSL", "--max-time", "15", "-o", os.devnull, said["open"]]
            subprocess.run(curl, stdin=subprocess.DEVNULL, timeout=20, check=False)
        out, err = process.communicate(timeout=40)
        say("login", *words, "->", process.returncode, first if "open" not in said else "", out, err)
        return process.returncode == 0

    def end(self):
        if self.served:
            self.served.terminate()
            self.served.wait(timeout=20)


class Agent:
    """A session with `serve`."""

    def __init__(self, world):
        self.address = world.address + "/mcp"
        self.session = None
        self.number = 0
        info = {"name": "referee", "version": "1"}
        params = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": info}
        self.opened = self.ask("initialize", params)
        self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def post(self, message):
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": REVISION,
        }
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        request = urllib.request.Request(self.address, json.dumps(message).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self.session = answer.headers.get("Mcp-Session-Id") or self.session
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def ask(self, method, params):
        self.number += 1
        text = self.post({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")] or [text]
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if message.get("id") == self.number:
                return message
        return {"error": {"message": text}}

    def call(self, tool, arguments):
        return self.ask("tools/call", {"name": tool, "arguments": arguments})

    def names(self):
        listed = self.ask("tools/list", {})
        return [tool["name"] for tool in (listed.get("result") or {}).get("tools", [])], listed


def advice(text):
    """The words of the login that an answer advises."""
    found = re.search(r"`tipstaff login far((?: --scope [A-Za-z0-9:._/-]+)*)`", text)
    return found and found[1].split()


def attempt(world):
    """What an agent gets done: its last answer."""
    agent = Agent(world)
    if "error" in agent.opened:
        return agent.opened
    names, listed = agent.names()
    if not names:
        return listed
    answer = agent.call(names[0], {})
    if "tipstaff login" in json.dumps(answer) or not (answer.get("result") or {}).get("isError"):
        return answer
    # A call that could not be judged, since the server would not list its tools: the list says why.
    _, listed = agent.names()
    return listed if "error" in listed else answer


def main():
    url = sys.argv[-1]
    scenario = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    with tempfile.TemporaryDirectory() as folder:
        oauth = ""
        if scenario == "auth/basic-cimd":
            oauth = f'client_metadata = "{DOCUMENT}"'
        elif "client_id" in context:
            oauth = f'issuer = "{context["issuer"]}", client_id = "{context["client_id"]}", client_secret = "file:far"'
        world = World(folder, url, oauth)
        if "client_secret" in context:
            world.secret("far", context["client_secret"])
        world.serve()
        try:
            done = world.login() and follow(world)
        finally:
            world.end()
    sys.exit(0 if done else 1)


def follow(world):
    for turn in range(PATIENCE + 1):
        answer = attempt(world)
        text = json.dumps(answer)
        say("answer", turn, text)
        if "result" in answer and not answer["result"].get("isError"):
            return True
        words = advice(text.replace("\\u0060", "`"))
        if words is None or turn == PATIENCE or not world.login(*words):
            return False
    return False


if __name__ == "__main__":
    main()
