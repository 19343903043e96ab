"""Stands in for the model of Gemini CLI: asks for one tool after the other, then says that it is done.

    model.py CALLS.json

Prints its port, then each tool result that comes back as a JSON line.
"""

import http.server
import json
import sys

CALLS = json.loads(sys.argv[1])
given = 0
seen = 0


class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send(b'{"models": []}', "application/json")

    def do_POST(self):
        global given, seen
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        if "countTokens" in self.path:
            return self.send(b'{"totalTokens": 1}', "application/json")
        parts = [part for content in body.get("contents", []) for part in content.get("parts", [])]
        results = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
        for result in results[seen:]:
            print(json.dumps(result), flush=True)
        seen = max(seen, len(results))
        # The client asks for summaries and the like without tools: those get words.
        call = CALLS[given] if body.get("tools") and given < len(CALLS) else None
        given += call is not None
        part = {"text": "done"}
        if call:
            part = {"functionCall": {"id": f"call_{given}", "name": call["name"], "args": call["input"]}}
        answer = json.dumps({
            "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
        })
        if "stream" in self.path:
            return self.send(f"data: {answer}\r\n\r\n".encode(), "text/event-stream")
        self.send(answer.encode(), "application/json")

    def send(self, body, kind):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
print(server.server_port, flush=True)
server.serve_forever()
