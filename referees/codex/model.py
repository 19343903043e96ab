"""Stands in for the model of Codex: asks for one tool after the other, then says that it is done.

    model.py CALLS.json

Prints its port, then each tool result that comes back as a JSON line {"output": …}. Speaks as much of the Responses
API as the client needs.
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

    def do_GET(self):
        self.send(b'{"models": [], "data": []}', "application/json")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        for item in body.get("input", []):
            if item.get("type", "").endswith("_output") and item["call_id"] not in seen:
                seen.add(item["call_id"])
                print(json.dumps({"output": item.get("output")}), flush=True)
        self.answer()

    def answer(self):
        global given
        call = CALLS[given] if given < len(CALLS) else None
        given += call is not None
        item = {"type": "message", "id": "msg", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "done", "annotations": []}]}
        if call and isinstance(call["input"], str):
            item = {"type": "custom_tool_call", "id": f"ct_{given}", "call_id": f"call_{given}", "status": "completed",
                    "name": call["name"], "input": call["input"]}
        elif call:
            item = {"type": "function_call", "id": f"fc_{given}", "call_id": f"call_{given}", "status": "completed",
                    "name": call["name"], "arguments": json.dumps(call["input"])}
            if "namespace" in call:
                item["namespace"] = call["namespace"]
        usage = {"input_tokens": 1, "input_tokens_details": None, "output_tokens": 1,
                 "output_tokens_details": None, "total_tokens": 2}
        events = [
            ("response.created", {"response": {"id": f"resp_{given}"}}),
            ("response.output_item.done", {"output_index": 0, "item": item}),
            ("response.completed", {"response": {"id": f"resp_{given}", "output": [item], "usage": usage}}),
        ]
        text = "".join(f"event: {name}\ndata: {json.dumps({'type': name, **more})}\n\n" for name, more in events)
        self.send(text.encode(), "text/event-stream")

    def send(self, body, kind):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
print(server.server_port, flush=True)
server.serve_forever()
