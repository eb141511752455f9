"""rx-agui encode: one JSON event a line becomes Server-Sent Events."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import orjson

from rx_agui.agui.encoding import encode as encode_event
from rx_agui.cli._pipes import Pipes, UsageError, lines, run
from rx_agui.engine import Operator
from rx_agui.errors import StreamError, ValidationError
from rx_agui.flow import from_iterable
from rx_agui.frame import Frame
from rx_agui.operators import batch, chunk, compress, flow_control, sequence
from rx_agui.writer import SSEWriter

__all__ = ["encode"]

_BOM = b"\xef\xbb\xbf"

#: Settings that only profile chunk has.
_COMPRESSION = "algorithm", "level", "min_size"
_CUTTING = ("max_chunk_size",)


class BadLine(StreamError):
    """A line is not one JSON object."""


def encode(asked: Namespace) -> None:
    """Do it. What came before a bad line is written; it and what follows are not."""
    stages = _stages(asked)
    pipes = Pipes()
    writer = SSEWriter(pipes.write)
    events = from_iterable(lambda: _events(pipes)).pipe(*stages)
    run(lambda: events.subscribe(writer), writer.done, pipes)


def _events(pipes: Pipes) -> Iterator[Frame]:
    """Yield the events, encoded here, where the line is known."""
    for number, line in enumerate(lines(pipes.pieces()), 1):
        text = (line.removeprefix(_BOM) if number == 1 else line).strip()
        if not text:
            continue
        try:
            frame = Frame(encode_event(text))
        except ValidationError as error:
            raise BadLine(_where_and_why(number, text, error)) from None
        pipes.events += 1
        yield frame


def _where_and_why(number: int, text: bytes, error: ValidationError) -> str:
    shown = text[:60].decode("utf-8", "replace") + ("…" if len(text) > 60 else "")
    cause = error.__context__
    if isinstance(cause, orjson.JSONDecodeError):
        return f"line {number}, column {cause.colno}: not JSON, {cause.msg}: {shown}"
    return f"line {number}: {error.reason}: {shown}"


def _stages(asked: Namespace) -> list[Operator]:
    _refuse_what_means_nothing(asked)
    # Room for a batch that is being written and for one that fills meanwhile.
    window = max(100, 2 * asked.batch_size)
    stages: list[Operator] = [
        flow_control(window),
        sequence(),
        batch(asked.batch_size, asked.batch_timeout),
    ]
    if asked.profile == "chunk":
        stages.append(compress(**_given(asked, *_COMPRESSION)))
        stages.append(chunk(**_given(asked, *_CUTTING)))
    return stages


def _refuse_what_means_nothing(asked: Namespace) -> None:
    if asked.profile == "agui":
        for name in _given(asked, *_COMPRESSION, *_CUTTING):
            raise UsageError(
                f"{asked.options[name]} means nothing in profile agui, which is plain "
                "for every AG-UI client: leave it out, or use --profile chunk"
            )
    if asked.algorithm == "none":
        for name in _given(asked, "level", "min_size"):
            raise UsageError(
                f"{asked.options[name]} means nothing with --compress none: "
                "leave it out, or choose an algorithm"
            )


def _given(asked: Namespace, *names: str) -> dict[str, Any]:
    """Those settings that were typed; the operators know the defaults of the others."""
    return {n: value for n in names if (value := getattr(asked, n)) is not None}
