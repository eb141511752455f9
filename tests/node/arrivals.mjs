// When events arrive in a page: [number, milliseconds since the epoch] of each, by reader.
//
//     node arrivals.mjs CHROMIUM PAGE '{"name": ["EventSource" | "fetch", url], ...}'
import { withPage } from "./chromium.mjs";

const [, , executablePath, home, asked] = process.argv;

/** In the page: all of them at the same time, each to the end of its run. */
async function arrivals(readers) {
  const now = () => performance.timeOrigin + performance.now();

  function byEventSource(url) {
    return new Promise((resolve) => {
      const came = [];
      const source = new EventSource(url);
      source.onmessage = ({ data }) => {
        const { type, value } = JSON.parse(data);
        if (type === "CUSTOM") came.push([value, now()]);
        if (type !== "RUN_FINISHED") return;
        source.close();
        resolve(came);
      };
    });
  }

  async function byFetch(url) {
    const came = [];
    const reader = (await fetch(url)).body.getReader();
    const decoder = new TextDecoder();
    for (let rest = "", read; !(read = await reader.read()).done; ) {
      const frames = (rest + decoder.decode(read.value, { stream: true })).split("\n\n");
      rest = frames.pop();
      for (const frame of frames) {
        const [, number] = /"value":(\d+)/.exec(frame) ?? [];
        if (number !== undefined) came.push([Number(number), now()]);
      }
    }
    return came;
  }

  const ways = { EventSource: byEventSource, fetch: byFetch };
  const entries = Object.entries(readers).map(async ([name, [way, url]]) => [name, await ways[way](url)]);
  return Object.fromEntries(await Promise.all(entries));
}

const all = await withPage(executablePath, {}, async (page) => {
  await page.goto(home);
  return page.evaluate(arrivals, JSON.parse(asked));
});
process.stdout.write(JSON.stringify(all));
