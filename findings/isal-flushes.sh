#!/usr/bin/env bash
# isal: a flush with nothing to flush writes six bytes, every time, and level 0 makes flushed events larger
#
# Versions: isal 1.9.1, against zlib of the running Python
# Guess:    a second Z_SYNC_FLUSH gives nothing, as in zlib; level 0 is the quick one of four that all compress.
# Seen:     02 00 00 00 ff ff at each idle flush (zlib: nothing after the first). At level 0 each flush brings a table of
#           its own: 106-byte events flushed one by one are 126 bytes each, with Z_FULL_FLUSH 223; at level 1, 15 and 112.
# Why:      "flush on every tick" is free with zlib and traffic with isal; and its level 0, taken to save processor time
#           on a stream of small events, costs more bytes than no compression.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile isal==1.9.1
"$dir/v/bin/python" - <<'E'
import sys
import zlib

from isal import isal_zlib

events = [
    b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"8f14e45f-ceea-467f-9a6b-0f5a2b1c9d3e","delta":"%s "}\n\n' % word
    for word in b"the agent reads a page and writes its answer token by token".split()
]


def idle(module):
    c = module.compressobj(level=1, wbits=-15)
    c.compress(events[0])
    c.flush(module.Z_SYNC_FLUSH)
    return [c.flush(module.Z_SYNC_FLUSH).hex(" ") for _ in range(2)]


def total(level, how):
    c = isal_zlib.compressobj(level=level, wbits=-15)
    return sum(len(c.compress(e)) + len(c.flush(how)) for e in events)


plain = sum(map(len, events))
sync = {level: total(level, isal_zlib.Z_SYNC_FLUSH) for level in (0, 1, 3)}
full = {level: total(level, isal_zlib.Z_FULL_FLUSH) for level in (0, 1, 3)}
print("idle flushes: zlib", idle(zlib), "isal", idle(isal_zlib))
print("bytes of", plain, "with sync flushes", sync, "with full flushes", full)
ok = idle(zlib) == ["", ""] and idle(isal_zlib) == ["02 00 00 00 ff ff"] * 2
ok = ok and sync[0] > 1.15 * plain and sync[1] < 0.35 * plain and full[0] > 2 * plain and full[1] < 1.1 * plain
sys.exit(0 if ok else "CHANGED")
E
