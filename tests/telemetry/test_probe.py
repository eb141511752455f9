"""Who is told, when, and that telling harms nobody."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as contexts
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from reactivex import operators as ops
from reactivex.subject import Subject

import rx_agui
from rx_agui import (
    SSEWriter,
    StreamMeter,
    batch,
    flow_control,
    from_iterable,
    pipeline,
)
from rx_agui.errors import ConfigError
from rx_agui.probe import (
    OperatorCounters,
    PayloadTrace,
    Probe,
    StreamObservation,
    listeners,
    watching,
)
from rx_agui.telemetry import Telemetry
from rx_agui.testing import simulated_run
from tests.support.told import Told

EVENTS = list(simulated_run(words=20))
HOUSE = Path(rx_agui.__file__).parent.parent


def run(telemetry: Probe | None = None, *operators: Any) -> bytes:
    written: list[bytes] = []
    writer = SSEWriter(written.append)
    from_iterable(EVENTS).pipe(
        pipeline("chat", *operators, telemetry=telemetry)
    ).subscribe(writer)
    writer.done.result(10)
    return b"".join(written)


def in_a_process(program: str, **environ: str) -> str:
    """What a program prints that runs by itself; it must end well and say nothing else."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(HOUSE), **environ},
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


# -- with the global providers, and without an SDK ------------------------------------


def test_a_hand_written_pipe_is_told_once_providers_are_set() -> None:
    program = """
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from rx_agui import *
        from rx_agui.telemetry import Telemetry
        from rx_agui.testing import simulated_run

        def run():
            writer = SSEWriter(lambda data: None)
            from_iterable(simulated_run(5)).pipe(
                flow_control(), sequence(), batch(), compress(), chunk()
            ).subscribe(writer)
            writer.done.result(10)

        run()  # nobody is told: there is no provider
        exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
        trace.set_tracer_provider(TracerProvider())
        trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
        metrics.set_meter_provider(MeterProvider([reader]))
        run()
        explicit = Telemetry(meter_provider=metrics.get_meter_provider())
        from_iterable(simulated_run(5)).pipe(pipeline("chat", telemetry=explicit)).subscribe()

        names = [span.name for span in exporter.get_finished_spans()]
        print(sorted(set(names)), names.count("stream default"), names.count("stream chat"))
        data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        active = next(m for m in data if m.name == "rx_agui.session.active")
        duration = next(m for m in data if m.name == "rx_agui.session.duration")
        print(sorted(p.attributes["rx_agui.pipeline.name"] for p in active.data.data_points))
        print(sum(p.count for p in duration.data.data_points))
    """

    spans, streams, durations = in_a_process(program).splitlines()

    operators = {"flow_control", "sequence", "batch", "compress", "chunk", "sink.write"}
    both = {"send default", "stream default", "send chat", "stream chat"}
    assert spans == f"{sorted(operators | both)} 1 1"
    assert streams == "['chat', 'default']"
    assert durations == "2"


def test_without_an_sdk_everything_works_and_nothing_is_told() -> None:
    program = """
        import sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, Blocker())
        from rx_agui import *
        from rx_agui.probe import watch_here
        from rx_agui.telemetry import Telemetry, setup_otlp
        from rx_agui.testing import simulated_run

        events = list(simulated_run(5))
        for told in (None, Telemetry(propagate="envelope", traced_per_second=None)):
            heard = []
            from_iterable(events).pipe(
                pipeline("chat", telemetry=told), reassemble(), decompress(), unbatch()
            ).subscribe(heard.append)
            print(heard == events)
        print(watch_here())
        meter = StreamMeter()
        from_iterable(events).pipe(pipeline("chat", telemetry=meter)).subscribe()
        print(meter.metrics().events_processed == len(events))
        try:
            setup_otlp()
        except MissingExtraError as error:
            print(error)
    """

    assert in_a_process(program).splitlines() == [
        "True",
        "True",
        "None",
        "True",
        "setup_otlp needs opentelemetry-sdk and opentelemetry-exporter-otlp: "
        'pip install "rx-agui[otel]"',
    ]


def test_to_import_us_sets_no_provider_and_makes_no_instrument() -> None:
    program = """
        import rx_agui
        from opentelemetry import metrics, trace
        print(type(trace.get_tracer_provider()).__name__)
        print(type(metrics.get_meter_provider()).__name__)
    """

    assert in_a_process(program).splitlines() == [
        "ProxyTracerProvider",
        "_ProxyMeterProvider",
    ]


