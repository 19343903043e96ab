"""The upstream that the conformance suite is run against: every tool, resource and prompt it asks for.

    fixture.py --http [NAME]     streamable HTTP on a free port of 127.0.0.1; the first line says where
    fixture.py --stdio [NAME]    standard streams

Both serve the same object of the official Python SDK, so that whatever differs between the two runs is
the gateway's doing. The suite's source names what each scenario expects. The tools after those are for
the clients' scripts: `test_wait` can be cancelled, `test_cancelled` counts how often it was, `test_touch`
changes the watched resource, `test_name` tells which of several servers this is.
"""

import asyncio
import base64
import json
import re
import socket
import struct
import sys
import warnings
import zlib

import mcp_types as types
from mcp import MCPError
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http import EventMessage, EventStore

warnings.simplefilter("ignore")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# One red pixel, and two silent samples.
PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
    + chunk(b"IEND", b"")
).decode()
WAV = base64.b64encode(
    struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 40, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 4)
    + b"\0\0\0\0"
).decode()

NOTHING = {"type": "object", "properties": {}}
DRAFT_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def one_string(name):
    return {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}


def titled(word):
    return [
        {"const": f"value{n}", "title": f"{place} {word}"} for n, place in enumerate(("First", "Second", "Third"), 1)
    ]


OPTIONS = ["option1", "option2", "option3"]
LEGACY = {"enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]}
ENUMS = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": OPTIONS},
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {"type": "string", **LEGACY},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": OPTIONS}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
    },
    "required": [],
}
DEFAULTS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "A name", "default": "John Doe"},
        "age": {"type": "integer", "description": "An age", "default": 30},
        "score": {"type": "number", "description": "A score", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "description": "Whether it was looked at", "default": True},
    },
    "required": [],
}
PERSON = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "description": "The name of the user"},
        "email": {"type": "string", "description": "The address of the user"},
    },
    "required": ["username", "email"],
}


def text(words):
    return types.TextContent(type="text", text=words)


def image():
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri, mime_type, words):
    contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return types.EmbeddedResource(type="resource", resource=contents)


def result(*content, **more):
    return types.CallToolResult(content=list(content), **more)


async def simple_text(_context, _arguments):
    return result(text("This is a simple text response for testing."))


async def image_content(_context, _arguments):
    return result(image())


async def audio_content(_context, _arguments):
    return result(types.AudioContent(type="audio", data=WAV, mime_type="audio/wav"))


async def embedded_resource(_context, _arguments):
    return result(embedded("test://embedded-resource", "text/plain", "This is an embedded resource content."))


async def multiple_content_types(_context, _arguments):
    inner = embedded("test://mixed-content-resource", "application/json", json.dumps({"test": "data", "value": 123}))
    return result(text("Multiple content types test:"), image(), inner)


async def error_handling(_context, _arguments):
    return result(text("This tool intentionally returns an error for testing"), is_error=True)


async def with_logging(context, _arguments):
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.session.send_log_message("info", words, related_request_id=context.request_id)
        await asyncio.sleep(0.05)
    return result(text("Tool with logging executed successfully"))


async def with_progress(context, _arguments):
    for done in (0, 50, 100):
        await context.session.report_progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(0.05)
    return result(text("Tool with progress executed successfully"))


async def reconnection(context, _arguments):
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
    await asyncio.sleep(0.1)
    return result(text("Reconnection test completed successfully"))


async def sampling(context, arguments):
    message = types.SamplingMessage(role="user", content=text(arguments["prompt"]))
    answer = await context.session.create_message([message], max_tokens=100, related_request_id=context.request_id)
    return result(text(f"LLM response: {answer.content.text}"))


async def ask(context, message, schema, before):
    answer = await context.session.elicit_form(message, schema, related_request_id=context.request_id)
    content = json.dumps(answer.content, sort_keys=True)
    return result(text(f"{before}: action={answer.action}, content={content}"))


async def elicitation(context, arguments):
    return await ask(context, arguments["message"], PERSON, "User response")


