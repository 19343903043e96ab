// Drives the official servers with the official TypeScript client and writes down what comes back.
//
//     node drive.mjs SPEC.json OUT.json
//
// The same steps as drive.py, so that `referee.py` reads both.

import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const spec = JSON.parse(readFileSync(process.argv[2], "utf8"));
const require = createRequire(`${spec.modules}/`);
const load = (name) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${name}`)));
const { Client } = await load("client/index.js");
const { StdioClientTransport } = await load("client/stdio.js");
const types = await load("types.js");

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function connect(name, events) {
  const note = (kind, value) => (events[kind] ??= []).push(value);
  const asks = name === "everything";
  // The same capabilities as the Python client: the server lists tools by them, and a tool that was not
  // there when the list was first accepted would be held back until it is accepted too.
  const declared = { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } };
  const capabilities = asks ? declared : {};
  const client = new Client({ name: "referee", version: "1.0.0" }, { capabilities });
  client.onerror = (error) => appendFileSync(spec.errors, `client: ${error}\n`);
  if (asks) {
    client.setRequestHandler(types.CreateMessageRequestSchema, async (request) => {
      note("sampling", request.params);
      return { role: "assistant", content: { type: "text", text: "sampled: grüße" }, model: "referee", stopReason: "endTurn" };
    });
    client.setRequestHandler(types.ElicitRequestSchema, async (request) => {
      note("elicitation", request.params);
      return { action: "accept", content: { name: "Ada", check: true, integer: 7 } };
    });
    client.setRequestHandler(types.ListRootsRequestSchema, async () => {
      note("roots", {});
      return { roots: [{ uri: pathToFileURL(spec.work).href, name: "work" }] };
    });
    client.setNotificationHandler(types.LoggingMessageNotificationSchema, (n) => note("logging", n.params));
    client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, (n) => note("updated", n));
  }
  const [command, ...args] = spec.servers[name];
  const transport = new StdioClientTransport({ command, args, cwd: spec.work, stderr: "pipe" });
  transport.stderr?.on("data", (data) => appendFileSync(spec.errors, data));
  await client.connect(transport);
  return client;
}

function driver(client, steps, events) {
  const step = async (name, promise) => {
    try {
      steps[name] = await promise;
    } catch (error) {
      const code = error.code;
      steps[name] = code === undefined
        ? { exception: `${error}` }
        : { error: { code, message: error.message, ...(error.data === undefined ? {} : { data: error.data }) } };
    }
  };
  const call = (name, tool, args, options) =>
    step(name, client.callTool({ name: tool, arguments: args }, undefined, options));
  const until = async (kind, count = 1) => {
    for (let i = 0; i < 1500; i += 1) {
      if ((events[kind] ?? []).length >= count) return true;
      await sleep(20);
    }
    return false;
  };
  return { step, call, until };
}

async function opening(d, client, steps) {
  steps.initialize = {
    info: client.getServerVersion(),
    capabilities: client.getServerCapabilities(),
    instructions: client.getInstructions(),
  };
  await d.step("tools/list", client.listTools());
  await d.step("ping", client.ping());
}

async function filesystem() {
  const [steps, gated] = [{}, {}];
  const { work, outside } = spec;
  const client = await connect("filesystem", {});
  const d = driver(client, steps, {});
  await opening(d, client, steps);
  await d.call("list_allowed", "list_allowed_directories", {});
  await d.call("list", "list_directory", { path: work });
  await d.call("read", "read_text_file", { path: `${work}/a.txt` });
  await d.call("read head", "read_text_file", { path: `${work}/a.txt`, head: 1 });
  await d.call("read several", "read_multiple_files", { paths: [`${work}/a.txt`, `${work}/ü.txt`] });
  await d.call("read missing", "read_text_file", { path: `${work}/none.txt` });
  await d.call("write", "write_file", { path: `${work}/new.txt`, content: 'Ada\n\u2028\u{1f600} \\ " end\n' });
  await d.call("read back", "read_text_file", { path: `${work}/new.txt` });
  const edits = [{ oldText: "Ada", newText: "Bea" }];
  await d.call("edit dry", "edit_file", { path: `${work}/new.txt`, edits, dryRun: true });
  await d.call("mkdir", "create_directory", { path: `${work}/sub` });
  await d.call("tree", "directory_tree", { path: work });
  await d.call("search", "search_files", { path: work, pattern: "**/*.txt" });
  await d.call("wrong arguments", "read_text_file", { path: 7 });
  await d.step("resources/list", client.listResources());
  const gate = driver(client, gated, {});
  await gate.call("write outside", "write_file", { path: `${outside}/evil.txt`, content: "x" });
  await gate.call("read a key", "read_text_file", { path: `${work}/.ssh/id_ed25519` });
  await gate.call("unlisted tool", "drop_everything", {});
  await gate.call("write inside", "write_file", { path: `${work}/more.txt`, content: "y" });
  await client.close();
  return [steps, gated];
}

async function everything() {
  const [steps, gated, events] = [{}, {}, {}];
  const client = await connect("everything", events);
  const d = driver(client, steps, events);
  await d.until("roots");
  await opening(d, client, steps);
  await d.step("resources/list", client.listResources());
  await d.step("resources/templates", client.listResourceTemplates());
  await d.step("resources/read", client.readResource({ uri: steps["resources/list"].resources[0].uri }));
  await d.step("resources/read dynamic", client.readResource({ uri: "demo://resource/dynamic/text/3" }));
  await d.step("resources/read missing", client.readResource({ uri: "demo://resource/none" }));
  await d.step("prompts/list", client.listPrompts());
  await d.step("prompts/get", client.getPrompt({ name: "simple-prompt" }));
  await d.step("prompts/get args", client.getPrompt({ name: "args-prompt", arguments: { city: "Zürich", state: "ZH" } }));
  await d.step("prompts/get missing", client.getPrompt({ name: "no-such-prompt" }));
  const ref = { type: "ref/prompt", name: "completable-prompt" };
  await d.step("complete", client.complete({ ref, argument: { name: "department", value: "S" } }));
  const context = { arguments: { department: "Engineering" } };
  await d.step("complete context", client.complete({ ref, argument: { name: "name", value: "A" }, context }));
  const template = { type: "ref/resource", uri: "demo://resource/dynamic/text/{resourceId}" };
  await d.step("complete template", client.complete({ ref: template, argument: { name: "resourceId", value: "12" } }));
  await d.step("logging/setLevel", client.setLoggingLevel("debug"));
  await d.call("echo", "echo", { message: "plain" });
  await d.call("echo signs", "echo", { message: '\u0000\u2028\u{1f600} \\u0041 </script> " \\ \t' });
  await d.call("echo large", "echo", { message: "0123456789abcdef".repeat(20_000) });
  await d.call("sum", "get-sum", { a: 0.1, b: 0.2 });
  await d.call("sum negative", "get-sum", { a: -7, b: 1e-7 });
  await d.call("sum wrong", "get-sum", { a: "x", b: 2 });
  await d.call("image", "get-tiny-image", {});
  await d.call("structured", "get-structured-content", { location: "Chicago" });
  await d.call("annotated", "get-annotated-message", { messageType: "error", includeImage: true });
  await d.call("links", "get-resource-links", { count: 3 });
  await d.call("reference", "get-resource-reference", { resourceType: "Text", resourceId: 1 });
  await d.call("roots", "get-roots-list", {});
  const several = Array.from({ length: 24 }, (_, n) => client.callTool({ name: "echo", arguments: { message: `m${n}` } }));
  steps["in parallel"] = await Promise.all(several);

  const progress = [];
  const onprogress = ({ progress: done, total, message }) => progress.push([done, total, message ?? null]);
  await d.call("progress", "trigger-long-running-operation", { duration: 0.6, steps: 3 }, { onprogress });
  steps["progress seen"] = progress;
  await d.call("sampling", "trigger-sampling-request", { prompt: "hello", maxTokens: 5 });
  await d.call("elicitation", "trigger-elicitation-request", {});
  steps["asked for sampling"] = events.sampling ?? [];
  steps["asked for elicitation"] = events.elicitation ?? [];
  await d.step("subscribe", client.subscribeResource({ uri: "demo://resource/dynamic/text/1" }));
  await d.call("updates on", "toggle-subscriber-updates", {});
  await d.until("updated");
  steps.updated = (events.updated ?? []).slice(0, 1);
  await d.step("unsubscribe", client.unsubscribeResource({ uri: "demo://resource/dynamic/text/1" }));
  await d.call("updates off", "toggle-subscriber-updates", {});
  const seen = (events.logging ?? []).length;
  await d.call("logging on", "toggle-simulated-logging", {});
  steps["log message came"] = await d.until("logging", seen + 1);
  await d.call("logging off", "toggle-simulated-logging", {});

  const stop = new AbortController();
  const slow = client.callTool(
    { name: "trigger-long-running-operation", arguments: { duration: 30, steps: 2 } }, undefined, { signal: stop.signal },
  );
  await sleep(300);
  stop.abort("enough");
  await slow.catch(() => { steps.cancelled = true; });
  await d.call("after cancel", "echo", { message: "still here" });
  const gate = driver(client, gated, events);
  await gate.call("environment", "get-env", {});
  await gate.call("research", "simulate-research-query", { topic: "x" });
  await client.close();
  return [steps, gated];
}

// Both at once, as a client with two servers in its configuration does.
const [files, all] = await Promise.all([filesystem(), everything()]);
const out = { filesystem: files[0], "filesystem gated": files[1], everything: all[0], "everything gated": all[1] };
writeFileSync(process.argv[3], JSON.stringify(out, null, 1));
