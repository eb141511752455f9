"""What is exported arrives: over gRPC and HTTP, through a collector, unchanged."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rx_agui import ConfigError, MissingExtraError, probe
from rx_agui.telemetry import Telemetry, setup_otlp
from rx_agui.telemetry._instruments import HISTOGRAMS, OBSERVABLES
from rx_agui.telemetry._scope import SCOPE, VERSION
from tests.support.receivers import (
    ROOT,
    Received,
    Rotel,
    SeenSpan,
    free_port,
    run_python,
    tree,
)

RUN = Path(__file__).parent.parent / "support" / "one_run.py"
APP = ROOT / "examples" / "telemetry" / "app.py"

OPERATORS = ("flow_control", "sequence", "batch", "compress", "chunk", "sink.write")
TREE = (
    *(1, "run"),
    (
        *(1, "stream chat"),
        (3, "send chat", *((1, operator) for operator in OPERATORS)),
    ),
    (1, "think"),
    (1, "answer"),
)


@pytest.fixture(scope="module")
def rotel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotel]:
    """A collector for the tests of this file."""
    with Rotel.running(tmp_path_factory.mktemp("rotel")) as collector:
        yield collector


@pytest.fixture(scope="module", params=["grpc", "http/protobuf"])
def exported(rotel: Rotel, request: pytest.FixtureRequest) -> Received:
    """What arrived of one run that was exported so."""
    service = f"chat over {request.param}"
    endpoint = rotel.grpc if request.param == "grpc" else rotel.http
    done = run_python(RUN, service, endpoint, request.param)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    spans = rotel.trace(service, 1 + 2 + 1 + 3 * 7)
    received = rotel.sink.wait_until(
        lambda received: any(
            metric.name == "rx_agui.session.duration" and metric.service == service
            for metric in received.metrics.values()
        )
    )
    return Received([*spans], dict(received.metrics))


# -- the tree ---------------------------------------------------------------------


def test_a_run_arrives_as_stream_then_sends_then_one_span_for_each_operator(
    exported: Received,
) -> None:
    (root,) = exported.named("run")

    assert tree(exported.spans, root) == TREE
    assert len(exported.spans) == 25  # and nothing beside the tree
    assert {span.trace for span in exported.spans} == {root.trace}


def test_a_send_says_how_large_it_is_why_it_left_and_which_numbers_it_carries(
    exported: Received,
) -> None:
    sends = [span.attributes for span in exported.named("send chat")]

    assert sends == [
        {
            "rx_agui.pipeline.name": "chat",
            "rx_agui.batch.size": size,
            "rx_agui.batch.trigger": trigger,
            "rx_agui.batch.producer.count": producers,
            "rx_agui.sequence.first": first,
            "rx_agui.sequence.last": first + size - 1,
        }
        for size, trigger, producers, first in [
            (40, "size", 2, 1),
            (40, "size", 1, 41),
            (20, "completed", 1, 81),
        ]
    ]


def test_a_send_links_to_the_steps_of_the_agent_and_how_many_events_each_gave(
    exported: Received,
) -> None:
    steps = {
        name: (span.trace, span.id)
        for name in ("think", "answer")
        for span in exported.named(name)
    }
    sends = exported.named("send chat")

    assert [send.links for send in sends] == [
        (steps["think"], steps["answer"]),
        (steps["answer"],),
        (steps["answer"],),
    ]
    assert [send.link_attributes for send in sends] == [
        ({"rx_agui.event.count": 30}, {"rx_agui.event.count": 10}),
        ({"rx_agui.event.count": 40},),
        ({"rx_agui.event.count": 20},),
    ]


def test_each_operator_tells_what_it_did(exported: Received) -> None:
    (first, *_) = exported.named("send chat")
    told = {
        span.name: dict(span.attributes)
        for span in exported.spans
        if span.parent == first.id
    }
    compress = told["compress"]

    assert {facts.pop("rx_agui.operator.name") for facts in told.values()} == set(told)
    assert told["flow_control"] == {"rx_agui.flow_control.wait": 0.0}
    assert told["sequence"] == {
        "rx_agui.sequence.first": 1,
        "rx_agui.sequence.last": 40,
    }
    assert told["batch"] == {
        "rx_agui.batch.size": 40,
        "rx_agui.batch.trigger": "size",
    }
    assert compress["rx_agui.compress.algorithm"] == "gzip"
    assert compress["rx_agui.compress.outcome"] == "compressed"
    assert (
        0
        < compress["rx_agui.compress.output.size"]
        < compress["rx_agui.compress.input.size"]
    )
    assert told["chunk"] == {"rx_agui.chunk.count": 1}
    assert told["sink.write"]["rx_agui.sink.size"] > 0


def test_spans_follow_each_other_as_the_payload_went(exported: Received) -> None:
    def within(inner: SeenSpan, outer: SeenSpan) -> bool:
        return outer.begun <= inner.begun <= inner.ended <= outer.ended

    (stream,) = exported.named("stream chat")
    for send in exported.named("send chat"):
        steps = {span.name: span for span in exported.spans if span.parent == send.id}
        assert within(send, stream)
        assert all(within(step, send) for step in steps.values())
        way = [steps[name] for name in OPERATORS]
        assert [span.ended for span in way] == sorted(span.ended for span in way)


def test_what_arrives_says_who_sent_it(exported: Received) -> None:
    (stream,) = exported.named("stream chat")

    assert stream.service.startswith("chat over ")
    ours = [span for span in exported.spans if span.name not in TREE[1::3]]
    assert {span.scope for span in exported.spans} == {(SCOPE, VERSION), ("agent", "")}
    assert {s.scope for s in ours if s.name in OPERATORS} == {(SCOPE, VERSION)}
    assert stream.attributes["rx_agui.session.close.reason"] == "completed"


# -- metrics ------------------------------------------------------------------------


def test_metrics_arrive_with_the_units_and_kinds_of_the_table(
    exported: Received,
) -> None:
    table = {seen.name: (seen.unit, seen.kind) for seen in OBSERVABLES}
    table |= {seen.name: (seen.unit, "histogram") for seen in HISTOGRAMS.values()}
    table["rx_agui.session.active"] = "{session}", "updowncounter"
    # On the wire an UpDownCounter is a sum that may fall.
    arrived = {
        name: (metric.unit, metric.kind.replace("sum", "updowncounter"))
        for name, metric in exported.metrics.items()
        if metric.scope == (SCOPE, VERSION)
    }

    assert arrived == {name: table[name] for name in arrived}
    assert arrived.keys() >= {
        f"rx_agui.{name}"
        for name in (
            "batch.size",
            "chunk.emitted.chunks",
            "compress.events",
            "compress.input.size",
            "compress.output.size",
            "event.delivery.duration",
            "flow_control.inflight",
            "flow_control.limit",
            "operator.emitted.events",
            "operator.held.events",
            "operator.received.events",
            "operator.time",
            "session.active",
            "session.duration",
            "session.time_to_first_event",
            "sink.sent.frames",
            "sink.sent.size",
            "sink.write.duration",
        )
    }


def test_a_metric_never_carries_an_id(exported: Received) -> None:
    labels = {
        label
        for metric in exported.metrics.values()
        for point in metric.points
        for label in point
    }

    assert not {label for label in labels if label.endswith((".id", ".first", ".last"))}


# -- settings -----------------------------------------------------------------------


def test_the_standard_variables_win(rotel: Rotel) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    done = run_python(
        *(RUN, "argument", nobody, "grpc"),
        OTEL_SERVICE_NAME="variable",
        OTEL_EXPORTER_OTLP_ENDPOINT=rotel.http,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert len(rotel.trace("variable", 25)) == 25


def test_the_variables_of_one_signal_win_over_those_of_all(rotel: Rotel) -> None:
    done = run_python(
        *(RUN, "argument", "", "grpc"),
        OTEL_RESOURCE_ATTRIBUTES="service.name=resource",
        OTEL_METRICS_EXPORTER="none",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{rotel.http}/v1/traces",
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http/protobuf",
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert len(rotel.trace("resource", 25)) == 25


def test_a_sampler_that_takes_nothing_leaves_nothing_to_send(rotel: Rotel) -> None:
    done = run_python(
        *(RUN, "unsampled", rotel.grpc, "grpc"), OTEL_TRACES_SAMPLER="always_off"
    )
    assert (done.returncode, done.stderr) == (0, "")

    received = rotel.sink.wait_until(
        lambda received: any(
            metric.service == "unsampled" for metric in received.metrics.values()
        )
    )

    assert not [span for span in received.spans if span.service == "unsampled"]


def test_a_provider_that_is_set_already_stays(rotel: Rotel) -> None:
    code = f"""
