// What the stock client makes of a framework's endpoint: one line of JSON,
// {messages, state, error, types, answers, stray, bytes, cpu}. Ids are left out, since they are
// random. `bytes` are those of the connection, `cpu` the milliseconds of this process.
//
//     node framework.mjs URL TEXT [resumable | stop]
import diagnostics from "node:diagnostics_channel";

import { HttpAgent } from "@ag-ui/client";

import { resumable } from "../../rx_agui/browser/rx-agui.mjs";

const [, , url, text, how] = process.argv;
console.warn = console.error = () => {};
const answers = [];
let stray = null;  // what would end a process of Node
process.on("unhandledRejection", (reason) => { stray = String(reason?.message ?? reason); });
process.on("uncaughtException", (reason) => { stray = String(reason?.message ?? reason); });
async function noted(where, init) {
  const response = await globalThis.fetch(where, init);
  answers.push(response.headers.get("Rx-Agui-Replay") ?? response.status);
  return response;
}
let socket;
diagnostics.subscribe("undici:client:sendHeaders", (sent) => { socket = sent.socket; });
const fetch = how ? resumable({ fetch: noted, retry: 1, attempts: 50 }) : noted;
const agent = new HttpAgent({
  url,
  fetch,
  threadId: crypto.randomUUID(),
  initialMessages: [{ id: "u1", role: "user", content: text }],
});
let before = process.cpuUsage();
const types = [];
let error = null;
try {
  await agent.runAgent({}, {
    onEvent: ({ event }) => {
      types.push(event.type);
      if (how === "stop" && types.length === 20) agent.abortRun();
    },
    onRunErrorEvent: ({ event }) => { error = `RUN_ERROR: ${event.message}`; },
    onRunFailed: ({ error: reason }) => { error ??= String(reason.message); },
  });
} catch (reason) {
  error ??= String(reason.message);
}
const { user, system } = process.cpuUsage(before);
const bytes = socket?.bytesRead ?? null;
await new Promise((resolve) => setTimeout(resolve, 20));  // a late rejection, if there is one
const messages = agent.messages.map(({ role, content, toolCalls }) => ({ role, content, toolCalls }));
process.stdout.write(JSON.stringify({ messages, state: agent.state, error, types, answers, stray, bytes, cpu: (user + system) / 1000 }) + "\n");
