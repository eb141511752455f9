"""Draw docs/trace.svg: the trace of one run of examples/telemetry/app.py, as it was.

python docs/draw_trace.py

Nothing is invented: bars, numbers and links are those of spans that were exported.
One payload is shown with its operators, the others as one bar each.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rx_agui.testing._svg import path, picture, rect, text

ROOT = Path(__file__).parent.parent

WIDTH, ROW, TOP = 1040, 25, 78
LEFT, RIGHT = 210, 1016  # where time begins and ends

#: The colour of each kind of span.
COLOURS = {
    "agent": "purple",
    "stream": "grey",
    "send": "blue",
    "step": "green",
    "wait": "amber",
    "write": "teal",
}


def main() -> None:
    """Run the example, and draw what it told."""
    drawing = Drawing(spans_of_a_run())
    file = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "trace.svg"
    file.write_text(drawing.svg(), "utf-8")
    print(f"{file}: {len(drawing.rows)} spans")


def spans_of_a_run() -> list[ReadableSpan]:
    """What the example exports, with the in-memory exporter instead of Jaeger's."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    example = runpy.run_path(str(ROOT / "examples" / "telemetry" / "app.py"))
    asyncio.run(example["stream"]())
    return list(exporter.get_finished_spans())


class Drawing:
    """A row for each span, the parent above its children."""

    def __init__(self, spans: list[ReadableSpan]) -> None:
        self.children: dict[int, list[ReadableSpan]] = {}
        for span in spans:
            self.children.setdefault(
                span.parent.span_id if span.parent else 0, []
            ).append(span)
        self.begun = min(begun(span) for span in spans)
        self.ended = max(ended(span) for span in spans)
        self.opened = self.most_telling([s for s in spans if s.name.startswith("send")])
        self.rows = [*self.walk(self.children[0][0], 0)]
        self.y = {id_of(span): TOP + i * ROW for i, (span, _) in enumerate(self.rows)}

    def most_telling(self, sends: list[ReadableSpan]) -> ReadableSpan:
        """Of those that waited and were compressed, the one with most events."""

        def tells(send: ReadableSpan) -> tuple[bool, int]:
            steps = self.children[id_of(send)]
            waited = any(fact(step, "flow_control.wait", 0) for step in steps)
            return waited, fact(send, "batch.size", 0)

        return max(sends, key=tells)

    def walk(
        self, span: ReadableSpan, depth: int
    ) -> Iterator[tuple[ReadableSpan, int]]:
        yield span, depth
        below = self.children.get(id_of(span), [])
        if span.name.startswith("send"):
            # In the order in which they had the payload, which is that of export.
            below = below if span is self.opened else []
        else:
            below = sorted(
                below, key=lambda child: (child.name.startswith("stream"), begun(child))
            )
        for child in below:
            yield from self.walk(child, depth + 1)

    # -- as a picture --------------------------------------------------------------

    def svg(self) -> str:
        height = TOP + len(self.rows) * ROW + 30
        shapes = [*self.background(height), *self.links(), *self.lines()]
        label = (
            "A trace: the agent's steps, the stream, and what each payload went through"
        )
        return picture(WIDTH, height, shapes, label)

    def x(self, moment: int) -> float:
        """Where this moment is."""
        share = (moment - self.begun) / (self.ended - self.begun)
        return LEFT + share * (RIGHT - LEFT)

    def background(self, height: int) -> Iterator[str]:
        yield text(
            "title", 24, 32, "One run of an agent, and how it reached its reader"
        )
        said = "dashed: a link to the step of the agent that the events came from"
        yield text("note muted", RIGHT, height - 16, said, "end")
        opened = self.y[id_of(self.opened)] - ROW / 2
        steps = len(self.children[id_of(self.opened)])
        yield rect("faint", 12, opened + 1, WIDTH - 24, (1 + steps) * ROW, 6)
        bottom = height - 44
        total = (self.ended - self.begun) / 1e6
        step = next(ms for ms in (10, 20, 50, 100, 200, 500, 1000) if total / ms <= 9)
        for ms in range(0, int(total) + 1, step):
            x = self.x(self.begun + ms * 1_000_000)
            yield path("line-frame", "M", x, TOP - 22, "V", bottom)
            label = f"{ms} ms" if ms == 0 else str(ms)
            yield text("note muted", x + 4, TOP - 18, label)

    def lines(self) -> Iterator[str]:
        for span, depth in self.rows:
            y = self.y[id_of(span)]
            indent = 24 + depth * 16
            if depth:
                above = self.y[span.parent.span_id] if span.parent else y
                x = indent - 10
                yield path("line-frame", "M", x, above + 8, "V", y, "H", indent - 3)
            strong = "strong" if look(span) in ("send", "stream") else ""
            yield text(strong, indent, y + 4.5, span.name)
            left, right = self.x(begun(span)), self.x(ended(span))
            width = max(right - left, 2.5)
            slim = 6 if look(span) in ("stream",) else 12
            colour = COLOURS[look(span)]
            yield rect(colour, left, y - slim / 2, width, slim, min(3, width / 2))
            yield self.note(span, left, left + width, y)

    def note(self, span: ReadableSpan, left: float, right: float, y: float) -> str:
        said = what_it_says(span)
        if span.name.startswith("send"):
            said += f" of {self.origins(span)} · {fact(span, 'batch.trigger', '')}"
        parent = span.parent.span_id if span.parent else 0
        lit = id_of(self.opened) in (parent, id_of(span))
        note = f"note muted halo-{'faint' if lit else 'paper'}"
        room = len(said) * 6
        if right + 8 + room < RIGHT:
            return text(note, right + 8, y + 4, said)
        if left - 8 - room > LEFT:
            return text(note, left - 8, y + 4, said, "end")
        return ""

    def origins(self, send: ReadableSpan) -> str:
        """The spans it links to, by name."""
        names = {id_of(span): span.name for span, _ in self.rows}
        linked = [names[link.context.span_id] for link in send.links]
        return ", ".join(name.removeprefix("agent ") for name in linked)

    def links(self) -> Iterator[str]:
        """From the agent's steps to the payload that is shown in full."""
        for link in self.opened.links:
            source = link.context.span_id
            if source in self.y:
                y, to = self.y[source] + 6, self.y[id_of(self.opened)] - 7
                x = self.x(begun(self.opened)) + 6
                yield path("line-purple firm dashed", "M", x, y, "V", to - 4)
                yield path("purple", "M", x - 4, to - 6, "h", 8, "l", -4, 7, "z")


