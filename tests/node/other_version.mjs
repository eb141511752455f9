// rx-agui.mjs between two servers, of which one may be of another version. Prints what came.
//
//     node other_version.mjs stop URL STOP_URL    aborts a run of URL; its stop goes to STOP_URL
//     node other_version.mjs resume URL ID        goes on behind an id that URL did not write
import { events, resumable } from "../../rx_agui/browser/rx-agui.mjs";

const [, , does, url, other] = process.argv;
const input = { threadId: "t", runId: "run-1" };

async function stop() {
  const aborting = new AbortController();
  const stops = [];
  let settled = Promise.resolve();
  async function noted(target, init) {
    if (init.headers.get("Rx-Agui-Stop") === null) return fetch(target, init);
    const asked = fetch(other, init);
    settled = asked.then(async (response) => stops.push([response.status, await response.clone().text()]));
    return asked;
  }
  const body = JSON.stringify(input);
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body };
  const response = await resumable({ fetch: noted })(url, { ...init, signal: aborting.signal });
  const reader = response.body.getReader();
  const first = new TextDecoder().decode((await reader.read()).value);
  aborting.abort();
  await reader.read().catch(() => {});
  await settled;
  return { first, stops };
}

async function resume() {
  const came = [];
  try {
    for await (const event of events(url, { input, lastEventId: other })) came.push(event);
  } catch ({ code, message }) {
    return { came, code, message };
  }
  return { came };
}

process.stdout.write(JSON.stringify(await { stop, resume }[does]()));
