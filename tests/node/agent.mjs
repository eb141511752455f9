// What an unmodified HttpAgent makes of a URL: one line for each, {messages, state, error,
// events, unhandled}. Node's own rule, that an unhandled rejection ends the process, holds:
// whoever lives to write its line has survived.
//
//     node agent.mjs PACKAGE URL [URL ...]
const [, , name, ...urls] = process.argv;
const { HttpAgent } = await import(name);
console.warn = console.error = () => {};

for (const url of urls) {
  const agent = new HttpAgent({ url, threadId: "thread-1" });
  const types = [];
  let error = null;
  try {
    await agent.runAgent({}, {
      onEvent: ({ event }) => { types.push(event.type); },
      onRunErrorEvent: ({ event }) => { error = `RUN_ERROR: ${event.message}`; },
      onRunFailed: ({ error: reason }) => { error ??= String(reason.message); },
    });
  } catch (reason) {
    error ??= String(reason.message);
  }
  await new Promise((resolve) => setTimeout(resolve, 20));  // a late rejection, if there is one
  const { messages, state } = agent;
  process.stdout.write(JSON.stringify({ messages, state, error, events: types.length }) + "\n");
}
