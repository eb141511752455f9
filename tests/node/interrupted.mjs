// Unmodified clients whose run is interrupted, and answered under the same runId. Prints what
// came of it, what the same requests are answered when they are sent again, and what another
// client is told that answers a run which is not over.
//
//     node interrupted.mjs PACKAGE URL resume|command
const [, , name, url, way] = process.argv;
const { HttpAgent } = await import(name);
console.warn = console.error = () => {};

/** As the protocol has it, and as CopilotKit calls an agent of LangGraph. */
const ANSWERS = {
  resume: { resume: [{ interruptId: "i", status: "resolved", payload: "yes" }] },
  command: { forwardedProps: { command: { resume: "yes" } } },
};

const requests = [];
const replays = [];
async function noted(url, init) {
  const response = await fetch(url, init);
  requests.push(init);
  replays.push(response.headers.get("Rx-Agui-Replay") ?? response.status);
  return response;
}

const made = (threadId) => new HttpAgent({ url, threadId, fetch: noted });
const agent = made("thread-1");
await agent.runAgent({ runId: "run-1" });
await agent.runAgent({ runId: "run-1", ...ANSWERS[way] });
const texts = agent.messages.map(({ content }) => content);
const again = [];
for (const { signal, ...init } of requests.slice()) again.push(await (await noted(url, init)).text());

let begun;
const isBegun = new Promise((resolve) => (begun = resolve));
const slow = made("thread-2").runAgent({ runId: "slow" }, { onRunStartedEvent: begun });
await isBegun;
let refused = null;
try {
  await made("thread-2").runAgent({ runId: "slow", ...ANSWERS[way] });
} catch (error) {
  refused = String(error.message);
}
await fetch(`${url}go`);
await slow;
process.stdout.write(JSON.stringify({ texts, replays, again, refused }));
