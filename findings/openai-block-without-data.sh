#!/usr/bin/env bash
# openai (Python): a block that holds only `retry:`, `id:` or `event:` ends the stream with a JSON error
#
# Versions: openai 3.57.0
# Guess:    a block without data is no event and is passed over, as a comment is.
# Seen:     JSONDecodeError "Expecting value" in the loop over the stream. A comment, an empty line or a `retry:` in the
#           block of an event do no harm.
# Why:      a proxy or a gateway that speaks to this client and sends `retry:` ahead of the first event, or a position by
#           itself, breaks it. Such fields belong into the block of an event, keep-alives into a comment.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile openai==3.57.0
"$dir/v/bin/python" - <<'E'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai

BETWEEN = {"comment": ": here\n\n", "empty": "\n\n", "retry inside": "retry: 1000\n", "retry": "retry: 1000\n\n", "id": "id: 5\n\n", "event": "event: ping\n\n"}


def chunk(text):
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": text}}]}
    return f"data: {json.dumps(body)}\n\n"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write((chunk("a") + BETWEEN[asked["model"]] + chunk("b") + "data: [DONE]\n\n").encode())

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{server.server_port}/v1", max_retries=0)
saw = {}
for name in BETWEEN:
    saw[name] = ""
    try:
        for part in client.chat.completions.create(model=name, messages=[{"role": "user", "content": "x"}], stream=True):
            saw[name] += part.choices[0].delta.content
    except ValueError as error:
        saw[name] += f" then {type(error).__name__}"
server.shutdown()
print(saw)
broken = dict.fromkeys(("retry", "id", "event"), "a then JSONDecodeError")
sys.exit("CHANGED" if saw != {"comment": "ab", "empty": "ab", "retry inside": "ab", **broken} else 0)
E