# -- whether anybody is told -----------------------------------------------------------


def test_nobody_watches_until_somebody_wants_to_know() -> None:
    asleep = Telemetry()  # no provider is set here

    assert not asleep.is_awake()
    assert any(isinstance(listener, Telemetry) for listener in listeners)


def test_a_disabled_sdk_is_told_nothing(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", " True ")
    run(told.telemetry())

    assert told.spans() == []
    assert told.metrics() == {}


@pytest.mark.parametrize(
    "key",
    ["suppress_instrumentation", contexts._SUPPRESS_INSTRUMENTATION_KEY],
    ids=["by its name", "by opentelemetry's own key"],
)
def test_what_runs_under_suppression_is_not_told(told: Told, key: str) -> None:
    token = contexts.attach(contexts.set_value(key, True))
    try:
        run(told.telemetry())
    finally:
        contexts.detach(token)

    assert told.spans() == []
    assert told.metrics() == {}


def test_a_pipelines_own_telemetry_stands_in_for_the_general_one() -> None:
    general, own = Told(), Told()
    with watching(general.telemetry()):
        run(own.telemetry())
        run()

    assert [span.name for span in own.spans("stream")] == ["stream chat"]
    assert [span.name for span in general.spans("stream")] == ["stream chat"]


def test_another_probe_and_the_general_one_are_both_told() -> None:
    general, meter = Told(), StreamMeter()
    with watching(general.telemetry()):
        run(meter)

    assert meter.metrics().events_processed == len(EVENTS)
    assert len(general.spans("stream")) == 1


def test_providers_can_be_given_one_by_one(told: Told) -> None:
    run(Telemetry(tracer_provider=told.tracers))
    assert told.metrics() == {}
    assert told.spans("stream")
    told.exporter.clear()
    run(Telemetry(meter_provider=told.meters))
    assert told.spans() == []
    assert told.metrics()


# -- settings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        (
            "spans",
            "all",
            "spans must be one of off, stream, batch, operator, got 'all'",
        ),
        ("metrics", "some", "metrics must be one of off, counters, full, got 'some'"),
        ("propagate", "b3", "propagate must be one of none, envelope, got 'b3'"),
        ("max_links", -1, "max_links must be at least 0, got -1"),
        ("traced_per_second", -1, "traced_per_second must be at least 0, got -1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(
    setting: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Telemetry(**{setting: value})  # type: ignore[arg-type]

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "SPANS",
            "all",
            "spans must be one of off, stream, batch, operator, got 'all'",
        ),
        ("METRICS", "some", "metrics must be one of off, counters, full, got 'some'"),
        ("PROPAGATE", "b3", "propagate must be one of none, envelope, got 'b3'"),
        (
            "MAX_LINKS",
            "many",
            "RX_AGUI_TELEMETRY_MAX_LINKS must be a number, got 'many'",
        ),
    ],
)
def test_a_variable_that_makes_no_sense_is_refused(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"RX_AGUI_TELEMETRY_{name}", value)
    with pytest.raises(ConfigError) as caught:
        Telemetry()

    assert str(caught.value) == message


def test_a_variable_speaks_for_all_that_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SPANS": "batch", "METRICS": "counters", "PROPAGATE": "envelope", "MAX_LINKS": "7",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"RX_AGUI_TELEMETRY_{name}", value)
    silent = Telemetry()
    outspoken = Telemetry(spans="off", metrics="full", propagate="none", max_links=0)

    def settings(t: Telemetry) -> tuple[object, ...]:
        return t.spans, t.metrics, t.propagate, t.max_links

    assert settings(silent) == ("batch", "counters", "envelope", 7)
    assert settings(outspoken) == ("off", "full", "none", 0)


def test_the_defaults_are_those_that_are_promised() -> None:
    telemetry = Telemetry()

    assert (telemetry.spans, telemetry.metrics) == ("operator", "full")
    assert (telemetry.propagate, telemetry.max_links) == ("none", 32)
    assert telemetry._traced_per_second == 20.0


# -- what raises ------------------------------------------------------------------------


class Raising(Probe):
    """Raises whatever it is told."""

    def __init__(self, where: str) -> None:
        setattr(self, where, self.fail)

    def fail(self, *facts: object) -> Any:
        raise RuntimeError("a probe that is broken")


WORDS = [
    "is_awake",
    "started",
    "joined",
    "sending",
    "sent",
    "waited",
    "wrote",
    "ended",
]


