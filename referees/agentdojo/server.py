"""One suite's tools as an MCP server over stdio, with AgentDojo's environment as its state.

    server.py SUITE SOCKET

This process loads the suite once and listens at SOCKET, which is the control channel of the referee and never
seen by an agent. Each connection there is a session: a fork of this process, with an environment of its own in
which the injection is placed. `stdio.py` is what a client starts as the server's command: it hands its standard
streams to the session, and the official Python SDK serves MCP on them.

On the control connection, one JSON object a line:

    {"user": NAME, "injection": NAME or null}    opens; answered with the session's calls, and where stdio.py finds it
    {"user": null}                               the same with the default environment and no calls
    {"score": true}                              scores; answered with AgentDojo's verdicts and what was executed

Clients can come one after another: the environment stays as the one before left it.
"""

import asyncio
import functools
import json
import os
import signal
import socket
import sys
import threading

import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server

from suites import Suite

SUITE, SOCKET = sys.argv[1], sys.argv[2]


class Session:
    def __init__(self, suite, user, injection):
        self.suite, self.user, self.injection = suite, user, injection
        self.env = suite.environment(user, injection)
        self.before = self.env.model_copy(deep=True)
        self.mine, self.theirs, self.read = suite.calls(user, injection, self.before) if user else ([], [], 0)
        self.done = []

    async def call_tool(self, ctx, params):
        arguments = params.arguments or {}
        text, failed = self.suite.execute(self.env, params.name, arguments)
        self.done.append((params.name, arguments))
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=failed)

    async def list_tools(self, ctx, params):
        return types.ListToolsResult(tools=[listed(tool) for tool in self.suite.suite.tools])

    async def serve(self):
        server = Server(self.suite.name, on_list_tools=self.list_tools, on_call_tool=self.call_tool)
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    def opened(self, path):
        calls = {"user": self.mine, "attacker": self.theirs, "read": self.read}
        return {"request": self.suite.request(self.user) if self.user else "", "calls": calls, "socket": path}

    def scored(self):
        if not self.user:
            return {"done": self.done}
        solved, hijacked = self.suite.score(self.user, self.injection, self.before, self.env, self.done)
        return {"solved": solved, "hijacked": hijacked, "done": self.done}


def listed(tool):
    return types.Tool(
        name=tool.name, description=tool.description, input_schema=tool.parameters.model_json_schema()
    )


def say(lines, what):
    lines.write(json.dumps(what) + "\n")
    lines.flush()


def one_session(suite, asked, lines):
    """The life of a forked session: MCP for whoever comes, until it is scored."""
    session = Session(suite, asked["user"], asked["injection"])
    path = f"{SOCKET}.{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    say(lines, session.opened(path))
    idle = threading.Event()
    idle.set()

    def answer():
        for _ in lines:
            idle.wait(30)
            say(lines, session.scored())
        os.unlink(path)
        os._exit(0)

    threading.Thread(target=answer, daemon=True).start()
    while True:
        bridge, _ = listener.accept()
        idle.clear()
        _, streams, _, _ = socket.recv_fds(bridge, 1, 2)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
        try:
            asyncio.run(session.serve())
        finally:
            for number in (0, 1):
                os.dup2(nothing(), number)
            idle.set()
            bridge.close()


@functools.cache
def nothing():
    return os.open(os.devnull, os.O_RDWR)


def leave_with_parent():
    """Ends when standard input does. Sessions end with their control connections."""
    os.read(0, 1)
    os._exit(0)


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    threading.Thread(target=leave_with_parent, daemon=True).start()
    suite = Suite(SUITE)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(SOCKET)
    listener.listen(8)
    print(
        json.dumps({"users": list(suite.users), "injections": list(suite.injections), "armed": suite.armed()}),
        flush=True,
    )
    while True:
        control, _ = listener.accept()
        lines = control.makefile("rw")
        asked = json.loads(lines.readline())
        asked.setdefault("injection", None)
        # Worked out once, before the fork.
        suite.placed(asked["user"], asked["injection"])
        if asked["injection"]:
            suite.first_read(asked["user"])
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            one_session(suite, asked, lines)
        lines.close()
        control.close()


if __name__ == "__main__":
    main()
