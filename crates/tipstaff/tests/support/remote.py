"""A small MCP server over streamable HTTP. Its first argument is the value of the header Authorization that it
wants, empty for none. It prints its port."""

import json
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WANTED = sys.argv[1] if len(sys.argv) > 1 else ""
NAMES = ["echo", "headers", "progress", "ask", "cut", "forget", "slow", "seen", "change", "moved", "leave",
         "again", "write_file"]
sessions, asked, said, parked = set(), {}, [], {}
listeners = []
words = ["Says it again."]
lock = threading.Lock()


def message(**members):
    return {"jsonrpc": "2.0", **members}


def text(words):
    return {"content": [{"type": "text", "text": words}]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def whole(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, one, identity=None):
        head = f"id: {identity}\n" if identity else ""
        self.wfile.write(f"{head}data: {json.dumps(one)}\n\n".encode())
        self.wfile.flush()

    def is_known(self):
        if WANTED and self.headers.get("Authorization") != WANTED:
            self.whole(401)
            return False
        return True

    def do_DELETE(self):
        sessions.discard(self.headers.get("Mcp-Session-Id"))
        said.append("farewell")
        self.whole(200)

    def do_GET(self):
        if not self.is_known():
            return
        last = self.headers.get("Last-Event-ID")
        if last in parked:
            self.stream()
            self.event(parked.pop(last), "end")
            return
        self.stream()
        mine = threading.Event()
        queue = []
        with lock:
            listeners.append((mine, queue))
        while True:
            mine.wait()
            mine.clear()
            while queue:
                self.event(queue.pop(0))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.is_known():
            return
        if self.path == "/old":
            return self.whole(307, Location="/mcp")
        if self.path == "/round":
            return self.whole(307, Location="/round")
        frame = json.loads(body)
        method, identity = frame.get("method"), frame.get("id")
        if method == "initialize":
            session = uuid.uuid4().hex
            sessions.add(session)
            wants = {"tools": {"listChanged": True}, "logging": {}}
            info = {"name": "remote", "version": "1"}
            answer = {"protocolVersion": "2025-11-25", "capabilities": wants, "serverInfo": info}
            said.append("initialize")
            return self.answer(message(id=identity, result=answer), Mcp_Session_Id=session)
        if self.headers.get("Mcp-Session-Id") not in sessions:
            return self.whole(404)
        if method is None:
            asked[identity] = frame.get("result") or frame.get("error")
            return self.whole(202)
        if identity is None:
            said.append(method)
            return self.whole(202)
        if method == "tools/list":
            listed = [{"name": name, "inputSchema": {"type": "object"}} for name in NAMES]
            listed[0]["description"] = words[0]
            return self.answer(message(id=identity, result={"tools": listed}))
        if method == "tools/call":
            return self.call(identity, frame["params"])
        said.append(method)
        return self.answer(message(id=identity, result={}))

    def answer(self, one, **headers):
        self.whole(200, json.dumps(one).encode(), Content_Type="application/json", **headers)

    def call(self, identity, params):
        name, arguments = params["name"], params.get("arguments") or {}
        if name == "headers":
            kept = {key: value for key, value in self.headers.items()}
            return self.answer(message(id=identity, result=text(json.dumps(kept))))
        if name == "seen":
            return self.answer(message(id=identity, result=text(json.dumps(said))))
        if name == "forget":
            sessions.discard(self.headers.get("Mcp-Session-Id"))
            return self.answer(message(id=identity, result=text("forgotten")))
        if name == "moved":
            return self.whole(307, Location="http://127.0.0.1:1/elsewhere")
        if name == "progress":
            token = (params.get("_meta") or {}).get("progressToken")
            self.stream()
            for step in range(3):
                note = {"progressToken": token, "progress": step}
                self.event(message(method="notifications/progress", params=note))
            return self.event(message(id=identity, result=text("done")))
        if name == "ask":
            self.stream()
            question = uuid.uuid4().hex
            body = {"messages": [], "maxTokens": 1}
            self.event(message(id=question, method="sampling/createMessage", params=body))
            until = time.time() + 20
            while question not in asked and time.time() < until:
                time.sleep(0.02)
            return self.event(message(id=identity, result=text(json.dumps(asked.get(question)))))
        if name == "leave":
            # Asks, and ends the session before it is answered.
            self.stream()
            self.event(message(id=1, method="sampling/createMessage", params={"messages": [], "maxTokens": 1}))
            sessions.discard(self.headers.get("Mcp-Session-Id"))
            return self.event(message(id=identity, result=text("left")))
        if name == "again":
            # Another run asks with the same id.
            asked.pop(1, None)
            self.stream()
            self.event(message(id=1, method="sampling/createMessage", params={"messages": [], "maxTokens": 2}))
            until = time.time() + 20
            while 1 not in asked and time.time() < until:
                time.sleep(0.02)
            return self.event(message(id=identity, result=text(json.dumps(asked.get(1)))))
        if name == "cut":
            # The stream ends before the answer, which is fetched with the last event's id.
            mark = uuid.uuid4().hex
            parked[mark] = message(id=identity, result=text("resumed"))
            self.stream()
            self.wfile.write(b"retry: 100\n")
            note = {"level": "info", "data": "soon"}
            return self.event(message(method="notifications/message", params=note), mark)
        if name == "slow":
            time.sleep(arguments.get("s", 1))
        if name == "change":
            words[0] = arguments.get("words", words[0])
            with lock:
                for event, queue in listeners:
                    queue.append(message(method="notifications/tools/list_changed"))
                    event.set()
        self.answer(message(id=identity, result=text(f"remote says {arguments.get('text', '')}")))


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
