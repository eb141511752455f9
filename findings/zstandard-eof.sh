#!/usr/bin/env bash
# zstandard: a decompressor that reads across frames never says eof, so a whole stream and a cut one look alike
#
# Versions: zstandard 0.25.0
# Guess:    decompressobj(read_across_frames=True).eof is True whenever a frame has just ended.
# Seen:     it stays False at the clean end, between two frames, and inside a cut frame alike; no call raises. Without
#           read_across_frames, eof is True behind the first frame and the second one lies in unused_data.
# Why:      several frames in one body are legal in HTTP, so a client needs this mode, and has then no way to tell a
#           truncated body from a finished one: the end must be in the events themselves.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile zstandard==0.25.0
"$dir/v/bin/python" - <<'E'
import sys

import zstandard

one, two = (zstandard.ZstdCompressor(write_checksum=True).compress(text) for text in (b"first ", b"second"))


def read(data, **how):
    d = zstandard.ZstdDecompressor().decompressobj(**how)
    return d.decompress(data), d.eof, len(d.unused_data)


saw = {
    "across, whole": read(one + two, read_across_frames=True),
    "across, one frame": read(one, read_across_frames=True),
    "across, cut": read(one + two[:-6], read_across_frames=True)[1:],
    "not across": read(one + two),
}
print(saw)
want = {
    "across, whole": (b"first second", False, 0),
    "across, one frame": (b"first ", False, 0),
    "across, cut": (False, 0),
    "not across": (b"first ", True, len(two)),
}
sys.exit("CHANGED" if saw != want else 0)
E
