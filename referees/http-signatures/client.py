"""An MCP client over HTTP that signs its requests with the library `http-message-signatures` and knows nothing of ours.

Usage: client.py URL KEY_FILE KEY_ID. Prints a line a check; exits with 1 if one fails.
"""

import base64
import hashlib
import sys
import uuid
from datetime import datetime, timedelta, timezone

import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

url, key_file, key_id = sys.argv[1:]
seed = bytes.fromhex(open(key_file).read().strip())
pem = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return pem

    def resolve_public_key(self, key_id):
        raise KeyError(key_id)


signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=Keys())


def body_of(prepared, leave_out):
    """With a body the library adds its digest and covers it, asked or not."""
    if leave_out != "content-digest":
        return prepared.body
    digest = base64.b64encode(hashlib.sha256(prepared.body).digest()).decode()
    prepared.headers["Content-Digest"] = f"sha-256=:{digest}:"
    return None


def ask(body, session=None, leave_out=None, after=None):
    headers = {"Accept": "application/json, text/event-stream"}
    if session:
        headers["Mcp-Session-Id"] = session
    prepared = requests.Request("POST", f"{url}/mcp", json=body, headers=headers).prepare()
    covered = ["@method", "@authority", "@path", "content-digest"]
    if session:
        covered.append("mcp-session-id")
    covered = [part for part in covered if part != leave_out]
    now = datetime.now(timezone.utc)
    signer.sign(
        prepared, key_id=key_id, covered_component_ids=covered, created=now, nonce=uuid.uuid4().hex,
        expires=now + timedelta(minutes=2), label="sig1", include_alg=True, body=body_of(prepared, leave_out),
        use_existing_digest=leave_out == "content-digest",
    )
    if after:
        after(prepared)
    return requests.Session().send(prepared, timeout=60)


failed = 0


def check(what, holds, answer):
    global failed
    print("ok  " if holds else "FAIL", what, "" if holds else f"{answer.status_code} {answer.text[:300]}")
    failed += not holds


hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
    "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "signer", "version": "1"}}}
opened = ask(hello)
check("a signed initialize opens a session", opened.status_code == 200, opened)
session = opened.headers.get("mcp-session-id")
told = ask({"jsonrpc": "2.0", "method": "notifications/initialized"}, session)
check("a signed notification is taken", told.status_code == 202, told)
listed = ask({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, session)
check("a signed list is answered", listed.status_code == 200 and "read_note" in listed.text, listed)
call = {"jsonrpc": "2.0", "id": 3, "method": "tools/call",
        "params": {"name": "read_note", "arguments": {"name": "a.md"}}}
done = ask(call, session)
check("a signed call is judged and done", done.status_code == 200 and "hello" in done.text, done)
for part in ["@method", "@authority", "@path", "content-digest", "mcp-session-id"]:
    no = ask(call, session, leave_out=part)
    check(f"without {part} in it a signature proves nothing", no.status_code == 401, no)


def tamper(prepared):
    prepared.body = prepared.body.replace(b"a.md", b"b.md")


no = ask(call, session, after=tamper)
check("another body is refused", no.status_code == 401, no)
sys.exit(1 if failed else 0)
