#!/usr/bin/env bash
# RxPY: take() over a generator stops asking it but does not close it
#
# Versions: reactivex 6.1.0
# Guess:    from_iterable closes a generator when its subscription is disposed, so its `finally` runs then.
# Seen:     after take(2), and after dispose() on a scheduler, the generator stays suspended as long as anything holds
#           it or the observable; its `finally` runs only when the last reference goes.
# Why:      a generator over a model's answer holds a connection. A reader that leaves ends the Rx stream, not the
#           request: wrap it with using() or finally_action(generator.close).
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile reactivex==6.1.0
"$dir/v/bin/python" - <<'E'
import sys
import time

import reactivex as rx
from reactivex import operators as ops
from reactivex.scheduler import NewThreadScheduler

log = []


def answer(name):
    try:
        for token in range(1000):
            yield token
            time.sleep(0.01)
    finally:
        log.append(f"{name} closed")


saw = {}
taken = rx.from_iterable(answer("take"))
taken.pipe(ops.take(2)).subscribe(lambda token: None)
saw["after take(2)"] = list(log)

threaded = rx.from_iterable(answer("dispose"), scheduler=NewThreadScheduler())
subscription = threaded.subscribe(lambda token: None)
time.sleep(0.1)
subscription.dispose()
time.sleep(0.3)
saw["after dispose()"] = list(log)

tokens = answer("finally_action")
rx.from_iterable(tokens).pipe(ops.finally_action(tokens.close), ops.take(2)).subscribe(lambda token: None)
saw["with finally_action"] = list(log)

del taken
saw["observable gone"] = sorted(log)
print(saw)
want = {
    "after take(2)": [],
    "after dispose()": [],
    "with finally_action": ["finally_action closed"],
    "observable gone": ["finally_action closed", "take closed"],
}
sys.exit("CHANGED" if saw != want else 0)
E
