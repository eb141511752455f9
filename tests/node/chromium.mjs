// A Chromium of its own: nothing remembered, nothing asked of anybody else.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { chromium } from "playwright-core";

const QUIET = [
  "--no-sandbox", // it may run as root, in a container
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Open a page in `executablePath`, do it, and close everything. */
export async function withPage(executablePath, options, doIt) {
  const folder = mkdtempSync(join(tmpdir(), "rx-agui-chromium-"));
  const settings = { executablePath, headless: true, args: QUIET, ...options };
  const context = await chromium.launchPersistentContext(folder, settings);
  try {
    const page = context.pages()[0];
    page.on("pageerror", (error) => {
      throw error;
    });
    return await doIt(page);
  } finally {
    await context.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
