// Unmodified AG-UI clients on `resumable`, over a line that is cut. Prints for each run
// what the client made of it, and what it took.
//
//     node cut_runs.mjs PACKAGE URL < one runId a line
import { readFileSync } from "node:fs";

const [, , name, url] = process.argv;
const { HttpAgent } = await import(name);
const asked = JSON.parse(process.argv[4] ?? "{}");
const { module = "../../rx_agui/browser/rx-agui.mjs", ...options } = asked;
const { resumable } = await import(module);

async function read(runId) {
  const events = [];
  const answers = [];
  let last = {};
  const onstate = (status) => (last = status);
  async function noted(url, init) {
    const response = await globalThis.fetch(url, init);
    answers.push(response.headers.get("Rx-Agui-Replay") ?? response.status);
    return response;
  }
  const fetch = resumable({ fetch: noted, retry: 1, maxRetry: 2, attempts: 50, onstate, ...options });
  const agent = new HttpAgent({ url, fetch, threadId: "thread-1" });
  let error = null;
  try {
    await agent.runAgent({ runId }, { onEvent: ({ event }) => void events.push(event) });
  } catch (reason) {
    error = String(reason.message);
  }
  const { messages, state } = agent;
  const why = last.error && String(last.error);
  const made = { runId, events, answers, messages, state, error, last: { ...last, error: why } };
  process.stdout.write(JSON.stringify(made) + "\n");
}

const runIds = readFileSync(0, "utf8").trim().split("\n");
async function readAll() {
  while (runIds.length > 0) await read(runIds.shift());
}
await Promise.all([readAll(), readAll(), readAll(), readAll()]); // most of it is waiting
process.stdout.write("alive\n");
