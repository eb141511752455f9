"""Who receives telemetry in the tests: real collectors, and what they were told.

    a run  ── OTLP, gRPC or HTTP ──▶ rotel   ── OTLP, HTTP ──▶ Sink, in the test
    a run  ── OTLP, gRPC or HTTP ──▶ Jaeger  ◀── /api/traces ── the test

rotel decodes what it gets and encodes it anew, so what arrives has been understood by
somebody else. Everything listens on loopback, on free ports where one may choose, and
what a test started is stopped when the test is over.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

__all__ = [
    "Jaeger",
    "Receiver",
    "Rotel",
    "SeenMetric",
    "SeenSpan",
    "Sink",
    "free_port",
    "jaeger_binary",
    "run_python",
    "running",
    "tree",
    "until",
]

ROOT: Final = Path(__file__).parent.parent.parent

#: Seconds. Whoever waits longer waits in vain, even on a busy machine.
PATIENCE: Final = 30.0

T = TypeVar("T")


# -- what was received ---------------------------------------------------------------


@dataclass(frozen=True)
class SeenSpan:
    """A span as a receiver has understood it. Ids are hexadecimal."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: Mapping[str, Any]
    links: tuple[tuple[str, str], ...]  # trace and span
    link_attributes: tuple[Mapping[str, Any], ...] = ()
    kind: str = ""
    service: str = ""
    scope: tuple[str, str] = ("", "")
    begun: int = 0  # ns since 1970
    ended: int = 0


@dataclass(frozen=True)
class SeenMetric:
    """A metric, with the attributes of its points."""

    name: str
    unit: str
    kind: str
    service: str
    scope: tuple[str, str]
    points: tuple[Mapping[str, Any], ...]


@dataclass
class Received:
    """All that was received until now."""

    spans: list[SeenSpan] = field(default_factory=list)
    metrics: dict[str, SeenMetric] = field(default_factory=dict)

    def named(self, name: str) -> list[SeenSpan]:
        """Spans of this name, the first begun first."""
        found = [span for span in self.spans if span.name == name]
        return sorted(found, key=lambda span: span.begun)


def tree(spans: Sequence[SeenSpan], root: SeenSpan) -> tuple[Any, ...]:
    """A span and those under it, as (name, how many, child, child, ...).

    Siblings that look alike are told once, with their number.
    """
    children = sorted(
        (span for span in spans if span.parent == root.id),
        key=lambda span: (span.begun, span.ended),
    )
    alike = Counter(tree(spans, child)[1:] for child in children)
    return (1, root.name, *((many, *kind) for kind, many in alike.items()))


# -- a sink, to which collectors forward ---------------------------------------------


