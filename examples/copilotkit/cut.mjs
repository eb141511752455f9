// Plays the browser against server.mjs and app.py, and cuts the line between the two.
//
//     page (this) ──▶ runtime (server.mjs) ──▶ ✂ ──▶ app.py
//
//     PYTHON=.venv/bin/python node cut.mjs
import assert from "node:assert/strict";

import { ProxiedCopilotRuntimeAgent } from "@copilotkit/core";

import { HOST, cuts, freePort, line, port, started, until } from "./line.mjs";
import { server } from "./server.mjs";

const { PYTHON = "python3" } = process.env;
console.warn = () => {};

const python = await freePort();
started(PYTHON, python);
const cutting = line(python);
const url = `http://${HOST}:${await port(cutting)}/agent`;
/** What the runtime has sent to Python. */
const requests = [];
const noted = (target, init) => (requests.push(init), fetch(target, init));
const runtime = server(url, { retry: 5, maxRetry: 20, fetch: noted });
const runtimeUrl = `http://${HOST}:${await port(runtime)}/api/copilotkit`;

async function told() {
  return (await fetch(`http://${HOST}:${python}/told`)).json();
}

/** A page with one message of its user's. */
function page(threadId, content) {
  const agent = new ProxiedCopilotRuntimeAgent({ runtimeUrl, agentId: "default", transport: "rest" });
  agent.threadId = threadId;
  agent.setMessages([{ id: `${threadId}-1`, role: "user", content }]);
  return agent;
}

/** The same request once more, or another under its runId, without the runtime. */
function sent({ headers, body }, more = {}) {
  const input = { ...JSON.parse(body), ...more };
  return fetch(url, { method: "POST", headers, body: JSON.stringify(input) });
}

const said = ({ messages }) =>
  messages.filter(({ role }) => role === "assistant").map(({ content }) => content.trim());

try {
  await until(() => told().then(() => true, () => false));

  const story = Array.from({ length: 400 }, (_, index) => `${index + 1} mice went home.`).join(" ");
  cuts.next.push(800, 700);
  const reader = page("t1", "tell");
  await reader.runAgent({ runId: "run-1" });
  assert.equal(cuts.made, 2);
  assert.deepEqual(said(reader), [story]);
  console.log(`the line was cut twice: all ${story.length} characters came`);

  const asked = page("t2", "ask");
  let outcome;
  await asked.runAgent({ runId: "run-2" }, { onRunFinishedEvent: ({ event }) => void ({ outcome } = event) });
  assert.equal(outcome.type, "interrupt");
  const resume = [{ interruptId: "i", status: "resolved", payload: "yes" }];
  await asked.runAgent({ runId: "run-2", resume }); // as useInterrupt does
  assert.deepEqual(said(asked), ["You said yes."]);
  console.log("an interrupt was answered under its runId: the answer arrived");

  for (const [index, text] of ["Sure?", "You said yes."].entries()) {
    const again = await sent(requests.at(index - 2));
    assert.equal(again.headers.get("Rx-Agui-Replay"), "prelude");
    assert.ok((await again.text()).includes(text));
  }
  console.log("both requests once more: each joined its own run");

  const waits = page("t3", "wait");
  let begins;
  const begun = new Promise((resolve) => (begins = resolve));
  const stopped = waits.runAgent({ runId: "run-3" }, { onTextMessageContentEvent: begins });
  await begun;
  const refused = await sent(requests.at(-1), { resume });
  assert.equal(refused.status, 409);
  console.log(`an answer while the run goes on: 409, ${(await refused.text()).trim()}`);

  const aborted = Date.now();
  waits.abortRun();
  await until(async () => (await told()).closed.includes("wait"));
  const took = Date.now() - aborted;
  await stopped.catch(() => {});
  console.log(`stop: ${took} ms from the page to the agent's finally`);

  assert.deepEqual((await told()).begun, ["tell", "ask", "answered", "wait"]);
  console.log("each agent began once");
} finally {
  for (const one of [runtime, cutting]) one.close();
}
process.exit(0);
