"""A line that is cut: a TCP proxy which ends connections in the middle.

    client ──▶ Cutting ──▶ server
           ✂ after so many bytes of the answer

Whatever HTTP says there, it is bytes that are counted, so a cut falls where it falls:
before the first byte, in a header, in a frame, in a character. From a seed the same
cuts come again.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from random import Random
from urllib.parse import urlsplit

__all__ = ["Cutting", "cutting", "random_cuts"]

_PIECE = 65536


class Cutting:
    """What became of the connections so far.

    Attributes:
        url: Where to connect, without a slash at the end.
        connections: How many there were.
        cuts: How many of them were cut.
        is_down: Set it to have every new connection ended at once, without a byte.
    """

    def __init__(
        self,
        upstream: str,
        cuts: Iterable[int | None],
        piece_sizes: Iterable[int] | None = None,
        *,
        reset: bool = True,
    ) -> None:
        parts = urlsplit(upstream)
        self._upstream = parts.hostname or "", parts.port or 80
        self._cuts = iter(chain(cuts, repeat(None)))
        self._piece_sizes = iter(piece_sizes or repeat(_PIECE))
        self._reset = reset
        self._open: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.url = ""
        self.connections = self.cuts = 0
        self.is_down = False

    def cut_now(self) -> None:
        """Cut every connection there is. Any thread may."""
        assert self._loop is not None
        for writer in [*self._open]:
            self._loop.call_soon_threadsafe(self._cut, writer)

    async def serve(self, listening: socket.socket, ended: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        carrying: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._carry(reader, writer))
            carrying.add(task)
            task.add_done_callback(carrying.discard)

        async with await asyncio.start_server(accept, sock=listening):
            await ended.wait()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        room = 0 if self.is_down else next(self._cuts)
        self._open.add(writer)
        asking: asyncio.Task[None] | None = None
        upstream: asyncio.StreamWriter | None = None
        try:
            answer, upstream = await asyncio.open_connection(*self._upstream)
            asking = asyncio.create_task(_pass_on(reader, upstream))
            if room == 0 and not self.is_down:
                await answer.read(1)  # the request went through; the answer does not
            while room is None or room > 0:
                size = min(next(self._piece_sizes), _PIECE if room is None else room)
                piece = await answer.read(size)
                if not piece:
                    break
                writer.write(piece)
                await writer.drain()
                room = None if room is None else room - len(piece)
            if room == 0:
                self._cut(writer)
        except OSError:
            writer.transport.abort()
        finally:
            self._open.discard(writer)
            if asking is not None:
                asking.cancel()
            for side in (upstream, writer):
                if side is not None:
                    side.close()

    def _cut(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        self.cuts += 1
        if self._reset:
            connection = writer.get_extra_info("socket")
            # To linger for no time: a reset, where a close would look like an end.
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        writer.close()  # behind what was written


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()


@contextmanager
def cutting(
    upstream: str,
    cuts: Iterable[int | None],
    piece_sizes: Iterable[int] | None = None,
    *,
    reset: bool = True,
) -> Iterator[Cutting]:
    """A line to `upstream` that is cut, until the block ends; in a thread of its own.

    Args:
        upstream: Where the server is, such as "http://127.0.0.1:8000".
        cuts: For each connection, in the order they come, after how many bytes of the
            answer, its headers included, it is cut: 0 once the request has gone
            through, None not at all. When there are no more, none is.
        piece_sizes: Bytes to pass on at a time.
        reset: Whether a cut is a reset, which the reader sees as an error. If not, it
            is a close, which looks like a normal end where no length was promised.
    """
    line = Cutting(upstream, cuts, piece_sizes, reset=reset)
    listening = socket.create_server(("127.0.0.1", 0))
    line.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(line.serve(listening, ended),)
    )
    thread.start()
    try:
        yield line
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def random_cuts(seed: int, *, of: int, up_to: int) -> list[int]:
    """`of` places to cut at, within the first `up_to` bytes; some before the first."""
    chance = Random(seed)
    return [
        0 if chance.random() < 0.05 else chance.randint(1, up_to) for _ in range(of)
    ]