class Sink:
    """An OTLP receiver in this process: keeps what it is sent, decoded."""

    def __init__(self) -> None:
        self.received = Received()
        self._news = threading.Condition()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                sink._take(self.path, body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nobody wants to read that."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def wait_until(self, holds: Callable[[Received], bool]) -> Received:
        """What was received, as soon as that is enough."""
        with self._news:
            enough = self._news.wait_for(lambda: holds(self.received), PATIENCE)
        names = Counter(span.name for span in self.received.spans)
        assert enough, f"no more came than {names} and {sorted(self.received.metrics)}"
        return self.received

    def close(self) -> None:
        """Receive no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, path: str, body: bytes) -> None:
        with self._news:
            if path.endswith("/traces"):
                self.received.spans += _spans(
                    ExportTraceServiceRequest.FromString(body)
                )
            elif path.endswith("/metrics"):
                for seen in _metrics(ExportMetricsServiceRequest.FromString(body)):
                    self.received.metrics[seen.name] = seen
            self._news.notify_all()


def _spans(request: ExportTraceServiceRequest) -> Iterator[SeenSpan]:
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes).get("service.name", "")
        for scoped in resource.scope_spans:
            for span in scoped.spans:
                yield SeenSpan(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    attributes=_values(span.attributes),
                    links=tuple(
                        (k.trace_id.hex(), k.span_id.hex()) for k in span.links
                    ),
                    link_attributes=tuple(_values(k.attributes) for k in span.links),
                    kind=span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    service=service,
                    scope=(scoped.scope.name, scoped.scope.version),
                    begun=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                )


def _metrics(request: ExportMetricsServiceRequest) -> Iterator[SeenMetric]:
    for resource in request.resource_metrics:
        service = _values(resource.resource.attributes).get("service.name", "")
        for scoped in resource.scope_metrics:
            for metric in scoped.metrics:
                kind = metric.WhichOneof("data") or ""
                points = getattr(metric, kind).data_points
                grows = kind == "sum" and metric.sum.is_monotonic
                yield SeenMetric(
                    name=metric.name,
                    unit=metric.unit,
                    kind="counter" if grows else kind,
                    service=service,
                    scope=(scoped.scope.name, scoped.scope.version),
                    points=tuple(_values(point.attributes) for point in points),
                )


def _values(attributes: Sequence[KeyValue]) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value")
        for each in attributes
    }


# -- collectors ---------------------------------------------------------------------------


class Receiver(Protocol):
    """A collector that runs now, and what it has understood."""

    grpc: str
    http: str

    def trace(self, service: str, spans: int) -> Sequence[SeenSpan]:
        """The spans of this service, as soon as there are so many."""


class Rotel:
    """rotel, whose wheel has the program inside; it forwards to a sink."""

    def __init__(self, sink: Sink, grpc: int, http: int) -> None:
        self.sink = sink
        self.grpc = f"http://127.0.0.1:{grpc}"
        self.http = f"http://127.0.0.1:{http}"

    @classmethod
    @contextmanager
    def running(cls, directory: Path) -> Iterator[Rotel]:
        """It runs within the block, and writes its files to this directory."""
        grpc, http = free_port(), free_port()
        rotel = pytest.importorskip("rotel", reason="rotel has no wheel here")
        package = Path(str(rotel.__file__)).parent
        with closing(Sink()) as sink:
            argv: list[str | Path] = [
                *(package / "rotel-agent", "start", "--exporter", "otlp"),
                *("--otlp-grpc-endpoint", f"127.0.0.1:{grpc}"),
                *("--otlp-http-endpoint", f"127.0.0.1:{http}"),
                *("--otlp-exporter-endpoint", sink.url),
                *("--otlp-exporter-protocol", "http"),
                *("--batch-timeout", "20ms"),
                *("--pid-file", directory / "rotel.pid"),
                *("--log-file", directory / "rotel.log"),
            ]
            with running(argv, grpc, http, directory=directory):
                yield cls(sink, grpc, http)

    def trace(self, service: str, spans: int) -> Sequence[SeenSpan]:
        def of_service(received: Received) -> list[SeenSpan]:
            return [span for span in received.spans if span.service == service]

        return of_service(self.sink.wait_until(lambda r: len(of_service(r)) >= spans))


class Jaeger:
    """Jaeger v2 as it comes: all in one, in memory, on the ports it is known for."""

    grpc = "http://localhost:4317"
    http = "http://localhost:4318"
    query = "http://localhost:16686"

    @classmethod
    @contextmanager
    def running(cls, program: str, directory: Path) -> Iterator[Jaeger]:
        """It runs within the block, with the configuration it has inside."""
        with running(
            [program], 4317, 4318, 16686, directory=directory, host="localhost"
        ):
            yield cls()

    def trace(self, service: str, spans: int) -> Sequence[SeenSpan]:
        asked = urlencode({"service": service, "limit": 20})

        def found() -> Sequence[SeenSpan] | None:
            try:
                with urlopen(f"{self.query}/api/traces?{asked}", timeout=5) as response:
                    traces = json.load(response)["data"] or []
            except (URLError, ConnectionError):  # it listens, but is not ready
                return None
            seen = [span for trace in traces for span in self.read(trace)]
            return seen if len(seen) >= spans else None

        return until(found)

    @staticmethod
    def read(trace: Mapping[str, Any]) -> Iterator[SeenSpan]:
        """The spans of one trace, as its query service writes them."""
        for span in trace["spans"]:
            here = trace["traceID"]
            references = [
                (reference["refType"], reference["traceID"], reference["spanID"])
                for reference in span["references"]
            ]
            # A parent is a CHILD_OF; links are told as FOLLOWS_FROM.
            parents = [id for kind, _, id in references if kind == "CHILD_OF"]
            tags = {tag["key"]: tag["value"] for tag in span["tags"]}
            begun = span["startTime"] * 1000
            yield SeenSpan(
                name=span["operationName"],
                trace=here,
                id=span["spanID"],
                parent=parents[0] if parents else "",
                attributes=tags,
                links=tuple(
                    (where, id) for kind, where, id in references if kind != "CHILD_OF"
                ),
                kind=str(tags.get("span.kind", "internal")).upper(),
                service=trace["processes"][span["processID"]]["serviceName"],
                scope=(
                    tags.get("otel.scope.name", ""),
                    tags.get("otel.scope.version", ""),
                ),
                begun=begun,
                ended=begun + span["duration"] * 1000,
            )


def jaeger_binary() -> str | None:
    """The program that JAEGER_BIN names, or that is on PATH. None: there is none."""
    return os.environ.get("JAEGER_BIN") or shutil.which("jaeger")


# -- programs --------------------------------------------------------------------------


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(found: Callable[[], T | None]) -> T:
    """What is found in the end; nobody waits for ever."""
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while (result := found()) is None:
        assert time.monotonic() < deadline, "it never came"
        pause.wait(0.02)
    return result


@contextmanager
def running(
    argv: Sequence[str | Path], *ports: int, directory: Path, host: str = "127.0.0.1"
) -> Iterator[None]:
    """A program that listens on these ports, within the block. It is ours to stop."""
    taken = [port for port in ports if _listens(host, port)]
    assert not taken, f"somebody else listens on {taken}, where {argv[0]} should"
    log = directory / f"{Path(argv[0]).name}.out"
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out, cwd=directory)
    try:

        def ready() -> bool | None:
            said = log.read_text("utf-8", "replace")
            assert process.poll() is None, f"{argv[0]} gave up:\n{said}"
            return all(_listens(host, port) for port in ports) or None

        until(ready)
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def run_python(
    *argv: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A Python program that has this source tree, and no OTEL_ setting but these."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "RX_AGUI_"))
    }
    return subprocess.run(
        [sys.executable, *argv],
        env=kept | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=2 * PATIENCE,
    )
