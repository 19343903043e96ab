"""Stands in for the model of a client: asks for one tool after the other, then says that it is done.

    model.py CALLS.json

Prints its port, then each tool result that comes back as a JSON line {"content": …, "is_error": …}.
"""

import http.server
import json
import sys

CALLS = json.loads(sys.argv[1])
given = 0
seen = set()


class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.reply({})

    do_GET = do_HEAD

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        if not self.path.startswith("/v1/messages") or "count_tokens" in self.path:
            return self.reply({"input_tokens": 1})
        for message in body.get("messages", []):
            parts = message["content"] if isinstance(message["content"], list) else []
            for part in parts:
                if part["type"] == "tool_result" and part["tool_use_id"] not in seen:
                    seen.add(part["tool_use_id"])
                    print(json.dumps({"content": part.get("content"), "is_error": bool(part.get("is_error"))}), flush=True)
        self.answer(body)

    def answer(self, body):
        global given
        # The client asks for titles and the like without tools: those get words.
        call = CALLS[given] if body.get("tools") and given < len(CALLS) else None
        given += call is not None
        reason = "tool_use" if call else "end_turn"
        part = {"type": "text", "text": "done"}
        if call:
            part = {"type": "tool_use", "id": f"toolu_{given}", "name": call["name"], "input": call["input"]}
        message = {"id": f"msg_{given}", "type": "message", "role": "assistant", "model": body.get("model", "m"),
                   "content": [part], "stop_reason": reason, "stop_sequence": None,
                   "usage": {"input_tokens": 1, "output_tokens": 1}}
        if not body.get("stream"):
            return self.reply(message)
        empty = {**part, **({"input": {}} if call else {"text": ""})}
        delta = {"type": "text_delta", "text": "done"}
        if call:
            delta = {"type": "input_json_delta", "partial_json": json.dumps(call["input"])}
        events = [
            ("message_start", {"message": {**message, "content": [], "stop_reason": None}}),
            ("content_block_start", {"index": 0, "content_block": empty}),
            ("content_block_delta", {"index": 0, "delta": delta}),
            ("content_block_stop", {"index": 0}),
            ("message_delta", {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 1}}),
            ("message_stop", {}),
        ]
        text = "".join(f"event: {name}\ndata: {json.dumps({'type': name, **more})}\n\n" for name, more in events)
        self.send(text.encode(), "text/event-stream")

    def reply(self, value):
        self.send(json.dumps(value).encode(), "application/json")

    def send(self, body, kind):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
print(server.server_port, flush=True)
server.serve_forever()
