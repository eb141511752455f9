// What the stock client makes of events: reads one JSON array of events a line, prints
// one line for each, {messages, state, error}. No network is between.
//
//     node reduce.mjs PACKAGE < streams.jsonl
import { readFileSync } from "node:fs";
import { from } from "rxjs";

const { AbstractAgent } = await import(process.argv[2]);
console.warn = console.error = () => {};

class Recorded extends AbstractAgent {
  constructor(events) {
    super({ threadId: "thread-1" });
    this.events = events;
  }

  run() {
    return from(this.events);
  }
}

// Not readline, which also ends a line at U+2028.
for (const line of readFileSync(0, "utf8").trimEnd().split("\n")) {
  const agent = new Recorded(JSON.parse(line));
  let error = null;
  try {
    await agent.runAgent({}, {
      onRunErrorEvent: ({ event }) => { error = `RUN_ERROR: ${event.message}`; },
    });
  } catch (reason) {
    error = String(reason.message);
  }
  const { messages, state } = agent;
  process.stdout.write(JSON.stringify({ messages, state, error }) + "\n");
}