from opentelemetry import metrics, trace
from rx_agui.telemetry import setup_otlp

first = setup_otlp("first", {rotel.grpc!r})
providers = trace.get_tracer_provider(), metrics.get_meter_provider()
second = setup_otlp("second", {rotel.grpc!r})
assert providers == (trace.get_tracer_provider(), metrics.get_meter_provider())
second()  # shuts down nothing that is not its own
trace.get_tracer("t").start_span("still told").end()
first()
"""
    done = run_python("-c", code)

    assert (done.returncode, done.stderr) == (0, "")
    assert [span.name for span in rotel.trace("first", 1)] == ["still told"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_without_a_collector_here_the_end_says_so_and_does_not_wait(
    protocol: str,
) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    # An export that is retried waits for its time-out, which no test would outlast. The
    # run flushes metrics itself, so it sends none.
    done = run_python(
        RUN,
        *("chat", f"http://{nowhere}", protocol),
        OTEL_EXPORTER_OTLP_TIMEOUT="3600",
        OTEL_METRICS_EXPORTER="none",
    )

    assert done.returncode == 0
    said = rf"UserWarning: no OTLP collector listens at \S*{nowhere}\S*: traces are not"
    assert re.search(said, done.stderr)


def test_a_missing_sdk_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)

    with pytest.raises(MissingExtraError, match=r'pip install "rx-agui\[otel\]"'):
        setup_otlp()


def test_a_missing_exporter_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
    monkeypatch.setitem(sys.modules, exporter, None)

    with pytest.raises(MissingExtraError, match=r"needs .*opentelemetry-exporter-otlp"):
        setup_otlp()


def test_a_protocol_nobody_speaks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="one of grpc, http/protobuf, got 'http'"):
        setup_otlp(protocol="http")  # type: ignore[arg-type]

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    with pytest.raises(
        ConfigError, match="one of grpc, http/protobuf, got 'http/json'"
    ):
        setup_otlp()


# -- opentelemetry-instrument ----------------------------------------------------------


def test_opentelemetry_instrument_finds_us_and_can_take_us_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    group = "opentelemetry_instrumentor"
    ((name, value),) = project["entry-points"][group].items()
    monkeypatch.setattr(probe, "listeners", [])

    instrumentor = EntryPoint(name, value, group).load()()
    assert list(instrumentor.instrumentation_dependencies()) == []
    instrumentor.instrument()
    instrumentor.instrument(skip_dep_check=True)
    assert [type(listener) for listener in probe.listeners] == [Telemetry]

    instrumentor.uninstrument()
    assert probe.listeners == []


# -- the example ------------------------------------------------------------------------


def test_the_example_sends_its_trace_and_says_where_to_look(rotel: Rotel) -> None:
    done = run_python(APP, OTEL_EXPORTER_OTLP_ENDPOINT=rotel.grpc)
    assert (done.returncode, done.stderr) == (0, "")

    *writes, last = done.stdout.splitlines()
    assert writes
    spans = rotel.trace("rx_agui demo", 1)
    (root,) = [span for span in spans if span.name == "POST /agent"]
    assert last == f"Look at it: http://localhost:16686/trace/{root.trace}"
    assert {span.name for span in spans} == {
        *("POST /agent", "agent think", "agent search", "agent answer"),
        *("stream chat", "send chat", *OPERATORS),
    }


def test_the_example_says_so_when_no_collector_listens() -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    done = run_python(APP, OTEL_EXPORTER_OTLP_ENDPOINT=nobody)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"No collector listens at {nobody}")
    assert done.stderr.count("\n") == 1


def test_the_example_says_how_to_run_it_and_fits_on_a_screen() -> None:
    text = APP.read_text("utf-8")

    assert "python examples/telemetry/app.py" in text
    assert text.count("\n") <= 80
