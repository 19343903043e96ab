"""A client made by hand, for what the official ones don't do: it drops a stream in the middle of a call
and comes back for the rest with the id of the last event that it read."""

import http.client
import json
import urllib.parse


def post(url, session, message):
    """Sends a message; the connection, the answer's headers and the answer, of which nothing is read yet."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
        **({"Mcp-Session-Id": session} if session else {}),
    }
    connection.request("POST", place.path, json.dumps(message), headers)
    return connection, connection.getresponse()


def resume(url, session, last):
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    headers = {
        "Accept": "text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
        "Mcp-Session-Id": session,
        "Last-Event-ID": last,
    }
    connection.request("GET", place.path, headers=headers)
    return connection, connection.getresponse()


def events(answer):
    """The events of a stream that carry a message, with their ids."""
    last, data = None, []
    for line in answer:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            last = value
        elif name == "data":
            data.append(value)
        elif name == "" and data:
            said = "\n".join(data)
            data = []
            if said.strip():
                yield last, json.loads(said)


def dropped_and_resumed(url):
    """What came of a call whose stream was dropped after its first message: all messages, in order."""
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "referee", "version": "1.0.0"},
    }
    connection, answer = post(url, None, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
    session = answer.headers["Mcp-Session-Id"]
    answer.read() if "json" in answer.headers["Content-Type"] else next(events(answer))
    connection.close()
    connection, answer = post(url, session, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    connection.close()
    params = {"name": "test_tool_with_progress", "arguments": {}, "_meta": {"progressToken": "p"}}
    connection, answer = post(url, session, {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})
    last, first = next(events(answer))
    answer.close()
    connection.close()
    found = [first]
    connection, answer = resume(url, session, last)
    if answer.status != 200:
        return [first, {"status": answer.status}]
    for _, message in events(answer):
        found.append(message)
        if message.get("id") == 2:
            break
    answer.close()
    connection.close()
    return found
