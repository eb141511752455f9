// CopilotKit's runtime between a page and an agent in Python, over a line that may break.
//
//     AGENT_URL=http://127.0.0.1:8000/agent node server.mjs 4000
//
// Only `fetch: resumable()` is ours. A cut is healed here, so the page never sees one; the
// page's stop aborts the HttpAgent, and `resumable` tells the agent's server to stop.
import { createServer } from "node:http";

import { HttpAgent } from "@ag-ui/client";
import { CopilotRuntime } from "@copilotkit/runtime/v2";
import { createCopilotNodeListener } from "@copilotkit/runtime/v2/node";

import { resumable } from "../../rx_agui/browser/rx-agui.mjs"; // copy it beside this file

/**
 * @param {string} url Where the agent is.
 * @param {Parameters<typeof resumable>[0]} [options]
 */
export function server(url, options) {
  const agent = new HttpAgent({ url, fetch: resumable(options) });
  const runtime = new CopilotRuntime({ agents: { default: agent } });
  return createServer(createCopilotNodeListener({ runtime, basePath: "/api/copilotkit", cors: true }));
}

if (process.argv[1] === import.meta.filename) {
  const { AGENT_URL = "http://127.0.0.1:8000/agent" } = process.env;
  server(AGENT_URL).listen(Number(process.argv[2] ?? 4000), "127.0.0.1");
}
