// What resumable() closes: reads one JSON array of events a line, which come from a server
// without ids and are cut off; prints, for each line, the events that were handed on behind them.
//
//     node closing.mjs < streams.jsonl
import { readFileSync } from "node:fs";

import { resumable } from "../../rx_agui/browser/rx-agui.mjs";

for (const line of readFileSync(0, "utf8").trimEnd().split("\n")) {
  const events = JSON.parse(line);
  const body = events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
  const headers = { "content-type": "text/event-stream" };
  const read = resumable({ fetch: async () => new Response(body, { headers }) });
  const text = await (await read("http://127.0.0.1/")).text();
  const frames = text.split("\n\n").slice(events.length, -1);
  process.stdout.write(`[${frames.map((frame) => frame.slice("data: ".length))}]\n`);
}
