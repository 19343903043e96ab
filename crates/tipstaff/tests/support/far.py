"""A small MCP server with tools, prompts and resources, whose answers can be slow. Its arguments: a name, and
optionally a number of seconds that each answer to a list takes."""

import json
import os
import sys
import threading
import time

NAME = sys.argv[1]
SLOW = float(sys.argv[2]) if len(sys.argv) > 2 else 0
lock = threading.Lock()
asked = {}


def write(message):
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def ask(method, params):
    """Asks the client and waits; every server uses the same ids."""
    identity = len(asked) + 1
    done = threading.Event()
    asked[identity] = [done, None]
    write({"id": identity, "method": method, "params": params})
    done.wait(20)
    return asked[identity][1]


def text(words):
    return {"content": [{"type": "text", "text": words}]}


def call(identity, params):
    name, arguments = params["name"], params.get("arguments") or {}
    token = (params.get("_meta") or {}).get("progressToken")
    if name == "progress":
        for step in range(3):
            write({"method": "notifications/progress", "params": {"progressToken": token, "progress": step}})
            time.sleep(0.05)
        write({"method": "notifications/message", "params": {"level": "info", "data": NAME}})
        return text("done")
    if name == "ask":
        answer = ask("sampling/createMessage", {"messages": [], "maxTokens": 1})
        return text(json.dumps(answer))
    if name == "sleep":
        time.sleep(arguments.get("s", 1))
        return text("slept")
    if name == "die":
        os._exit(9)
    if name == "pid":
        return text(str(os.getpid()))
    if name == "env":
        return text(os.environ.get(arguments["name"], "absent"))
    if name == "change":
        write({"method": "notifications/tools/list_changed"})
        write({"method": "notifications/resources/updated", "params": {"uri": f"{NAME}://one"}})
        return text("changed")
    return text(f"{NAME} says {arguments.get('text', '')}")


def answer(identity, method, params):
    if method == "initialize":
        wants = {"tools": {"listChanged": True}, "prompts": {}, "resources": {"subscribe": True}}
        wants.update({"completions": {}, "logging": {}})
        info = {"name": NAME, "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": wants, "serverInfo": info,
                "instructions": f"Use {NAME}."}
    if method.endswith("/list"):
        time.sleep(SLOW)
    if method == "tools/list":
        names = ["echo", "progress", "ask", "sleep", "die", "pid", "env", "change"]
        # Two pages.
        page = names[:4] if not params.get("cursor") else names[4:]
        listed = {"tools": [{"name": n, "inputSchema": {"type": "object"}} for n in page]}
        return listed if params.get("cursor") else {**listed, "nextCursor": "2"}
    if method == "tools/call":
        return call(identity, params)
    if method == "prompts/list":
        return {"prompts": [{"name": "greet"}]}
    if method == "prompts/get":
        return {"messages": [{"role": "user", "content": {"type": "text", "text": NAME + params["name"]}}]}
    if method == "resources/list":
        return {"resources": [{"uri": f"{NAME}://one", "name": "one"}, {"uri": "shared://one", "name": NAME}]}
    if method == "resources/templates/list":
        return {"resourceTemplates": [{"uriTemplate": f"{NAME}://item/{{id}}", "name": "item"}]}
    if method == "resources/read":
        return {"contents": [{"uri": params["uri"], "text": f"{NAME} has {params['uri']}"}]}
    if method == "completion/complete":
        return {"completion": {"values": [NAME + json.dumps(params["ref"], sort_keys=True)]}}
    return {}


def handle(frame):
    write({"id": frame["id"], "result": answer(frame["id"], frame["method"], frame.get("params") or {})})


for line in sys.stdin:
    frame = json.loads(line)
    if "method" not in frame:
        waiting = asked[frame["id"]]
        waiting[1] = frame.get("result") or frame.get("error")
        waiting[0].set()
    elif "id" in frame:
        threading.Thread(target=handle, args=(frame,), daemon=True).start()
