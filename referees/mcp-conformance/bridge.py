"""Lets the suite examine the gateway as a client: the suite is the server, this is the command it starts.

    bridge.py URL

The suite's server at URL stands behind a gateway of its own, and the official Python client asks through
it for what the scenario wants. What the suite sees is the gateway's own client. MCP_CONFORMANCE_SCENARIO
names the scenario.
"""

import asyncio
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings

import mcp_types as types
from mcp import Client

warnings.simplefilter("ignore")
TIPSTAFF = os.environ["TIPSTAFF"]
CALLS = {
    "tools_call": ("add_numbers", {"a": 5, "b": 3}),
    "elicitation-sep1034-client-defaults": ("test_client_elicitation_defaults", {}),
    "sse-retry": ("test_reconnection", {}),
}


async def defaults(_context, params):
    properties = params.requested_schema["properties"]
    content = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    return types.ElicitResult(action="accept", content=content)


async def ask(url, scenario):
    async with Client(url, mode="legacy", elicitation_callback=defaults) as client:
        await client.list_tools()
        if scenario in CALLS:
            tool, arguments = CALLS[scenario]
            answer = await asyncio.wait_for(client.call_tool(tool, arguments), 25)
            print(answer.content[0].text)


def main():
    home = pathlib.Path(tempfile.mkdtemp(prefix="tipstaff-bridge-")) / "home"
    subprocess.run([TIPSTAFF, "--home", str(home), "init"], check=True, stdout=subprocess.DEVNULL)
    (home / "config.toml").write_text(f'[servers.fixture]\nurl = "{sys.argv[1]}"\n')
    shutil.copy(pathlib.Path(__file__).parent / "referee.cedar", home / "policies")
    serve = subprocess.Popen(
        [TIPSTAFF, "--home", str(home), "serve", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    try:
        url = re.search(r"http://\S+", serve.stdout.readline())[0]
        asyncio.run(ask(f"{url}/mcp", os.environ["MCP_CONFORMANCE_SCENARIO"]))
    finally:
        serve.send_signal(signal.SIGTERM)
        serve.wait(20)
        shutil.rmtree(home.parent, ignore_errors=True)


main()
