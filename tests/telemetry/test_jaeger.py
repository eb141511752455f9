"""The tree, as a real back end shows it: Jaeger v2 where there is one, else rotel.

JAEGER_BIN names the program, or it is `jaeger` on PATH.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.receivers import (
    Jaeger,
    Receiver,
    Rotel,
    jaeger_binary,
    run_python,
    tree,
)
from tests.telemetry.test_otlp import RUN, TREE


def receiver(directory: Path) -> AbstractContextManager[Receiver]:
    """The best there is on this machine."""
    program = jaeger_binary()
    if program is None:
        return Rotel.running(directory)
    return Jaeger.running(program, directory)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize(
    "name", [pytest.param("best", id="Jaeger" if jaeger_binary() else "rotel")]
)
def test_a_back_end_shows_the_tree_of_a_run(
    name: str, protocol: str, tmp_path: Path
) -> None:
    with receiver(tmp_path) as back_end:
        endpoint = back_end.grpc if protocol == "grpc" else back_end.http
        done = run_python(RUN, "chat", endpoint, protocol, OTEL_METRICS_EXPORTER="none")
        assert (done.returncode, done.stderr) == (0, "")
        spans = back_end.trace("chat", 25)

    by_name = {span.name: span for span in spans}
    assert tree(spans, by_name["run"]) == TREE
    sends = sorted((s for s in spans if s.name == "send chat"), key=lambda s: s.begun)
    think, answer = by_name["think"], by_name["answer"]
    assert [{span for _, span in send.links} for send in sends] == [
        {think.id, answer.id},
        {answer.id},
        {answer.id},
    ]
    assert [send.attributes["rx_agui.batch.size"] for send in sends] == [40, 40, 20]
    assert {span.service for span in spans} == {"chat"}


def test_what_jaeger_answers_is_read_as_a_tree_with_links() -> None:
    answer = json.loads("""
        {"traceID": "0a", "processes": {"p1": {"serviceName": "chat", "tags": []}},
         "spans": [
            {"traceID": "0a", "spanID": "01", "operationName": "stream chat",
             "references": [], "startTime": 5, "duration": 9, "processID": "p1",
             "tags": [{"key": "otel.scope.name", "type": "string", "value": "rx_agui"}]},
            {"traceID": "0a", "spanID": "02", "operationName": "send chat",
             "references": [
                {"refType": "CHILD_OF", "traceID": "0a", "spanID": "01"},
                {"refType": "FOLLOWS_FROM", "traceID": "0b", "spanID": "0c"}],
             "startTime": 6, "duration": 2, "processID": "p1",
             "tags": [{"key": "rx_agui.batch.size", "type": "int64", "value": 40}]}]}
    """)

    stream, send = Jaeger.read(answer)

    assert tree([stream, send], stream) == (1, "stream chat", (1, "send chat"))
    assert send.links == (("0b", "0c"),)
    assert send.attributes["rx_agui.batch.size"] == 40
    assert (stream.service, stream.scope[0]) == ("chat", "rx_agui")
    assert (send.begun, send.ended) == (6_000, 8_000)
