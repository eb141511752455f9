// A line that is cut, and what else a script needs that plays a page.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export const HOST = "127.0.0.1";

/** @param {import("node:net").Server} listening */
export async function port(listening) {
  listening.listen(0, HOST);
  await once(listening, "listening");
  return listening.address().port;
}

export async function freePort() {
  const probe = createServer();
  const found = await port(probe);
  probe.close();
  return found;
}

/** Bytes of an answer behind which its connection is reset; behind them, none is. */
export const cuts = { next: [], made: 0 };

/** @param {number} to */
export const line = (to) =>
  createServer((from) => {
    const upstream = connect(to, HOST);
    let left = cuts.next.shift() ?? Infinity;
    from.pipe(upstream);
    upstream.on("data", (bytes) => {
      from.write(bytes.subarray(0, left));
      if ((left -= bytes.length) > 0) return;
      cuts.made += 1;
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

/** Starts app.py; whatever ends this process ends it. */
export function started(python, port) {
  const script = new URL("app.py", import.meta.url).pathname;
  const app = spawn(python, [script, String(port)], { stdio: "inherit" });
  process.on("exit", () => app.kill());
}

/** @param {() => Promise<boolean>} isSo */
export async function until(isSo, seconds = 30) {
  for (const end = Date.now() + 1000 * seconds; Date.now() < end; await sleep(2)) {
    if (await isSo()) return;
  }
  assert.fail(`not within ${seconds} s: ${isSo}`);
}
