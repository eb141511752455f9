// Plays the browser against server.mjs and app.py, and cuts the line between the two.
//
//     page (this) ──▶ runtime (server.mjs) ──▶ ✂ ──▶ app.py
//
//     PYTHON=.venv/bin/python node cut.mjs
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { ProxiedCopilotRuntimeAgent } from "@copilotkit/core";

import { server } from "./server.mjs";

const HOST = "127.0.0.1";
const { PYTHON = "python3" } = process.env;
console.warn = () => {};

/** @param {import("node:net").Server} listening */
async function port(listening) {
  listening.listen(0, HOST);
  await once(listening, "listening");
  return listening.address().port;
}

async function freePort() {
  const probe = createServer();
  const found = await port(probe);
  probe.close();
  return found;
}

/** Bytes of an answer behind which its connection is reset; behind them, none is. */
const cuts = [];
let cut = 0;

/** @param {number} to */
const line = (to) =>
  createServer((from) => {
    const upstream = connect(to, HOST);
    let left = cuts.shift() ?? Infinity;
    from.pipe(upstream);
    upstream.on("data", (bytes) => {
      from.write(bytes.subarray(0, left));
      if ((left -= bytes.length) > 0) return;
      cut += 1;
      left = Infinity;
      from.resetAndDestroy();
      upstream.destroy();
    });
    upstream.on("end", () => from.end());
    for (const side of [from, upstream]) {
      side.on("error", () => {});
      side.on("close", () => (from.destroy(), upstream.destroy()));
    }
  });

const python = await freePort();
const app = spawn(PYTHON, [new URL("app.py", import.meta.url).pathname, String(python)], {
  stdio: "inherit",
});
process.on("exit", () => app.kill()); // whatever ends this process
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

/** @param {() => Promise<boolean>} isSo */
async function until(isSo, seconds = 30) {
  for (const end = Date.now() + 1000 * seconds; Date.now() < end; await sleep(2)) {
    if (await isSo()) return;
  }
  assert.fail(`not within ${seconds} s: ${isSo}`);
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
  cuts.push(800, 700);
  const reader = page("t1", "tell");
  await reader.runAgent({ runId: "run-1" });
  assert.equal(cut, 2);
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
