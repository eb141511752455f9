#!/usr/bin/env bash
# falcon, better-sse, blacksheep: a text of two lines does not come out of their SSE writers as it went in
#
# Versions: falcon 4.4.0, blacksheep 2.6.4, better-sse 0.16.1 (createEventBuffer, with a serializer that leaves text alone)
# Guess:    each line of the text gets a `data:` field of its own, so a reader has the text back.
# Seen:     falcon and better-sse write the field once and the second line bare behind it, so readers get "one" only;
#           blacksheep writes a backslash and an n into the data. better-sse also puts no space behind the colon, so
#           " x" is read as "x", and blacksheep writes no data field at all for an empty text: no event.
# Why:      code or Markdown streamed as plain text is cut at its first line end, at the reader's side without an error.
#           Send JSON (its line ends are escaped), or split the lines before such a writer sees them.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile falcon==4.4.0 blacksheep==2.6.4 sseclient-py==1.9.0
npm install --prefix "$dir" --silent --no-audit --no-fund --ignore-scripts better-sse@0.16.1 eventsource-parser@3.1.1 >/dev/null
"$dir/v/bin/python" -W ignore - <<'E'
import sys

import sseclient
from blacksheep.server.sse import TextServerSentEvent, write_sse
from falcon.asgi import SSEvent


def read(frame):
    return [e.data for e in sseclient.SSEClient(iter([frame])).events()]


saw = {
    "falcon": [read(SSEvent(text=text).serialize()) for text in ("one\ntwo", " x", "")],
    "blacksheep": [read(write_sse(TextServerSentEvent(text))) for text in ("one\ntwo", " x", "")],
}
print(saw)
want = {"falcon": [["one"], [" x"], [""]], "blacksheep": [["one\\ntwo"], [" x"], []]}
sys.exit("CHANGED" if saw != want else 0)
E
cat > "$dir/run.mjs" <<'E'
import { createEventBuffer } from 'better-sse'
import { createParser } from 'eventsource-parser'
const read = text => {
  const buffer = createEventBuffer({ serializer: x => x })
  buffer.data(text).dispatch()
  const got = []
  createParser({ onEvent: e => got.push(e.data) }).feed(buffer.read())
  return got
}
const saw = ['one\ntwo', ' x', ''].map(read)
console.log('better-sse', JSON.stringify(saw))
if (JSON.stringify(saw) !== JSON.stringify([['one'], ['x'], ['']])) { console.log('CHANGED'); process.exit(1) }
E
node "$dir/run.mjs"