def what_it_says(span: ReadableSpan) -> str:
    """The attributes that matter, and how long it took."""
    lasted = (ended(span) - begun(span)) / 1e6
    words = f"{lasted:.0f} ms" if lasted >= 1 else f"{lasted * 1000:.0f} µs"
    match span.name.split()[0]:
        case "send":
            return f"{words} · {fact(span, 'batch.size', 0)} events"
        case "flow_control":
            return f"{words} of waiting for the reader" if lasted else "no wait"
        case "sequence":
            return f"numbers {fact(span, 'sequence.first', 0)}–{fact(span, 'sequence.last', 0)}"
        case "batch":
            return f"{words} · {fact(span, 'batch.size', 0)} events"
        case "compress":
            before = fact(span, "compress.input.size", 0)
            after = fact(span, "compress.output.size", 0)
            how = fact(span, "compress.algorithm", "")
            return f"{words} · {how} {before:,} → {after:,} bytes"
        case "chunk":
            count = fact(span, "chunk.count", 0)
            return f"{words} · {count} chunk{'s' if count > 1 else ''}"
        case "sink.write":
            return f"{words} · {fact(span, 'sink.size', 0):,} bytes"
    return words


def look(span: ReadableSpan) -> str:
    """Its colour."""
    match span.name.split()[0]:
        case "stream" | "send" as kind:
            return kind
        case "flow_control":
            return "wait"
        case "sink.write":
            return "write"
        case "sequence" | "batch" | "compress" | "chunk":
            return "step"
    return "agent"


def fact(span: ReadableSpan, name: str, otherwise: Any) -> Any:
    return (span.attributes or {}).get(f"rx_agui.{name}", otherwise)


def begun(span: ReadableSpan) -> int:
    return span.start_time or 0


def ended(span: ReadableSpan) -> int:
    return span.end_time or 0


def id_of(span: ReadableSpan) -> int:
    return span.context.span_id if span.context else 0


if __name__ == "__main__":
    main()
