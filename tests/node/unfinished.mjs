// What an unmodified HttpAgent sends with the run behind one that failed, for each URL: the
// messages of its second request.
//
//     node unfinished.mjs PACKAGE URL [URL ...]
const [, , name, ...urls] = process.argv;
const { HttpAgent } = await import(name);
console.warn = console.error = () => {};

for (const url of urls) {
  const sent = [];
  const told = [];
  const agent = new HttpAgent({
    url,
    threadId: "thread-1",
    fetch: (to, init) => (sent.push(JSON.parse(init.body).messages), fetch(to, init)),
  });
  const subscriber = { onRunErrorEvent: ({ event }) => { told.push(event.code); } };
  for (const runId of ["run-1", "run-2"]) await agent.runAgent({ runId }, subscriber);
  process.stdout.write(JSON.stringify({ messages: sent[1], told }) + "\n");
}
