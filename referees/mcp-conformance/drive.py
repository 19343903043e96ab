"""Drives the fixture over HTTP with the official Python client and writes down what comes back.

    drive.py URL PREFIX OUT.json

PREFIX stands before each tool's and prompt's name: empty for one server, `NAME__` for one of several. The
transcript is a JSON object of steps; drive.mjs takes the same, and `referee.py` compares.
"""

import asyncio
import json
import sys
import warnings

import mcp_types as types
from mcp import Client, MCPError

warnings.simplefilter("ignore")
URL, PREFIX, OUT = sys.argv[1:4]
WATCHED = "test://watched-resource"
steps, events = {}, {}


def plain(value):
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return value


def note(kind, value):
    events.setdefault(kind, []).append(plain(value))


async def sampling(_context, params):
    note("sampling", params)
    content = types.TextContent(type="text", text="sampled: grüße")
    return types.CreateMessageResult(role="assistant", content=content, model="referee", stop_reason="endTurn")


async def elicitation(_context, params):
    note("elicitation", params)
    if "username" in params.requested_schema["properties"]:
        return types.ElicitResult(action="accept", content={"username": "Ada", "email": "ada@example.com"})
    return types.ElicitResult(action="decline")


async def logging(params):
    note("logging", params)


async def messages(message):
    said = plain(message)
    if isinstance(said, dict) and said.get("method") == "notifications/resources/updated":
        note("updated", said["params"])


async def step(name, awaitable):
    try:
        steps[name] = plain(await asyncio.wait_for(awaitable, 60))
    except MCPError as error:
        steps[name] = {"error": plain(error.error)}
    except Exception as error:  # noqa: BLE001  a transcript, whatever happened
        steps[name] = {"exception": f"{type(error).__name__}: {error}"}


async def until(kind, count=1):
    for _ in range(1500):
        if len(events.get(kind, [])) >= count:
            return True
        await asyncio.sleep(0.02)
    return False


async def drive(client):
    async def call(name, tool, arguments=None, **more):
        await step(name, client.call_tool(PREFIX + tool, arguments or {}, **more))

    async def count():
        return int((await client.call_tool(PREFIX + "test_cancelled", {})).content[0].text)

    steps["initialize"] = {
        "info": plain(client.server_info),
        "capabilities": plain(client.server_capabilities),
        "version": client.protocol_version,
        "instructions": client.instructions,
    }
    await step("ping", client.send_ping())
    await step("tools/list", client.list_tools())
    await step("resources/list", client.list_resources())
    await step("resources/templates", client.list_resource_templates())
    await step("prompts/list", client.list_prompts())
    await step("resources/read", client.read_resource("test://static-text"))
    await step("resources/read binary", client.read_resource("test://static-binary"))
    await step("resources/read template", client.read_resource("test://template/7/data"))
    await step("prompts/get", client.get_prompt(PREFIX + "test_prompt_with_arguments", {"arg1": "ü", "arg2": '"'}))
    await step("prompts/get image", client.get_prompt(PREFIX + "test_prompt_with_image"))
    reference = types.PromptReference(type="ref/prompt", name=PREFIX + "test_prompt_with_arguments")
    await step("complete", client.complete(reference, {"name": "arg1", "value": "te"}))
    await call("text", "test_simple_text")
    await call("image", "test_image_content")
    await call("sound", "test_audio_content")
    await call("mixed", "test_multiple_content_types")
    await call("failing", "test_error_handling")
    await call("add", "add", {"a": 0.1, "b": 0.2})
    await call("add exponents", "add", {"a": 1e-7, "b": -7})
    await call("wrong arguments", "add", {"a": "x", "b": 2})
    signs = '\u0000\u2028\U0001f600 \\u0041 </script> " \\ \t'
    await call("signs", "json_schema_2020_12_tool", {"name": signs, "email": "a@example.com"})
    await call("large", "json_schema_2020_12_tool", {"name": "0123456789abcdef" * 20_000, "email": "a"})
    several = [client.call_tool(PREFIX + "add", {"a": n, "b": 1}) for n in range(24)]
    steps["in parallel"] = [plain(answer) for answer in await asyncio.gather(*several)]

    progress = []

    async def on_progress(done, total, message):
        progress.append([done, total, message])

    await call("progress", "test_tool_with_progress", progress_callback=on_progress)
    # The last one races with the result inside the client.
    steps["progress seen"] = progress[:2]
    await step("logging/setLevel", client.set_logging_level("debug"))
    await call("logging", "test_tool_with_logging")
    await until("logging", 3)
    steps["logged"] = events.get("logging")
    await call("stream closed meanwhile", "test_reconnection")
    await call("sampling", "test_sampling", {"prompt": "hello ü"})
    await call("elicitation", "test_elicitation", {"message": "Who are you?"})
    await call("elicitation defaults", "test_elicitation_sep1034_defaults")
    await call("elicitation enums", "test_elicitation_sep1330_enums")
    steps["asked for sampling"] = events.get("sampling")
    steps["asked for elicitation"] = events.get("elicitation")

    await step("subscribe", client.subscribe_resource(WATCHED))
    await call("touch", "test_touch")
    await until("updated")
    steps["updated"] = events.get("updated")
    await step("unsubscribe", client.unsubscribe_resource(WATCHED))
    await call("touch unwatched", "test_touch")
    steps["updated, in the end"] = len(events.get("updated", []))

    before, begun = await count(), asyncio.Event()

    async def on_begin(_done, _total, _message):
        begun.set()

    slow = asyncio.create_task(client.call_tool(PREFIX + "test_wait", {"seconds": 60}, progress_callback=on_begin))
    await asyncio.wait_for(begun.wait(), 60)
    slow.cancel()
    for _ in range(600):
        if await count() > before:
            break
        await asyncio.sleep(0.05)
    steps["cancelled in the server"] = await count() - before
    await call("after the cancellation", "add", {"a": 1, "b": 1})
    await call("name", "test_name")
    await step("prompts/get missing", client.get_prompt(PREFIX + "no_such_prompt"))
    await step("resources/read missing", client.read_resource("test://none"))
    await call("unlisted tool", "no_such_tool")


async def main():
    callbacks = {
        "sampling_callback": sampling,
        "elicitation_callback": elicitation,
        "logging_callback": logging,
        "message_handler": messages,
    }
    # The handshake of 2025-11-25 on both sides; the fixture alone would be asked for a later revision.
    async with Client(URL, mode="legacy", **callbacks) as client:
        await drive(client)
    async with Client(URL) as client:
        steps["as it comes"] = plain(await client.call_tool(PREFIX + "add", {"a": 2, "b": 2}))
    with open(OUT, "w") as out:
        json.dump(steps, out, indent=1)


asyncio.run(main())