@pytest.mark.parametrize("where", WORDS)
def test_a_probe_that_raises_harms_nobody(
    told: Told, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = run()
    with watching(told.telemetry()):
        assert run(Raising(where)) == expected

    assert told.span("stream").name == "stream chat"
    assert told.read().value("sink.sent.frames") > 0
    assert told.read().value("session.active") == 0
    complaints = [r for r in caplog.records if r.name == "rx_agui"]
    assert len(complaints) == (0 if where == "waited" else 1)


def test_a_tracer_that_raises_harms_nobody(told: Told) -> None:
    class Broken(TracerProvider):
        def get_tracer(self, *args: Any, **more: Any) -> Any:
            raise RuntimeError("no tracer")

    expected = run()

    assert run(Telemetry(Broken(), told.meters)) == expected
    assert told.read().value("session.active") == 0
    assert told.read().histogram("session.duration")[0] == 1


@pytest.mark.parametrize("propagate", ["none", "envelope"])
def test_a_span_processor_that_raises_harms_nobody(told: Told, propagate: Any) -> None:
    class Broken(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("no room")

    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(Broken())
    telemetry = Telemetry(
        tracers, told.meters, traced_per_second=None, propagate=propagate
    )

    assert len(run(telemetry)) >= len(run())
    assert told.read().value("session.active") == 0
    assert told.read().histogram("session.duration", reason="completed")[0] == 1


def test_an_exporter_that_raises_harms_nobody(told: Told) -> None:
    class Broken(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            raise RuntimeError("no collector")

    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(Broken()))
    logging.getLogger("opentelemetry.sdk").setLevel(logging.CRITICAL)
    try:
        assert run(Telemetry(tracers, told.meters)) == run()
    finally:
        logging.getLogger("opentelemetry.sdk").setLevel(logging.NOTSET)


def test_a_meter_provider_that_raises_harms_nobody(told: Told) -> None:
    class Broken(MeterProvider):
        def get_meter(self, *args: Any, **more: Any) -> Any:
            raise RuntimeError("no meter")

    broken = Broken([InMemoryMetricReader()], shutdown_on_exit=False)

    assert run(Telemetry(told.tracers, broken)) == run()


# -- what probes hear -----------------------------------------------------------------


def test_a_probe_hears_one_stream_from_its_beginning_to_its_end() -> None:
    class Hearing(Probe):
        def started(self, watch: StreamObservation) -> None:
            heard.append("started")

        def joined(self, watch: StreamObservation, tally: OperatorCounters) -> None:
            heard.append(tally.name)

        def sent(self, send: PayloadTrace) -> None:
            heard.append(f"sent {send.events}")

        def ended(self, watch: StreamObservation) -> None:
            heard.append(f"ended {watch.reason}")
            names.extend(tally.name for tally in watch.operators)

    heard: list[str] = []
    names: list[str] = []
    run(Hearing(), flow_control(), ops.map(lambda frame: frame), batch(len(EVENTS)))

    assert heard == [
        "started",
        "batch",
        "flow_control",
        "sink",
        f"sent {len(EVENTS)}",
        "ended completed",
    ]
    assert names == ["flow_control", "batch", "sink"]


def test_the_last_payload_is_told_of_before_the_end() -> None:
    class Hearing(Probe):
        def sent(self, send: PayloadTrace) -> None:
            heard.append("sent")

        def ended(self, watch: StreamObservation) -> None:
            heard.append("ended")

    def fail(data: bytes) -> None:
        raise ConnectionResetError

    heard: list[str] = []
    source: Subject[Any] = Subject()
    source.pipe(pipeline("chat", batch(10, 60.0), telemetry=Hearing())).subscribe(
        SSEWriter(fail)
    )
    source.on_next(EVENTS[0])
    source.on_completed()

    assert heard == ["sent", "ended"]


def test_a_reading_never_falls_while_events_move_from_one_integer_to_another() -> None:
    class Batching(OperatorCounters):
        waiting = 3

        @property
        def received(self) -> int:
            return super().received + self.waiting

    tally = Batching("batch")
    before = tally.read()
    tally.waiting = 0  # it has left, and is not counted yet
    between = tally.read()
    tally.taken = tally.sent = 3
    after = tally.read()

    received = [reading.received for reading in (before, between, after)]
    held = [reading.held for reading in (before, between, after)]
    assert (received, held) == ([3, 3, 3], [3, 3, 0])
