// Plays a page of assistant-ui against app.py of ../copilotkit, and cuts the line.
//
//     page (this) ──▶ ✂ ──▶ app.py
//
//     PYTHON=.venv/bin/python node cut.mjs
//
// A page says useAgUiRuntime({ agent }), which is this core within React.
import assert from "node:assert/strict";

import { HttpAgent } from "@ag-ui/client";

import { resumable } from "../../rx_agui/browser/rx-agui.mjs"; // copy it beside this file
import { HOST, cuts, freePort, line, port, started, until } from "../copilotkit/line.mjs";
import { AgUiThreadRuntimeCore } from "./node_modules/@assistant-ui/react-ag-ui/dist/runtime/AgUiThreadRuntimeCore.js";

const { PYTHON = "python3" } = process.env;
const python = await freePort();
started(PYTHON, python);
const url = `http://${HOST}:${await port(line(python))}/agent`;

async function told() {
  return (await fetch(`http://${HOST}:${python}/told`)).json();
}

/** @param {() => void} [notifyUpdate] */
function thread(threadId, notifyUpdate = () => {}) {
  const agent = new HttpAgent({ url, threadId, fetch: resumable({ retry: 5, maxRetry: 20 }) });
  const logger = { error() {}, warn() {}, info() {}, debug() {} };
  return new AgUiThreadRuntimeCore({ agent, logger, showThinking: false, notifyUpdate });
}

/** What the user types. */
function typed(thread, text) {
  const content = [{ type: "text", text }];
  const rest = { parentId: null, attachments: [], metadata: { custom: {} }, createdAt: new Date() };
  return thread.append({ ...rest, role: "user", content, startRun: true });
}

const last = (thread) => thread.getMessages().at(-1);
const said = (thread) => last(thread).content.map(({ text }) => text).join("").trim();

await until(() => told().then(() => true, () => false));

const story = Array.from({ length: 400 }, (_, index) => `${index + 1} mice went home.`).join(" ");
cuts.next.push(800, 700);
const reader = thread("t1");
await typed(reader, "tell");
assert.equal(cuts.made, 2);
assert.equal(said(reader), story);
assert.equal(last(reader).status.type, "complete");
console.log(`the line was cut twice: all ${story.length} characters came`);

const asked = thread("t2");
await typed(asked, "ask");
const { interrupts } = asked.getPendingInterrupts();
assert.deepEqual(interrupts.map(({ message }) => message), ["Sure?"]);
await asked.submitInterruptResponses(
  interrupts.map(({ id }) => ({ interruptId: id, status: "resolved", payload: "yes" })),
);
assert.equal(said(asked), "You said yes.");
console.log("an interrupt was answered: the answer arrived");

let speaks;
const spoken = new Promise((resolve) => (speaks = resolve));
const waits = thread("t3", () => last(waits)?.role === "assistant" && said(waits) !== "" && speaks());
const running = typed(waits, "wait");
await spoken;
const aborted = Date.now();
await waits.cancel();
await until(async () => (await told()).closed.includes("wait"));
const took = Date.now() - aborted;
await running;
assert.equal(last(waits).status.type, "incomplete"); // for the reason "error", as without us
assert.notEqual(said(waits), "");
console.log(`stop: ${took} ms from the page to the agent's finally; what was said stays`);

assert.deepEqual((await told()).begun, ["tell", "ask", "answered", "wait"]);
console.log("each agent began once");
process.exit(0);
