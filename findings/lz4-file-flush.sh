#!/usr/bin/env bash
# lz4: flush() of an LZ4FrameFile ends the frame; what is written next is a frame of its own
#
# Versions: lz4 4.4.5
# Guess:    flush() makes everything written so far readable and the frame goes on, as a flush of gzip's file does.
# Seen:     the end mark is written. A decompressor object stops there (eof is True, the rest is in unused_data), though
#           lz4.frame.open and decompress() of all the bytes read on.
# Why:      a log or a stream flushed per batch is many frames: a reader that keeps one decompressor sees the first
#           batch, and no error. Its window starts again each time too: nothing is gained from what was said before.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile lz4==4.4.5
"$dir/v/bin/python" - <<'E'
import io
import sys

import lz4.frame

out = io.BytesIO()
file = lz4.frame.LZ4FrameFile(out, mode="wb")
for part in (b"one ", b"two ", b"three"):
    file.write(part)
    file.flush()
file.close()
written = out.getvalue()
reader = lz4.frame.LZ4FrameDecompressor()
first = reader.decompress(written)
saw = {
    "frames": written.count(b'\x04"M\x18'),
    "one decompressor": first,
    "eof": reader.eof,
    "left over": len(reader.unused_data) > 0,
    "as a file": lz4.frame.LZ4FrameFile(io.BytesIO(written)).read(),
}
print(saw)
want = {"frames": 3, "one decompressor": b"one ", "eof": True, "left over": True, "as a file": b"one two three"}
sys.exit("CHANGED" if saw != want else 0)
E
