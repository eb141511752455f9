#!/usr/bin/env bash
# zstandard: with threads=1 a stream flushed per event compresses as if at level 1, whatever level was asked for
#
# Versions: zstandard 0.25.0
# Guess:    threads=1 moves the work to another thread; the bytes are those of threads=0.
# Seen:     levels 1, 3 and 9 give exactly the same size with threads=1 (and 2), that of level 1 with threads=0; level 3
#           is a quarter larger than without threads. Nothing is said about it, and the output is right.
# Why:      a worker thread for the compressor of a stream looks like a free win for the event loop. For small events
#           flushed one by one it takes the level away: use a thread of your own around a compressor without threads.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile zstandard==0.25.0
"$dir/v/bin/python" - <<'E'
import random
import sys

import zstandard

random.seed(7)
words = b"the agent reads a page and writes its answer token by token with state delta and tool call args for every user".split()
events = [
    b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"8f14e45f-ceea-467f-9a6b-0f5a2b1c9d3e","delta":"%s "}\n\n' % random.choice(words)
    for _ in range(300)
]


def total(level, threads):
    c = zstandard.ZstdCompressor(level=level, threads=threads).compressobj()
    parts = [c.compress(e) + c.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for e in events]
    assert zstandard.ZstdDecompressor().decompressobj().decompress(b"".join(parts)) == b"".join(events)
    return sum(map(len, parts))


size = {threads: {level: total(level, threads) for level in (1, 3, 9)} for threads in (0, 1, 2)}
print(size)
ok = len({*size[1].values(), *size[2].values(), size[0][1]}) == 1 and size[1][3] > 1.2 * size[0][3] > 1.2 * size[0][9]
sys.exit(0 if ok else "CHANGED")
E
