"""The official MCP client with its OAuth flow against a listener that it knows nothing of, and then tokens of the same
provider that must not count.

Usage: client.py URL CA PROVIDER. Prints a line a check; exits with 1 if one fails.
"""

import asyncio
import base64
import json
import ssl
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

url, ca, provider = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
failed = 0


def check(what, good, said=""):
    global failed
    print(f"{'ok     ' if good else 'FAILED '} {what}{'' if good else f': {said}'}")
    failed += not good


class Kept:
    """What the client keeps."""

    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Person:
    """Who logs in at the provider's form."""

    def __init__(self, subject):
        self.subject = subject

    async def redirect(self, address):
        self.asked = parse_qs(urlsplit(address).query)
        async with httpx2.AsyncClient() as http:
            answer = await http.post(address, data={"sub": self.subject})
        self.told = parse_qs(urlsplit(answer.headers["location"]).query)

    async def callback(self):
        state = self.told.get("state", [None])[0]
        return AuthorizationCodeResult(code=self.told["code"][0], state=state)


async def call_as(subject):
    """Logs somebody in by the client's own flow and reads a note; what was kept on the way."""
    kept, person = Kept(), Person(subject)
    metadata = OAuthClientMetadata(redirect_uris=["http://127.0.0.1:1/callback"], client_name="referee")
    auth = OAuthClientProvider(url, metadata, kept, person.redirect, person.callback)
    async with httpx2.AsyncClient(verify=context, auth=auth) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            done = await client.call_tool("read_note", {"name": "a.md"})
            return kept, person, done.content[0].text.strip()


HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "referee", "version": "1"},
    },
}


async def ask(token):
    headers = {"Accept": "application/json, text/event-stream"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    async with httpx2.AsyncClient(verify=context) as http:
        return await http.post(url, json=HELLO, headers=headers)


async def token_for(resource, subject):
    """A token of the provider, by hand, for whatever resource."""
    async with httpx2.AsyncClient() as http:
        query = {
            "client_id": "by-hand",
            "response_type": "code",
            "redirect_uri": "http://127.0.0.1:1/callback",
            "scope": "openid",
        }
        answer = await http.post(f"{provider}/oauth2/authorize", params=query, data={"sub": subject})
        code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": query["redirect_uri"],
            "client_id": "by-hand",
            "client_secret": "any",
            "resource": resource,
        }
        return (await http.post(f"{provider}/oauth2/token", data=form)).json()


def part(token, at):
    text = token.split(".")[at]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


async def main():
    kept, person, said = await call_as("248289761001")
    check("the client finds the provider, logs a person in and calls a tool", said == "hello", said)
    token = kept.tokens.access_token
    check("it asked for this resource", person.asked.get("resource") == [url], person.asked)
    check("the provider's token is one of RFC 9068", part(token, 0)["typ"] == "at+jwt", part(token, 0))
    check("for this resource", part(token, 1)["aud"] == url, part(token, 1))
    no = await ask(None)
    check("without a token it is told where", "resource_metadata=" in no.headers.get("www-authenticate", ""), no)
    no = await ask((await token_for("https://other.example/mcp", "248289761001"))["access_token"])
    check("a token for another resource counts for nothing", no.status_code == 401 and "audience" in no.text, no.text)
    no = await ask((await token_for(url, "somebody-else"))["access_token"])
    check("a person whom nobody mapped is nobody", no.status_code == 401 and "nobody" in no.text, no.text)
    given = await token_for(url, "248289761001")
    no = await ask(given["id_token"])
    check("an identity token is no access token", no.status_code == 401, no.text)
    head, claims, signature = given["access_token"].split(".")
    other = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "at+jwt"}).encode()).decode().rstrip("=")
    no = await ask(f"{other}.{claims}.")
    check("without a signature it counts for nothing", no.status_code == 401, no.text)
    good = await ask(given["access_token"])
    check("the token itself counts", good.status_code == 200, good.text)


asyncio.run(main())
sys.exit(1 if failed else 0)
