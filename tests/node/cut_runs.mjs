// Unmodified AG-UI clients on `resumable`, over a line that is cut. Prints for each run
// what the client made of it, and what it took.
//
//     node cut_runs.mjs PACKAGE URL < one runId a line
import { readFileSync } from "node:fs";

import { resumable } from "../../rx_agui/browser/rx-agui.mjs";

const [, , name, url] = process.argv;
const { HttpAgent } = await import(name);
const options = JSON.parse(process.argv[4] ?? "{}");

for (const runId of readFileSync(0, "utf8").trim().split("\n")) {
  const events = [];
  const said = [];
  const onstate = (status) => said.push(status);
  const fetch = resumable({ retry: 2, maxRetry: 2, attempts: 50, onstate, ...options });
  const agent = new HttpAgent({ url, fetch, threadId: "thread-1" });
  let error = null;
  try {
    await agent.runAgent({ runId }, { onEvent: ({ event }) => void events.push(event) });
  } catch (reason) {
    error = String(reason.message);
  }
  const { messages, state } = agent;
  const { connections, duplicates, error: why } = said.at(-1);
  const last = { state: said.at(-1).state, connections, duplicates, why: why && String(why) };
  process.stdout.write(JSON.stringify({ runId, events, messages, state, error, last }) + "\n");
}
process.stdout.write("alive\n");
