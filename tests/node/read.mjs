// What the stock client makes of bodies: reads one {"body": base64, "headers": {...}} a
// line, prints one line for each, {error, events, warnings, messages}. The agent is an
// HttpAgent as it is; only its fetch is ours, and gives the body in pieces of 64 KiB.
//
//     node read.mjs PACKAGE < bodies.jsonl
import { readFileSync } from "node:fs";

const { HttpAgent } = await import(process.argv[2]);
const warnings = [];
console.warn = (...said) => warnings.push(said.join(" "));
console.error = () => {};
let stray = null;
process.on("unhandledRejection", (reason) => { stray = reason; });
process.on("uncaughtException", (reason) => { stray = reason; });

const PIECE = 65536;

function answering(body, headers) {
  return async () => new Response(new ReadableStream({
    start(controller) {
      for (let at = 0; at < body.length; at += PIECE) {
        controller.enqueue(body.subarray(at, at + PIECE));
      }
      controller.close();
    },
  }), { headers: { "content-type": "text/event-stream", ...headers } });
}

for (const line of readFileSync(0, "utf8").trimEnd().split("\n")) {
  const { body, headers } = JSON.parse(line);
  const fetch = answering(Buffer.from(body, "base64"), headers);
  const agent = new HttpAgent({ url: "http://127.0.0.1/", threadId: "thread-1", fetch });
  let error = null;
  let events = 0;
  stray = null;
  warnings.length = 0;
  try {
    await agent.runAgent({}, {
      onEvent: () => { events++; },
    });
  } catch (reason) {
    error = String(reason?.message ?? reason);
  }
  await new Promise((soon) => setImmediate(soon));
  error ??= stray && String(stray.message ?? stray);
  const { messages } = agent;
  process.stdout.write(JSON.stringify({ error, events, warnings, messages }) + "\n");
}
