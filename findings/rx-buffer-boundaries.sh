#!/usr/bin/env bash
# RxPY: buffer(boundaries) ends with the boundaries, and loses the rest of the source
#
# Versions: reactivex 6.1.0
# Guess:    when the boundaries complete, the last buffer stays open until the source ends, then goes out.
# Seen:     the result completes with the boundaries; items that the source emits later are in no buffer. The same with
#           window(boundaries).
# Why:      the boundaries are often a clock, a Subject that is told "flush", or a stream of acknowledgements that ends
#           early; what comes after it is lost without an error. Concatenate never() to the boundaries.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile reactivex==6.1.0
"$dir/v/bin/python" - <<'E'
import sys

import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject


def heard(how):
    source, ticks, out = Subject(), Subject(), []
    how(source, ticks).subscribe(out.append, None, lambda: out.append("end"))
    source.on_next("a")
    ticks.on_next(None)
    source.on_next("b")
    ticks.on_completed()
    source.on_next("c")
    source.on_completed()
    return out


saw = {
    "buffer": heard(lambda source, ticks: source.pipe(ops.buffer(ticks))),
    "window": heard(lambda source, ticks: source.pipe(ops.window(ticks), ops.flat_map(lambda w: w.pipe(ops.to_list())))),
    "with never()": heard(lambda source, ticks: source.pipe(ops.buffer(rx.concat(ticks, rx.never())))),
}
print(saw)
want = {"buffer": [["a"], ["b"], "end"], "window": [["a"], ["b"], "end"], "with never()": [["a"], ["b", "c"], "end"]}
sys.exit("CHANGED" if saw != want else 0)
E
