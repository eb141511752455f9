// What the stock client's schemas say of events: reads one event as JSON a line, prints
// "ok" or the path of what is wrong, a line for each.
//
//     node validate.mjs < events.jsonl
import { readFileSync } from "node:fs";
import { EventSchemas } from "@ag-ui/core/schemas";

// Not readline, which also ends a line at U+2028.
for (const line of readFileSync(0, "utf8").trimEnd().split("\n")) {
  const made = EventSchemas.safeParse(JSON.parse(line));
  console.log(made.success ? "ok" : made.error.issues[0].path.join(".") || "type");
}
