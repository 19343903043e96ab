// Drives the fixture over HTTP with the official TypeScript client and writes down what comes back.
//
//     node drive.mjs URL PREFIX OUT.json FOLDER
//
// The same steps as drive.py, so that `referee.py` reads both. FOLDER is where the client is installed.

import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, prefix, out, folder] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const load = (name) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${name}`)));
const { Client } = await load("client/index.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");
const types = await load("types.js");

const watched = "test://watched-resource";
const [steps, events] = [{}, {}];
const note = (kind, value) => (events[kind] ??= []).push(value);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function step(name, promise) {
  try {
    steps[name] = await promise;
  } catch (error) {
    const { code, message, data } = error;
    steps[name] = code === undefined
      ? { exception: `${error}` }
      : { error: { code, message, ...(data === undefined ? {} : { data }) } };
  }
}

async function until(kind, count = 1) {
  for (let i = 0; i < 1500 && (events[kind] ?? []).length < count; i += 1) await sleep(20);
}

const client = new Client(
  { name: "referee", version: "1.0.0" },
  { capabilities: { sampling: {}, elicitation: { form: {} } } },
);
client.setRequestHandler(types.CreateMessageRequestSchema, async ({ params }) => {
  note("sampling", params);
  return { role: "assistant", content: { type: "text", text: "sampled: grüße" }, model: "referee", stopReason: "endTurn" };
});
client.setRequestHandler(types.ElicitRequestSchema, async ({ params }) => {
  note("elicitation", params);
  if (!("username" in params.requestedSchema.properties)) return { action: "decline" };
  return { action: "accept", content: { username: "Ada", email: "ada@example.com" } };
});
client.setNotificationHandler(types.LoggingMessageNotificationSchema, (n) => note("logging", n.params));
client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, (n) => note("updated", n.params));
const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);

const tool = (name, args = {}, options) =>
  client.callTool({ name: prefix + name, arguments: args }, undefined, options);
const call = (name, of, args, options) => step(name, tool(of, args, options));
const count = async () => Number((await tool("test_cancelled")).content[0].text);

steps.initialize = {
  info: client.getServerVersion(),
  capabilities: client.getServerCapabilities(),
  version: transport.protocolVersion,
  instructions: client.getInstructions(),
};
await step("ping", client.ping());
await step("tools/list", client.listTools());
await step("resources/list", client.listResources());
await step("resources/templates", client.listResourceTemplates());
await step("prompts/list", client.listPrompts());
await step("resources/read", client.readResource({ uri: "test://static-text" }));
await step("resources/read binary", client.readResource({ uri: "test://static-binary" }));
await step("resources/read template", client.readResource({ uri: "test://template/7/data" }));
const filled = { name: `${prefix}test_prompt_with_arguments`, arguments: { arg1: "ü", arg2: '"' } };
await step("prompts/get", client.getPrompt(filled));
await step("prompts/get image", client.getPrompt({ name: `${prefix}test_prompt_with_image` }));
const ref = { type: "ref/prompt", name: `${prefix}test_prompt_with_arguments` };
await step("complete", client.complete({ ref, argument: { name: "arg1", value: "te" } }));
await call("text", "test_simple_text");
await call("image", "test_image_content");
await call("sound", "test_audio_content");
await call("mixed", "test_multiple_content_types");
await call("failing", "test_error_handling");
await call("add", "add", { a: 0.1, b: 0.2 });
await call("add exponents", "add", { a: 1e-7, b: -7 });
await call("wrong arguments", "add", { a: "x", b: 2 });
const signs = '\u0000\u2028\u{1f600} \\u0041 </script> " \\ \t';
await call("signs", "json_schema_2020_12_tool", { name: signs, email: "a@example.com" });
await call("large", "json_schema_2020_12_tool", { name: "0123456789abcdef".repeat(20_000), email: "a" });
const several = Array.from({ length: 24 }, (_, n) => tool("add", { a: n, b: 1 }));
steps["in parallel"] = await Promise.all(several);

const progress = [];
const onprogress = ({ progress: done, total, message }) => progress.push([done, total, message]);
await call("progress", "test_tool_with_progress", {}, { onprogress });
// The last one races with the result inside the client.
steps["progress seen"] = progress.slice(0, 2);
await step("logging/setLevel", client.setLoggingLevel("debug"));
await call("logging", "test_tool_with_logging");
await until("logging", 3);
steps.logged = events.logging;
await call("stream closed meanwhile", "test_reconnection");
await call("sampling", "test_sampling", { prompt: "hello ü" });
await call("elicitation", "test_elicitation", { message: "Who are you?" });
await call("elicitation defaults", "test_elicitation_sep1034_defaults");
await call("elicitation enums", "test_elicitation_sep1330_enums");
steps["asked for sampling"] = events.sampling;
steps["asked for elicitation"] = events.elicitation;

await step("subscribe", client.subscribeResource({ uri: watched }));
await call("touch", "test_touch");
await until("updated");
steps.updated = events.updated;
await step("unsubscribe", client.unsubscribeResource({ uri: watched }));
await call("touch unwatched", "test_touch");
steps["updated, in the end"] = (events.updated ?? []).length;

const before = await count();
const stop = new AbortController();
await new Promise((begun) => {
  tool("test_wait", { seconds: 60 }, { signal: stop.signal, onprogress: begun }).catch(() => {});
});
stop.abort("enough");
for (let i = 0; i < 600 && (await count()) === before; i += 1) await sleep(50);
steps["cancelled in the server"] = (await count()) - before;
await call("after the cancellation", "add", { a: 1, b: 1 });
await call("name", "test_name");
await step("prompts/get missing", client.getPrompt({ name: `${prefix}no_such_prompt` }));
await step("resources/read missing", client.readResource({ uri: "test://none" }));
await call("unlisted tool", "no_such_tool");
await transport.terminateSession();
await client.close();
writeFileSync(out, JSON.stringify(steps, null, 1));
