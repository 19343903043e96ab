"""Drives the official servers with the official Python client and writes down what comes back.

    drive.py SPEC.json OUT.json

The specification names the command of each server, so that the same script runs with the servers
directly and behind `tipstaff wrap`. The transcript is a JSON object of steps; `referee.py` compares.
"""

import asyncio
import json
import pathlib
import sys
import warnings

import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters, stdio_client

warnings.simplefilter("ignore")


def plain(value):
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return value


class Driver:
    def __init__(self, client, steps, events):
        self.client, self.steps, self.events = client, steps, events

    async def step(self, name, awaitable):
        try:
            self.steps[name] = plain(await asyncio.wait_for(awaitable, 60))
        except MCPError as error:
            self.steps[name] = {"error": plain(error.error)}
        except Exception as error:  # noqa: BLE001  a transcript, whatever happened
            self.steps[name] = {"exception": f"{type(error).__name__}: {error}"}

    async def call(self, name, tool, arguments, **more):
        await self.step(name, self.client.call_tool(tool, arguments, **more))

    async def until(self, kind, count=1):
        for _ in range(1500):
            if len(self.events.get(kind, [])) >= count:
                return True
            await asyncio.sleep(0.02)
        return False


def connect(spec, name, events):
    def note(kind, value):
        events.setdefault(kind, []).append(plain(value))

    async def sampling(_context, params):
        note("sampling", params)
        content = types.TextContent(type="text", text="sampled: grüße")
        return types.CreateMessageResult(
            role="assistant", content=content, model="referee", stop_reason="endTurn"
        )

    async def elicitation(_context, params):
        note("elicitation", params)
        return types.ElicitResult(action="accept", content={"name": "Ada", "check": True, "integer": 7})

    async def roots(_context):
        note("roots", {})
        return types.ListRootsResult(roots=[types.Root(uri=pathlib.Path(spec["work"]).as_uri(), name="work")])

    async def logging(params):
        note("logging", params)

    async def messages(message):
        if not isinstance(message, Exception):
            note("notification:" + plain(message).get("method", "?"), message)

    server = spec["servers"][name]
    more = {}
    if name == "everything":
        more = {
            "sampling_callback": sampling,
            "elicitation_callback": elicitation,
            "list_roots_callback": roots,
            "logging_callback": logging,
            "message_handler": messages,
        }
    parameters = StdioServerParameters(command=server[0], args=server[1:], cwd=spec["work"])
    return Client(stdio_client(parameters, errlog=open(spec["errors"], "a")), **more)


async def opening(driver, client):
    driver.steps["initialize"] = {
        "info": plain(client.server_info),
        "capabilities": plain(client.server_capabilities),
        "version": client.protocol_version,
        "instructions": client.instructions,
    }
    await driver.step("tools/list", client.list_tools())
    await driver.step("ping", client.send_ping())


async def filesystem(spec):
    steps, gated = {}, {}
    work, outside = spec["work"], spec["outside"]
    async with connect(spec, "filesystem", {}) as client:
        driver = Driver(client, steps, {})
        await opening(driver, client)
        await driver.call("list_allowed", "list_allowed_directories", {})
        await driver.call("list", "list_directory", {"path": work})
        await driver.call("read", "read_text_file", {"path": f"{work}/a.txt"})
        await driver.call("read head", "read_text_file", {"path": f"{work}/a.txt", "head": 1})
        await driver.call("read several", "read_multiple_files", {"paths": [f"{work}/a.txt", f"{work}/ü.txt"]})
        await driver.call("read missing", "read_text_file", {"path": f"{work}/none.txt"})
        await driver.call("write", "write_file", {"path": f"{work}/new.txt", "content": "Ada\n\u2028\U0001f600 \\ \" end\n"})
        await driver.call("read back", "read_text_file", {"path": f"{work}/new.txt"})
        edit = {"path": f"{work}/new.txt", "edits": [{"oldText": "Ada", "newText": "Bea"}], "dryRun": True}
        await driver.call("edit dry", "edit_file", edit)
        await driver.call("mkdir", "create_directory", {"path": f"{work}/sub"})
        await driver.call("tree", "directory_tree", {"path": work})
        await driver.call("search", "search_files", {"path": work, "pattern": "**/*.txt"})
        await driver.call("wrong arguments", "read_text_file", {"path": 7})
        await driver.step("resources/list", client.list_resources())
        gate = Driver(client, gated, {})
        await gate.call("write outside", "write_file", {"path": f"{outside}/evil.txt", "content": "x"})
        await gate.call("read a key", "read_text_file", {"path": f"{work}/.ssh/id_ed25519"})
        await gate.call("unlisted tool", "drop_everything", {})
        await gate.call("write inside", "write_file", {"path": f"{work}/more.txt", "content": "y"})
    return steps, gated