async def elicitation_defaults(context, _arguments):
    return await ask(context, "Please look at the defaults", DEFAULTS, "Elicitation completed")


async def elicitation_enums(context, _arguments):
    return await ask(context, "Please choose", ENUMS, "Elicitation completed")


async def schema_2020_12(_context, arguments):
    return result(text(json.dumps(arguments, sort_keys=True)))


async def add(_context, arguments):
    total = arguments["a"] + arguments["b"]
    return result(text(str(total)), structured_content={"sum": total})


cancelled = 0


async def wait(context, arguments):
    global cancelled
    try:
        await context.session.report_progress(0, 1)
        await asyncio.sleep(arguments["seconds"])
    except asyncio.CancelledError:
        cancelled += 1
        raise
    return result(text("waited"))


async def count_cancelled(_context, _arguments):
    return result(text(str(cancelled)))


async def own_name(_context, _arguments):
    return result(text(sys.argv[2] if len(sys.argv) > 2 else "fixture"))


subscribed = set()


async def touch(context, _arguments):
    if WATCHED in subscribed:
        await context.session.send_resource_updated(WATCHED)
    return result(text("touched" if WATCHED in subscribed else "nobody watches"))


WATCHED = "test://watched-resource"
NUMBERS = {"a": {"type": "number"}, "b": {"type": "number"}}
SUM = {"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]}
TOOLS = {
    "test_simple_text": ("Returns a text", NOTHING, simple_text),
    "test_image_content": ("Returns an image", NOTHING, image_content),
    "test_audio_content": ("Returns a sound", NOTHING, audio_content),
    "test_embedded_resource": ("Returns an embedded resource", NOTHING, embedded_resource),
    "test_multiple_content_types": ("Returns a text, an image and a resource", NOTHING, multiple_content_types),
    "test_tool_with_logging": ("Sends three log messages", NOTHING, with_logging),
    "test_tool_with_progress": ("Reports progress three times", NOTHING, with_progress),
    "test_error_handling": ("Always fails", NOTHING, error_handling),
    "test_reconnection": ("Closes the stream of its own call before it answers", NOTHING, reconnection),
    "test_sampling": ("Asks the client's model", one_string("prompt"), sampling),
    "test_elicitation": ("Asks the user", one_string("message"), elicitation),
    "test_elicitation_sep1034_defaults": ("Asks the user, with defaults", NOTHING, elicitation_defaults),
    "test_elicitation_sep1330_enums": ("Asks the user, with choices", NOTHING, elicitation_enums),
    "json_schema_2020_12_tool": ("Has a schema of the 2020-12 draft", DRAFT_2020_12, schema_2020_12),
    "add": ("Adds two numbers", {"type": "object", "properties": NUMBERS, "required": ["a", "b"]}, add),
    "test_wait": (
        "Waits",
        {"type": "object", "properties": {"seconds": {"type": "number"}}, "required": ["seconds"]},
        wait,
    ),
    "test_cancelled": ("Tells how many calls were cancelled", NOTHING, count_cancelled),
    "test_touch": ("Changes the watched resource", NOTHING, touch),
    "test_name": ("Tells this server's name", NOTHING, own_name),
}
RESOURCES = {
    "test://static-text": ("static-text", "text/plain", "This is the content of the static text resource."),
    "test://static-binary": ("static-binary", "image/png", None),
    WATCHED: ("watched-resource", "text/plain", "Watched resource content"),
}
TEMPLATE = "test://template/{id}/data"
PROMPTS = {
    "test_simple_prompt": ("A prompt without arguments", []),
    "test_prompt_with_arguments": ("A prompt with two arguments", ["arg1", "arg2"]),
    "test_prompt_with_embedded_resource": ("A prompt with a resource in it", ["resourceUri"]),
    "test_prompt_with_image": ("A prompt with an image in it", []),
}


async def list_tools(_context, _params):
    tools = [
        types.Tool(name=name, description=words, input_schema=schema, output_schema=SUM if name == "add" else None)
        for name, (words, schema, _) in TOOLS.items()
    ]
    return types.ListToolsResult(tools=tools)


async def call_tool(context, params):
    if params.name not in TOOLS:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    return await TOOLS[params.name][2](context, params.arguments or {})


async def list_resources(_context, _params):
    return types.ListResourcesResult(
        resources=[
            types.Resource(uri=uri, name=name, description=f"The {name} of the suite", mime_type=mime_type)
            for uri, (name, mime_type, _) in RESOURCES.items()
        ]
    )


async def list_resource_templates(_context, _params):
    template = types.ResourceTemplate(
        uri_template=TEMPLATE, name="template", description="A resource for each id", mime_type="application/json"
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(_context, params):
    uri = str(params.uri)
    filled = re.fullmatch("test://template/([^/]+)/data", uri)
    if filled:
        data = {"id": filled[1], "templateTest": True, "data": f"Data for ID: {filled[1]}"}
        contents = types.TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(data))
    elif uri not in RESOURCES:
        raise MCPError(-32002, "Resource not found", {"uri": uri})
    elif RESOURCES[uri][2] is None:
        contents = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)
    else:
        contents = types.TextResourceContents(uri=uri, mime_type="text/plain", text=RESOURCES[uri][2])
    return types.ReadResourceResult(contents=[contents])


