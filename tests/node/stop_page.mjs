// A page in Chromium that aborts its run, or goes. Prints when it aborted, in milliseconds since
// the epoch, and what the page that came after it read by joining.
//
//     node stop_page.mjs CHROMIUM URL aborts|goes RUN
import { withPage } from "./chromium.mjs";

const [, , executablePath, url, how, run] = process.argv;

/** In the page: the run up to its first event. */
async function begin([url, run]) {
  const { resumable } = await import("/rx-agui.mjs");
  window.aborting = new AbortController();
  const { signal } = window.aborting;
  const body = JSON.stringify({ runId: run, messages: [] });
  const response = await resumable()(url, { method: "POST", body, signal });
  await response.body.getReader().read();
}

const said = await withPage(executablePath, {}, async (page) => {
  await page.goto(`${url}/`);
  await page.evaluate(begin, [`/${run}`, run]);
  if (how === "aborts") {
    const at = await page.evaluate(() => {
      const now = Date.now();
      window.aborting.abort();
      return now;
    });
    await page.evaluate(() => fetch("/closed")); // which is answered when the agent is
    return { at };
  }
  await page.goto(`${url}/?next`);
  const read = await page.evaluate(async (run) => {
    const joined = await fetch(`/${run}?join=${run}`);
    await fetch("/go");
    return joined.text();
  }, run);
  return { read };
});
process.stdout.write(JSON.stringify(said));
