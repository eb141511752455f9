// What the stock client makes of events: reads one JSON array of events a line, prints
// one line for each, {messages, state, error}. No network is between. A client that has
// a history is {events, messages, state} instead of the array.
//
//     node reduce.mjs PACKAGE < streams.jsonl
import { readFileSync } from "node:fs";
import { from } from "rxjs";

const { AbstractAgent } = await import(process.argv[2]);
console.warn = console.error = () => {};

class Recorded extends AbstractAgent {
  constructor({ events, messages = [], state = {} }) {
    super({ threadId: "thread-1", initialMessages: messages, initialState: state });
    this.events = events;
  }

  run() {
    return from(this.events);
  }
}

// Not readline, which also ends a line at U+2028.
for (const line of readFileSync(0, "utf8").trimEnd().split("\n")) {
  const read = JSON.parse(line);
  const agent = new Recorded(Array.isArray(read) ? { events: read } : read);
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
