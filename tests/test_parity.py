"""docs/parity.md: what it names exists, and nothing of the document is missing in it."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import NamedTuple

import pytest

import rx_agui

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "parity.md").read_text("utf-8")


def _words(text: str) -> list[str]:
    return text.split()


#: Everything the document promises, by its own words and in its own order.
OPTIONS = _words("""
EventBufferSize ChunkBufferSize MaxChunkSize FlushInterval
BatchEnabled BatchSize BatchTimeout MaxBatchSize
CompressionEnabled CompressionType CompressionLevel MinCompressionSize
MaxConcurrentEvents BackpressureTimeoutError DrainTimeoutError
SequenceEnabled OrderingRequired OutOfOrderBuffer
WorkerCount EnableMetrics MetricsInterval
""")
METRICS = _words("""
TotalEvents EventsPerSecond EventsProcessed EventsDropped EventsCompressed
TotalBatches AverageBatchSize BatchProcessingTime
CompressionRatio CompressionTime BytesSaved
AverageLatency MaxLatency ThroughputBps MemoryUsage
ProcessingErrors CompressionErrors SequencingErrors FlowControl Sequencing
""")
CALLS = _words("""
NewEventStream DefaultStreamConfig Start SendEvent ReceiveChunks GetErrorChannel
GetMetrics Close StreamChunk FormatSSEChunk WriteSSEChunk
""")
FEATURES = """\
Efficient Event Streaming
Chunked Event Transmission
Event Batching
Compression Support
Flow Control
Event Ordering
Memory Management
Performance Monitoring
Adaptive Batching
Circuit Breaker Pattern
Graceful Degradation
Multi-level Buffering
Configurable Timeouts
Error Recovery
Validation Errors
Processing Errors
Compression Errors
Sequencing Errors
Flow Control Errors
Basic event streaming
Compression comparison
Event chunking
Batching demonstration
Flow control testing
""".splitlines()


class Row(NamedTuple):
    """A line of a table."""

    promised: str
    here: str
    proof: str
    note: str


def rows() -> list[Row]:
    found = []
    for line in PAGE.splitlines():
        if line.startswith("| ") and not line.startswith("| document "):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            assert len(cells) == 4, line
            found.append(Row(*cells))
    return found


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@functools.cache
def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_nothing_that_the_document_promises_is_missing() -> None:
    promised = {row.promised.strip("`") for row in rows()}
    wanted = {*OPTIONS, *METRICS, *CALLS, *FEATURES}

    assert wanted - promised == set()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.promised)
def test_what_a_line_names_exists(row: Row) -> None:
    names = quoted(row.here)
    assert names, "it names nothing of ours"
    for name in names:
        if name.endswith(".py"):
            assert (ROOT / name).exists()
        elif name != "rx_agui":
            exists(name)


def exists(name: str) -> None:
    first, *more = name.split(".")
    thing = getattr(rx_agui, first)
    for attribute in more:
        annotated = getattr(thing, "__annotations__", {})
        assert attribute in annotated or hasattr(thing, attribute), name


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.promised)
def test_what_a_line_calls_a_proof_is_a_test(row: Row) -> None:
    assert quoted(row.proof), "nothing proves it"


def test_every_test_that_is_named_anywhere_exists() -> None:
    named = [name for name in quoted(PAGE) if "::" in name]

    assert len(named) > 60
    for name in named:
        path, _, test = name.partition("::")
        assert test in functions_of(path), name


def test_every_option_of_ours_that_the_document_lacks_is_told_of_too() -> None:
    """`StreamConfig` has more than the document; none of it is a secret."""
    ours = {name for name in quoted(PAGE) if name.startswith("StreamConfig.")}
    documented = "".join(OPTIONS).lower()
    extra = [
        name
        for name in rx_agui.StreamConfig.__dataclass_fields__
        if name.replace("_", "") not in documented
    ]

    families = ("breaker", "failure_rate", "retry")
    missing = [n for n in extra if f"StreamConfig.{n}" not in ours]
    assert [n for n in missing if not n.startswith(families)] == []
