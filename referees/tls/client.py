"""The official MCP client over TLS with a client certificate. It knows nothing of ours.

Usage: client.py URL CA CERTIFICATE KEY. Prints the text of a note.
"""

import asyncio
import ssl
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

url, ca, certificate, key = sys.argv[1:]


async def main():
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    async with httpx2.AsyncClient(verify=context) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert "read_note" in tools, tools
            done = await client.call_tool("read_note", {"name": "a.md"})
            print(done.content[0].text.strip())


asyncio.run(main())
