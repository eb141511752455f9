// What fast-json-patch, in the stock client's hands, makes of patches: reads one JSON
// {document, patch} a line, prints {document} or {fails: true} for each.
import { readFileSync } from "node:fs";
import jsonpatch from "fast-json-patch";

for (const line of readFileSync(0, "utf8").trimEnd().split("\n")) {
  const { document, patch } = JSON.parse(line);
  let made;
  try {
    made = { document: jsonpatch.applyPatch(document, patch, true, false).newDocument };
    JSON.stringify(made); // a document put into itself is a circle
  } catch {
    made = { fails: true };
  }
  process.stdout.write(JSON.stringify(made) + "\n");
}
