"""Each rule has a stream that breaks it, and is named where it does."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import orjson
import pytest

from rx_agui.frame import Frame
from rx_agui.lint import lint
from rx_agui.lint._rules import CLIENTS, RULES
from rx_agui.sse import format_frame
from tests.support.legal_streams import Stream
from tests.support.streams import HEADERS, STREAMS, event, sse

RIGHT = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}
RUN = sse(
    event("RUN_STARTED", threadId="t", runId="r"),
    event("CUSTOM", name="n", value="a"),
    event("RUN_FINISHED", threadId="t", runId="r"),
)
SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*_run.jsonl"))


@pytest.mark.parametrize(("rule", "stream"), STREAMS, ids=lambda v: str(v)[:30])
def test_a_stream_that_breaks_a_rule_is_told_which(rule: str, stream: bytes) -> None:
    findings = lint(stream)
    if rule:
        assert rule in [finding.rule for finding in findings]
    else:
        assert [f for f in findings if f.severity == "fatal"] == []


@pytest.mark.parametrize(
    ("rule", "changed"), HEADERS, ids=[rule or "fine" for rule, _ in HEADERS]
)
def test_headers_that_break_a_rule_are_told_which(
    rule: str, changed: dict[str, str | None]
) -> None:
    headers = {n: v for n, v in (RIGHT | changed).items() if v is not None}

    findings = [f for f in lint(RUN, headers) if f.line == 0]

    assert rule in [finding.rule for finding in findings] if rule else findings == []


def test_every_rule_has_a_stream_that_breaks_it() -> None:
    broken = {rule for rule, _ in STREAMS} | {rule for rule, _ in HEADERS} - {""}
    compressed = {"not-flushed", "several-members"}

    assert RULES.keys() - broken == compressed


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_nothing_is_wrong_with_a_recorded_run(sample: Path) -> None:
    lines = sample.read_bytes().strip()
    run = Frame(lines, events=lines.count(b"\n") + 1)

    assert lint(format_frame(run)) == []


def test_a_finding_says_where_it_is_and_what_would_be_right() -> None:
    (finding,) = lint(RUN + b"id:\n" + RUN)

    assert finding.rule == "id-empty"
    assert (finding.line, finding.offset) == (7, len(RUN))
    assert finding.severity == "warning"
    assert finding.fails == ()
    assert "leave the line out" in finding.instead
    assert str(finding) == "line 7: id-empty: id:"


def test_findings_come_in_the_order_of_the_stream() -> None:
    bad = b"data: x\n\n"
    findings = lint(bad + RUN + bad)

    assert [f.offset for f in findings] == sorted(f.offset for f in findings)
    assert [f.line for f in findings if f.rule == "not-json"] == [1, 9]


def test_line_ends_are_told_once() -> None:
    crlf = (RUN * 50).replace(b"\n", b"\r\n")

    assert [f.rule for f in lint(crlf)].count("crlf") == 1


@pytest.mark.parametrize("severity", ["fatal", "error", "warning"])
def test_the_severity_follows_from_who_fails(severity: str) -> None:
    streams = [
        f for _, stream in STREAMS for f in lint(stream) if f.severity == severity
    ]

    assert streams
    assert all(bool(f.fails) == (severity == "fatal") for f in streams)
    assert all(set(f.fails) <= {*CLIENTS} for f in streams)


def test_a_body_is_unpacked_as_its_headers_say() -> None:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    body = packer.compress(RUN) + packer.flush(zlib.Z_SYNC_FLUSH) + packer.flush()
    headers = RIGHT | {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}

    assert lint(body, headers) == []


def test_a_compressor_that_does_not_flush_is_told() -> None:
    headers = RIGHT | {"content-encoding": "gzip", "vary": "accept-encoding"}

    assert [f.rule for f in lint(gzip.compress(RUN), headers)] == ["not-flushed"]


def test_more_than_one_gzip_member_is_told() -> None:
    headers = RIGHT | {"content-encoding": "gzip", "vary": "accept-encoding"}
    members = gzip.compress(RUN[:50]) + gzip.compress(RUN[50:])

    assert "several-members" in [f.rule for f in lint(members, headers)]


def test_whatever_comes_is_judged() -> None:
    for cut in range(len(RUN)):
        assert lint(RUN[:cut])
    lint(bytes(range(256)) * 3)
    lint(b"data: " + b"[" * 100_000 + b"\n\n")


def test_chunks_of_several_subagents_are_apart() -> None:
    """Each has a message of its own that is being assembled, as clients have it."""
    for seed in (192, *range(100)):
        body = b"".join(
            b"data: %b\n\n" % orjson.dumps(event) for event in Stream(seed).events
        )
        assert [found for found in lint(body) if found.severity == "fatal"] == []
