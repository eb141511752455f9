// What it costs the stock client to apply events: reads one JSON array of events a line,
// prints one line for each, {ms, callbacks}: processor time, and how often it called back.
// There are so many messages in the conversation already. The first line warms up.
//
//     node _client.mjs FOLDER PACKAGE MESSAGES < streams.jsonl
//
// The package is the one that a script in FOLDER would import; without one the status is 69.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, name, count] = process.argv.slice(2);

async function imported(name, from) {
  return import(pathToFileURL(createRequire(from).resolve(name)));
}

let path;
try {
  path = createRequire(join(folder, "script.js")).resolve(name);
} catch (error) {
  if (error.code !== "MODULE_NOT_FOUND") throw error;
  process.exit(69);
}
const { AbstractAgent } = await import(pathToFileURL(path));
const { from } = await imported("rxjs", path); // its own

const messages = Array.from({ length: Number(count) }, (_, i) => ({
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
