#!/usr/bin/env bash
# OpenTelemetry: a full batch processor drops the oldest spans, and says so once
#
# Versions: opentelemetry-sdk 1.45.2
# Guess:    a span that finds the queue full is dropped itself; what is queued stays.
# Seen:     the newcomer goes in and the oldest one falls out: of ten spans for a queue of four the last four are sent.
#           Six are lost; one warning ("Queue full, dropping Span.") is logged for all of them.
# Why:      in a burst it is the beginning that is missing, the spans that tell what set it off, and the log's lines do
#           not count the loss. Batch-level spans or a larger queue, not the log, are the remedy.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile opentelemetry-sdk==1.45.2
"$dir/v/bin/python" - <<'E'
import logging
import sys
import threading

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

sent, warned = [], []
busy, go = threading.Event(), threading.Event()


class Slow(SpanExporter):
    def export(self, spans):
        busy.set()
        go.wait(20)
        sent.append([span.name for span in spans])
        return SpanExportResult.SUCCESS


class Warned(logging.Handler):
    def emit(self, record):
        warned.append(record.getMessage())


logging.getLogger().addHandler(Warned())
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(Slow(), max_queue_size=4, max_export_batch_size=2, schedule_delay_millis=60000))
tracer = provider.get_tracer("finding")
for n in (-2, -1):
    tracer.start_span(str(n)).end()
busy.wait(20)
for n in range(10):
    tracer.start_span(str(n)).end()
go.set()
provider.force_flush()
provider.shutdown()
print(sent, warned)
want = [["-2", "-1"], ["6", "7"], ["8", "9"]], ["Queue full, dropping Span."]
sys.exit("CHANGED" if (sent, warned) != want else 0)
E
