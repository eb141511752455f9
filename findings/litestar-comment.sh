#!/usr/bin/env bash
# Litestar: an SSE message with only a comment is an event with empty data
#
# Versions: litestar 2.25.0, read by sseclient-py 1.9.0
# Guess:    ServerSentEventMessage(comment="here") is a comment line and a blank line, which readers pass over.
# Seen:     ": here", then "data: ": every reader gets an event with empty data, and CRLF ends its lines.
# Why:      it is the natural keep-alive. A reader that parses each event as JSON fails at it (empty data is an error in
#           @ag-ui/client), and one that counts events counts the keep-alives.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile litestar==2.25.0 sseclient-py==1.9.0
"$dir/v/bin/python" -W ignore - <<'E'
import sys

import sseclient
from litestar.response.sse import ServerSentEventMessage

frame = ServerSentEventMessage(comment="here").encode()
saw = frame, [e.data for e in sseclient.SSEClient(iter([frame])).events()]
print(saw)
sys.exit("CHANGED" if saw != (b": here\r\ndata: \r\n\r\n", [""]) else 0)
E
