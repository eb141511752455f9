"""Who sends it: we; the same made of RxPY's own operators; a loop without any.

All encode, number, gather, compress, cut and write the chunk profile, and end with
the same events at the reader. Only ours has flow control, and only RxPY's and ours
send what waits too long.
"""

from __future__ import annotations

import threading
import zlib
from base64 import b64encode
from binascii import b2a_base64
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import reactivex as rx
from reactivex import operators as ops

from rx_agui.codecs.registry import PAYLOAD_CODECS, crc32
from rx_agui.flow import from_iterable
from rx_agui.operators import batch, chunk, compress, flow_control, sequence
from rx_agui.pipeline import pipeline
from rx_agui.probe import Probe
from rx_agui.types import AlgorithmName
from rx_agui.writer import SSEWriter

__all__ = ["bare", "ours", "rxpys"]

Write = Callable[[bytes], object]
Event = dict[str, Any]

#: Bytes of a piece.
CHUNK = 65536

Payload = tuple[int, int, int, bytes]  # first number, events, crc32, data
Piece = tuple[Payload, int, int, bytes]  # index, total, data


def ours(
    events: Iterable[Any],
    write: Write,
    *,
    size: int = 100,
    algorithm: AlgorithmName = "gzip",
    level: int | None = None,
    telemetry: Probe | None = None,
) -> None:
    """The five operators and a writer. A list is known to be there; else it is pulled."""
    writer = SSEWriter(write)
    from_iterable(events).pipe(
        pipeline(
            "bench",
            flow_control(max(100, size)),
            sequence(),
            batch(size),
            compress(algorithm, level),
            chunk(CHUNK),
            telemetry=telemetry,
        )
    ).subscribe(writer)
    writer.done.result(600)


def bare(
    events: Iterable[Any],
    write: Write,
    *,
    size: int = 100,
    algorithm: AlgorithmName = "gzip",
    level: int = 1,
) -> None:
    """What a loop would do, with the same codec: no more than this can be saved."""
    pack = PAYLOAD_CODECS[algorithm].packer(level)
    dumps, number, lines = orjson.dumps, 1, []
    for event in events:
        lines.append(dumps(event))
        if len(lines) == size:
            write(_envelope(number, lines, pack, algorithm))
            number += size
            lines = []
    if lines:
        write(_envelope(number, lines, pack, algorithm))


def _envelope(
    first: int, lines: list[bytes], pack: Callable[[bytes], bytes], algorithm: str
) -> bytes:
    payload = b"\n".join(lines)
    return (
        b'event: chunk\nid: %d\ndata: {"sequenceNum":%d,"events":%d,"chunkIndex":0,'
        b'"totalChunks":1,"encoding":"%b","crc32":%d,"data":"%b"}\n\n'
        % (
            first + len(lines) - 1,
            first,
            len(lines),
            algorithm.encode(),
            crc32(payload),
            b2a_base64(pack(payload), newline=False),
        )
    )


def rxpys(events: list[Event], write: Write, *, size: int = 100) -> None:
    """RxPY's own operators, with zlib 6."""
    done = threading.Event()
    source: Any = rx.from_iterable(events)  # mypy cannot follow so long a pipe
    source.pipe(
        ops.map(orjson.dumps),
        ops.scan(lambda last, data: (last[0] + 1, data), (0, b"")),
        ops.buffer_with_time_or_count(0.05, size),
        ops.filter(bool),  # it emits empty buffers
        ops.map(_squeeze),
        ops.flat_map(_pieces),
        ops.map(_format),
    ).subscribe(write, on_completed=done.set)
    done.wait(600)


def _squeeze(events: list[tuple[int, bytes]]) -> Payload:
    payload = b"\n".join([data for _, data in events])
    return events[0][0], len(events), zlib.crc32(payload), zlib.compress(payload, 6, 31)


def _pieces(payload: Payload) -> rx.Observable[Piece]:
    data = payload[3]
    total = -(-len(data) // CHUNK)
    cut = [data[index * CHUNK : (index + 1) * CHUNK] for index in range(total)]
    return rx.from_iterable(
        [(payload, index, total, piece) for index, piece in enumerate(cut)]
    )


def _format(cut: Piece) -> bytes:
    (first, events, checksum, _), index, total, data = cut
    envelope = {
        "sequenceNum": first,
        "events": events,
        "chunkIndex": index,
        "totalChunks": total,
        "encoding": "gzip",
        "crc32": checksum,
        "data": b64encode(data).decode(),
    }
    return b"event: chunk\nid: %d\ndata: %b\n\n" % (
        first + events - 1,
        orjson.dumps(envelope),
    )