async def everything(spec):
    steps, gated, events = {}, {}, {}
    async with connect(spec, "everything", events) as client:
        driver = Driver(client, steps, events)
        # The server asks for roots a moment after the handshake, and adds a tool then.
        await driver.until("roots")
        await opening(driver, client)
        await driver.step("resources/list", client.list_resources())
        await driver.step("resources/templates", client.list_resource_templates())
        first = steps["resources/list"]["resources"][0]["uri"]
        await driver.step("resources/read", client.read_resource(first))
        await driver.step("resources/read dynamic", client.read_resource("demo://resource/dynamic/text/3"))
        await driver.step("resources/read missing", client.read_resource("demo://resource/none"))
        await driver.step("prompts/list", client.list_prompts())
        await driver.step("prompts/get", client.get_prompt("simple-prompt"))
        await driver.step("prompts/get args", client.get_prompt("args-prompt", {"city": "Zürich", "state": "ZH"}))
        await driver.step("prompts/get missing", client.get_prompt("no-such-prompt"))
        prompt = types.PromptReference(type="ref/prompt", name="completable-prompt")
        await driver.step("complete", client.complete(prompt, {"name": "department", "value": "S"}))
        context = {"department": "Engineering"}
        await driver.step("complete context", client.complete(prompt, {"name": "name", "value": "A"}, context))
        template = types.ResourceTemplateReference(type="ref/resource", uri="demo://resource/dynamic/text/{resourceId}")
        await driver.step("complete template", client.complete(template, {"name": "resourceId", "value": "12"}))
        await driver.step("logging/setLevel", client.set_logging_level("debug"))
        await driver.call("echo", "echo", {"message": "plain"})
        await driver.call("echo signs", "echo", {"message": "\u0000\u2028\U0001f600 \\u0041 </script> \" \\ \t"})
        await driver.call("echo large", "echo", {"message": "0123456789abcdef" * 20_000})
        await driver.call("sum", "get-sum", {"a": 0.1, "b": 0.2})
        await driver.call("sum negative", "get-sum", {"a": -7, "b": 1e-7})
        await driver.call("sum wrong", "get-sum", {"a": "x", "b": 2})
        await driver.call("image", "get-tiny-image", {})
        await driver.call("structured", "get-structured-content", {"location": "Chicago"})
        await driver.call("annotated", "get-annotated-message", {"messageType": "error", "includeImage": True})
        await driver.call("links", "get-resource-links", {"count": 3})
        await driver.call("reference", "get-resource-reference", {"resourceType": "Text", "resourceId": 1})
        await driver.call("roots", "get-roots-list", {})
        several = [client.call_tool("echo", {"message": f"m{n}"}) for n in range(24)]
        steps["in parallel"] = [plain(result) for result in await asyncio.gather(*several)]

        progress = []

        async def report(done, total, message):
            progress.append([done, total, message])

        await driver.call("progress", "trigger-long-running-operation", {"duration": 0.6, "steps": 3}, progress_callback=report)
        steps["progress seen"] = progress
        await driver.call("sampling", "trigger-sampling-request", {"prompt": "hello", "maxTokens": 5})
        await driver.call("elicitation", "trigger-elicitation-request", {})
        steps["asked for sampling"] = events.get("sampling", [])
        steps["asked for elicitation"] = events.get("elicitation", [])
        await driver.step("subscribe", client.subscribe_resource("demo://resource/dynamic/text/1"))
        await driver.call("updates on", "toggle-subscriber-updates", {})
        await driver.until("notification:notifications/resources/updated")
        steps["updated"] = events.get("notification:notifications/resources/updated", [])[:1]
        await driver.step("unsubscribe", client.unsubscribe_resource("demo://resource/dynamic/text/1"))
        await driver.call("updates off", "toggle-subscriber-updates", {})
        seen = len(events.get("logging", []))
        await driver.call("logging on", "toggle-simulated-logging", {})
        steps["log message came"] = await driver.until("logging", seen + 1)
        await driver.call("logging off", "toggle-simulated-logging", {})

        slow = asyncio.ensure_future(client.call_tool("trigger-long-running-operation", {"duration": 30, "steps": 2}))
        await asyncio.sleep(0.3)
        slow.cancel()
        try:
            await slow
        except asyncio.CancelledError:
            steps["cancelled"] = True
        await driver.call("after cancel", "echo", {"message": "still here"})
        gate = Driver(client, gated, events)
        await gate.call("environment", "get-env", {})
        await gate.call("research", "simulate-research-query", {"topic": "x"})
    return steps, gated


async def main():
    spec = json.loads(pathlib.Path(sys.argv[1]).read_text())
    out = {}
    # Both at once, as a client with two servers in its configuration does.
    for name, done in zip(
        ("filesystem", "everything"), await asyncio.gather(filesystem(spec), everything(spec))
    ):
        out[name], out[name + " gated"] = done
    pathlib.Path(sys.argv[2]).write_text(json.dumps(out, indent=1, sort_keys=True))


asyncio.run(main())
