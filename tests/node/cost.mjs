// What it costs the stock client to apply events: reads one JSON array of events a line,
// prints one line for each, {ms, callbacks}: processor time, and how often it called back.
// There are so many messages in the conversation already. The first line warms up.
//
//     node cost.mjs PACKAGE MESSAGES < streams.jsonl
import { readFileSync } from "node:fs";
import { from } from "rxjs";

const { AbstractAgent } = await import(process.argv[2]);
const messages = Array.from({ length: Number(process.argv[3]) }, (_, i) => ({
  id: `before-${i}`,
  role: i % 2 ? "assistant" : "user",
  content: "lorem ipsum ".repeat(40),
}));

class Recorded extends AbstractAgent {
  constructor(events) {
    super({ threadId: "thread-1", initialMessages: messages });
    this.events = events;
  }

  run() {
    return from(this.events);
  }
}

for (const line of readFileSync(0, "utf8").trimEnd().split("\n")) {
  const agent = new Recorded(JSON.parse(line));
  let callbacks = 0;
  const begun = process.cpuUsage();
  await agent.runAgent({}, { onMessagesChanged: () => { callbacks += 1; } });
  const { user, system } = process.cpuUsage(begun);
  process.stdout.write(JSON.stringify({ ms: (user + system) / 1000, callbacks }) + "\n");
}