async def subscribe(_context, params):
    subscribed.add(str(params.uri))
    return types.EmptyResult()


async def unsubscribe(_context, params):
    subscribed.discard(str(params.uri))
    return types.EmptyResult()


async def list_prompts(_context, _params):
    return types.ListPromptsResult(
        prompts=[
            types.Prompt(
                name=name,
                description=words,
                arguments=[
                    types.PromptArgument(name=argument, description=f"The argument {argument}", required=True)
                    for argument in arguments
                ],
            )
            for name, (words, arguments) in PROMPTS.items()
        ]
    )


async def get_prompt(_context, params):
    given = params.arguments or {}
    if params.name == "test_simple_prompt":
        said = [text("This is a simple prompt for testing.")]
    elif params.name == "test_prompt_with_arguments":
        said = [text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")]
    elif params.name == "test_prompt_with_embedded_resource":
        inner = embedded(given["resourceUri"], "text/plain", "Embedded resource content for testing.")
        said = [inner, text("Please process the embedded resource above.")]
    elif params.name == "test_prompt_with_image":
        said = [image(), text("Please analyze the image above.")]
    else:
        raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {params.name}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=content) for content in said])


async def complete(_context, params):
    values = [value for value in ("test", "testing", "text") if value.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


async def set_level(_context, _params):
    return types.EmptyResult()


server = Server(
    "conformance-fixture",
    version="1.0.0",
    instructions="Every tool, resource and prompt that the conformance suite asks for.",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_resources=list_resources,
    on_list_resource_templates=list_resource_templates,
    on_read_resource=read_resource,
    on_subscribe_resource=subscribe,
    on_unsubscribe_resource=unsubscribe,
    on_list_prompts=list_prompts,
    on_get_prompt=get_prompt,
    on_completion=complete,
    on_set_logging_level=set_level,
)


class Events(EventStore):
    """Every event for as long as this process lives, so that a stream can be resumed."""

    def __init__(self):
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id, send_callback):
        at = int(last_event_id)
        if not 0 < at <= len(self.events):
            return None
        stream = self.events[at - 1][0]
        for number, (of, message) in enumerate(self.events[at:], at + 1):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


async def over_standard_streams():
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def over_http():
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", flush=True)
    application = server.streamable_http_app(event_store=Events(), retry_interval=200)
    config = uvicorn.Config(application, log_level="warning")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stdio"]:
        asyncio.run(over_standard_streams())
    elif sys.argv[1:2] == ["--http"]:
        over_http()
    else:
        sys.exit("usage: fixture.py --stdio [NAME] | --http [NAME]")
