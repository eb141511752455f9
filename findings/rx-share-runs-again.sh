#!/usr/bin/env bash
# RxPY: share() behind an ended source runs that source again for each newcomer and throws away what it says
#
# Versions: reactivex 6.1.0
# Guess:    the newcomer gets the completion (or the error) at once from the dead subject; the source is left alone.
# Seen:     the newcomer does get only that; but the source is subscribed again, runs to its end, and nobody hears a
#           word. With retry(3) behind share() it runs three times, and only the first run's items come out.
# Why:      the source may be an agent: a late reader of a finished run starts the model again, pays for it, and shows
#           nothing. Put a replay with its own end state in front of readers, and retry in front of share().
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile reactivex==6.1.0
"$dir/v/bin/python" - <<'E'
import sys

import reactivex as rx
from reactivex import operators as ops


def source(end):
    runs = []

    def subscribe(observer, scheduler=None):
        runs.append(None)
        observer.on_next(f"run {len(runs)}")
        end(observer)

    return rx.create(subscribe), runs


def heard(observable):
    out = []
    observable.subscribe(out.append, lambda e: out.append("error"), lambda: out.append("end"))
    return out


once, runs = source(lambda o: o.on_completed())
shared = once.pipe(ops.share())
failing, attempts = source(lambda o: o.on_error(ValueError()))
saw = {
    "readers": [heard(shared), heard(shared), heard(shared)],
    "runs": len(runs),
    "share, retry(3)": heard(failing.pipe(ops.share(), ops.retry(3))),
    "attempts": len(attempts),
}
print(saw)
want = {"readers": [["run 1", "end"], ["end"], ["end"]], "runs": 3, "share, retry(3)": ["run 1", "error"], "attempts": 3}
sys.exit("CHANGED" if saw != want else 0)
E
