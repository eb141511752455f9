#!/usr/bin/env bash
# OpenTelemetry: a span takes bytes, a dict or None as an attribute; the console exporter then drops the batch's rest
#
# Versions: opentelemetry-sdk 1.45.2
# Guess:    a value that is no string, number, bool or list of one kind is refused with a warning, the span is sent.
# Seen:     all three are kept as they are, without a word. To OTLP they go as bytes, a list of pairs and an empty value;
#           ConsoleSpanExporter cannot write bytes: it raises in the middle, the spans behind it in the batch are gone,
#           and force_flush() is True.
# Why:      a frame put on a span by mistake (bytes, or an event's dict with a user's text) is no longer caught here. It
#           goes out whole, and with the exporter that one tries first it takes other spans with it.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile opentelemetry-sdk==1.45.2
"$dir/v/bin/python" - <<'E'
import io
import json
import logging
import sys

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

warned = []


class Warned(logging.Handler):
    def emit(self, record):
        warned.append(record.getMessage())


logging.getLogger().addHandler(Warned())
memory, out = InMemorySpanExporter(), io.StringIO()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(memory, schedule_delay_millis=60000))
console = BatchSpanProcessor(ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None) + "\n"), schedule_delay_millis=60000)
provider.add_span_processor(console)
tracer = provider.get_tracer("finding")
for name, value in (("first", {"a": {"b": [1]}}), ("second", None), ("third", b"data: x"), ("fourth", 1)):
    with tracer.start_as_current_span(name) as span:
        span.set_attribute("value", value)
quiet = list(warned)
flushed = provider.force_flush()
saw = {
    "kept": [(s.name, s.attributes["value"]) for s in memory.get_finished_spans()],
    "warned when set": quiet,
    "flushed": flushed,
    "on the console": [json.loads(line)["name"] for line in out.getvalue().splitlines()],
    "logged when exported": warned,
}
provider.shutdown()
print(saw)
want = {
    "kept": [("first", {"a": {"b": (1,)}}), ("second", None), ("third", b"data: x"), ("fourth", 1)],
    "warned when set": [],
    "flushed": True,
    "on the console": ["first", "second"],
    "logged when exported": ["Exception while exporting Span."],
}
sys.exit("CHANGED" if saw != want else 0)
E
