#!/usr/bin/env bash
# RxPY: map_indexed and three of its kin count on from one subscription to the next
#
# Versions: reactivex 6.1.0
# Guess:    each subscription counts from 0, also after a retry. (Held when the test was written; put on paper only for
#           the second round, as "map_indexed and skip_while_indexed alone".)
# Seen:     map_indexed, flat_map_indexed and switch_map_indexed go on at 3 for the second reader of three items, and
#           skip_while_indexed skips nothing for it; retry(2) gives 0..5. filter_indexed, take_while_indexed and
#           find_index do start again.
# Why:      a number put on events this way is right for the first reader and shifted for each other one, and for a
#           retried run: positions differ between readers. scan() with a seed counts per subscription.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile reactivex==6.1.0
"$dir/v/bin/python" - <<'E'
import sys

import reactivex as rx
from reactivex import operators as ops


def heard(observable):
    out = []
    observable.subscribe(out.append, lambda e: out.append("error"))
    return out


items = rx.of("a", "b", "c")
failing = rx.concat(items, rx.throw(ValueError()))
tried = {
    "map_indexed": items.pipe(ops.map_indexed(lambda x, i: i)),
    "flat_map_indexed": items.pipe(ops.flat_map_indexed(lambda x, i: rx.of(i))),
    "switch_map_indexed": items.pipe(ops.switch_map_indexed(lambda x, i: rx.of(i))),
    "skip_while_indexed": items.pipe(ops.skip_while_indexed(lambda x, i: i < 1)),
    "filter_indexed": items.pipe(ops.filter_indexed(lambda x, i: i < 1)),
    "take_while_indexed": items.pipe(ops.take_while_indexed(lambda x, i: i < 1)),
    "find_index": items.pipe(ops.find_index(lambda x, i, source: i == 1)),
    "scan": items.pipe(ops.scan(lambda n, x: n + 1, -1)),
}
saw = {name: (heard(observable), heard(observable)) for name, observable in tried.items()}
saw["map_indexed, retry(2)"] = heard(failing.pipe(ops.map_indexed(lambda x, i: i), ops.retry(2)))
print("\n".join(f"{name}: {what}" for name, what in saw.items()))
want = {
    "map_indexed": ([0, 1, 2], [3, 4, 5]),
    "flat_map_indexed": ([0, 1, 2], [3, 4, 5]),
    "switch_map_indexed": ([2], [5]),
    "skip_while_indexed": (["b", "c"], ["a", "b", "c"]),
    "filter_indexed": (["a"], ["a"]),
    "take_while_indexed": (["a"], ["a"]),
    "find_index": ([1], [1]),
    "scan": ([0, 1, 2], [0, 1, 2]),
    "map_indexed, retry(2)": [0, 1, 2, 3, 4, 5, "error"],
}
sys.exit("CHANGED" if saw != want else 0)
E
