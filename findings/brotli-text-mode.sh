#!/usr/bin/env bash
# brotli: MODE_TEXT changes no byte of the output
#
# Versions: brotli 1.2.1
# Guess:    for UTF-8 text, mode=MODE_TEXT gives a little less than MODE_GENERIC, at the higher qualities at least.
# Seen:     the same bytes at every quality from 0 to 11, whole or flushed per event, for English, Chinese and JSON.
# Why:      it stands in many settings for text/event-stream as a free gain. There is none: quality and the window size
#           are the only two knobs, and nothing is lost by leaving the mode away.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile brotli==1.2.1
"$dir/v/bin/python" - <<'E'
import sys

import brotli

texts = {
    "english": ["the agent reads page %d and writes its answer token by token, " % n for n in range(200)],
    "chinese": ["代理读第%d页并逐字写出回答，" % n for n in range(200)],
    "events": ['data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"token %d "}\n\n' % n for n in range(200)],
}


def flushed(parts, quality, mode):
    c = brotli.Compressor(quality=quality, mode=mode)
    return b"".join(c.process(p.encode()) + c.flush() for p in parts) + c.finish()


def whole(parts, quality, mode):
    return brotli.compress("".join(parts).encode(), quality=quality, mode=mode)


differ = [
    (name, quality, how.__name__)
    for name, parts in texts.items()
    for quality in range(12)
    for how in (whole, flushed)
    if how(parts, quality, brotli.MODE_TEXT) != how(parts, quality, brotli.MODE_GENERIC)
]
print("streams that differ:", differ)
sys.exit("CHANGED" if differ else 0)
E
