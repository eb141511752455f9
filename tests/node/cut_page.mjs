// The demo's page in Chromium: starts a run, cuts the line twice, waits for the end, and
// prints what a reader sees there.
//
//     node cut_page.mjs CHROMIUM URL PROFILE [light|dark PICTURE]
import { withPage } from "./chromium.mjs";

const [, , executablePath, url, profile, colorScheme = "light", picture] = process.argv;
const options = { colorScheme, viewport: { width: 1180, height: 780 } };

const count = async (page, id) => Number(await page.textContent(`#${id}`));
const grown = ([id, than]) => Number(document.getElementById(id).textContent) > than;

const seen = await withPage(executablePath, options, async (page) => {
  const complaints = [];
  page.on("console", (message) => complaints.push(message.text()));
  await page.goto(url);
  await page.selectOption("#profile", profile);
  await page.click("#start");
  await page.waitForSelector(".answer p");
  for (const button of ["#cut", "#down"]) {
    await page.waitForFunction(grown, ["events", (await count(page, "events")) + 5]);
    const connections = await count(page, "connections");
    await page.click(button);
    await page.waitForFunction(grown, ["connections", connections]);
  }
  await page.waitForFunction(() => document.documentElement.dataset.run === "over");
  if (picture) {
    await page.waitForSelector(".proof");
    await page.screenshot({ path: picture });
  }
  return page.evaluate((complaints) => {
    const text = (selector) => document.querySelector(selector)?.textContent ?? null;
    return {
      answer: text(".answer p"),
      thought: text(".thought p"),
      call: text(".call pre"),
      state: JSON.parse(text("#agentState")),
      says: text("#state"),
      proof: text(".proof"),
      error: text(".error"),
      duplicates: Number(text("#duplicates")),
      lastEventId: text("#lastEventId"),
      timeline: document.getElementById("timeline").getAttribute("aria-label"),
      elsewhere: performance.getEntriesByType("resource").filter(({ name }) => !name.startsWith(location.origin)).length,
      complaints,
    };
  }, complaints);
});
process.stdout.write(JSON.stringify(seen));
