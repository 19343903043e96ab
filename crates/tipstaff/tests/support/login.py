"""An issuer of tokens and an MCP server that wants them, both on 127.0.0.1. Prints the two ports.

POST /control on the issuer changes how both behave; GET /seen tells what they were asked. The issuer approves
whoever comes, and is strict: a code and a refresh token are taken once, from the client that they were made for.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Lock()
knobs = {
    "life": 3600, "refresh": True, "rotate": True, "pkce": ["S256"], "issuer": None, "resource": None,
    "iss": "right", "names_itself": True, "state": None, "deny": None, "methods": ["none"], "secret": None,
    "register": True, "documents": False, "revoke": True, "refuse_refresh": False, "down": False, "scopes": None,
    "challenge": None, "metadata": None, "refuse_all": False, "refuse_new": 0, "issuers": None, "kept": None, "quiet": False,
    "openid": False, "echo": False, "token_place": None, "late": 0, "issuer_scopes": None, "type": "Bearer",
}
seen, codes, access, refreshes, clients = [], {}, {}, {}, {}
ended = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, body=b"", **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content_Type", "application/json")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()

    def note(self, where, said=None):
        with lock:
            seen.append({"at": where, "path": self.path, "authorization": self.headers.get("Authorization"), "said": said})


class Issuer(Handler):
    def do_GET(self):
        parts = urllib.parse.urlsplit(self.path)
        if parts.path == "/seen":
            return self.say(200, seen)
        self.note("issuer")
        kind = "openid-configuration" if knobs["openid"] else "oauth-authorization-server"
        if parts.path == "/.well-known/" + kind:
            said = {
                "issuer": knobs["issuer"] or ISSUER, "authorization_endpoint": ISSUER + "/authorize",
                "token_endpoint": knobs["token_place"] or ISSUER + "/token", "response_types_supported": ["code"],
                "token_endpoint_auth_methods_supported": knobs["methods"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "authorization_response_iss_parameter_supported": knobs["names_itself"],
                "client_id_metadata_document_supported": knobs["documents"],
            }
            if knobs["pkce"] is not None:
                said["code_challenge_methods_supported"] = knobs["pkce"]
            if knobs["register"]:
                said["registration_endpoint"] = ISSUER + "/register"
            if knobs["revoke"]:
                said["revocation_endpoint"] = ISSUER + "/revoke"
            if knobs["issuer_scopes"]:
                said["scopes_supported"] = knobs["issuer_scopes"]
            return self.say(200, said)
        if parts.path == "/authorize":
            asked = dict(urllib.parse.parse_qsl(parts.query))
            back = {"state": asked["state"] if knobs["state"] is None else knobs["state"]}
            if knobs["deny"]:
                back["error"] = knobs["deny"]
            else:
                back["code"] = "code-" + secrets.token_urlsafe(8)
                codes[back["code"]] = asked
            if knobs["iss"] != "absent":
                back["iss"] = {"right": knobs["issuer"] or ISSUER, "slash": ISSUER + "/"}.get(knobs["iss"], knobs["iss"])
            place = asked["redirect_uri"] + "?" + urllib.parse.urlencode(back)
            return self.say(302, Location=place)
        self.say(404)

    def do_POST(self):
        text = self.body()
        if self.path == "/control":
            knobs.update(json.loads(text))
            return self.say(200)
        if self.path == "/register":
            said = json.loads(text)
            self.note("issuer", said)
            client = {"client_id": "client-" + secrets.token_urlsafe(4), "redirect_uris": said["redirect_uris"]}
            if knobs["secret"]:
                client["client_secret"] = knobs["secret"]
                client["token_endpoint_auth_method"] = knobs["methods"][0]
            clients[client["client_id"]] = said["redirect_uris"]
            return self.say(201, client)
        said = dict(urllib.parse.parse_qsl(text))
        self.note("issuer", said)
        if self.path == "/revoke":
            ended.add(said["token"])
            return self.say(200)
        if self.path == "/token":
            if knobs["late"]:
                time.sleep(knobs["late"])
            if knobs["down"]:
                return self.say(503)
            with lock:
                answer = self.tokens(said)
            return self.say(400 if "error" in answer else 200, answer)
        self.say(404)

    def tokens(self, said):
        def no(why, more=""):
            echo = {"error": said.get("refresh_token", why), "error_description": text} if knobs["echo"] else {}
            return {"error": why, "why": more, **echo}

        text = json.dumps(said)
        client = said.get("client_id")
        basic = self.headers.get("Authorization") or ""
        if basic.startswith("Basic "):
            client, secret = base64.b64decode(basic[6:]).decode().split(":")
            client, secret = urllib.parse.unquote(client), urllib.parse.unquote(secret)
        else:
            secret = said.get("client_secret")
        if knobs["secret"] and secret != knobs["secret"]:
            return no("invalid_client")
        if said["grant_type"] == "authorization_code":
            asked = codes.pop(said["code"], None)
            if not asked:
                return no("invalid_grant", "code")
            digest = hashlib.sha256(said["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            same = [("redirect_uri", said["redirect_uri"]), ("client_id", client), ("resource", said.get("resource")),
                    ("code_challenge", challenge), ("code_challenge_method", "S256")]
            if any(asked.get(name) != value for name, value in same):
                return no("invalid_grant", "not the same")
            about = {"client": client, "scope": asked.get("scope", ""), "resource": said["resource"]}
        else:
            about = refreshes.get(said["refresh_token"])
            if not about or knobs["refuse_refresh"]:
                return no("invalid_grant")
            if about["client"] != client or about["resource"] != said.get("resource"):
                return no("invalid_grant", "another client")
            if about.get("used") and knobs["rotate"]:
                seen.append({"at": "reuse", "path": "", "authorization": None, "said": said})
                return no("invalid_grant", "used twice")
            about["used"] = True
        token = "access-" + secrets.token_urlsafe(12)
        access[token] = {**about, "end": time.time() + (knobs["life"] or 1e6)}
        answer = {"access_token": token, "token_type": knobs["type"]}
        if knobs["life"] is not None:
            answer["expires_in"] = knobs["life"]
        if about["scope"]:
            answer["scope"] = about["scope"]
        if knobs["refresh"] and (said["grant_type"] != "refresh_token" or knobs["rotate"]):
            answer["refresh_token"] = "refresh-" + secrets.token_urlsafe(12)
            refreshes[answer["refresh_token"]] = {name: about[name] for name in ("client", "scope", "resource")}
        return answer


class Server(Handler):
    def do_GET(self):
        self.note("server")
        path = urllib.parse.urlsplit(self.path).path
        if path == "/.well-known/oauth-protected-resource/mcp":
            said = {"resource": knobs["resource"] or RESOURCE, "authorization_servers": knobs["issuers"] or [ISSUER]}
            if knobs["scopes"]:
                said["scopes_supported"] = knobs["scopes"]
            return self.say(200, said)
        self.say(404 if path != "/mcp" else 405)

    def do_DELETE(self):
        self.note("server")
        self.say(200)

    def do_POST(self):
        text = self.body()
        frame = json.loads(text)
        self.note("server", frame)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        about = access.get(token)
        good = about and about["end"] > time.time() and about["resource"] == RESOURCE and token not in ended
        with lock:
            if good and knobs["refuse_new"]:
                knobs["refuse_new"] -= 1
                good = False
        if knobs["quiet"]:
            good = True
        if not good or knobs["refuse_all"]:
            said = knobs["challenge"] or f'Bearer resource_metadata="{knobs["metadata"] or METADATA}"'
            return self.say(401, WWW_Authenticate=said)
        if knobs["kept"]:
            # What is used was kept before.
            with open(knobs["kept"]) as file:
                self.note("kept", token in file.read())
        method, identity = frame.get("method"), frame.get("id")
        if identity is None:
            return self.say(202)
        if method == "initialize":
            info = {"name": "remote", "version": "1"}
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
        elif method == "tools/list":
            result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "save")]}
        else:
            if frame["params"]["name"] == "save" and "files:write" not in about["scope"].split():
                more = f'Bearer error="insufficient_scope", scope="files:write", resource_metadata="{METADATA}"'
                return self.say(403, WWW_Authenticate=more)
            result = {"content": [{"type": "text", "text": "done"}]}
        self.say(200, {"jsonrpc": "2.0", "id": identity, "result": result})


issuer, server = (ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in (Issuer, Server))
ISSUER = f"http://127.0.0.1:{issuer.server_address[1]}"
RESOURCE = f"http://127.0.0.1:{server.server_address[1]}/mcp"
METADATA = f"http://127.0.0.1:{server.server_address[1]}/.well-known/oauth-protected-resource/mcp"
for one in (issuer, server):
    one.daemon_threads = True
threading.Thread(target=issuer.serve_forever, daemon=True).start()
print(issuer.server_address[1], server.server_address[1], flush=True)
server.serve_forever()
