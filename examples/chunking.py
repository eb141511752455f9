"""A state of 300 kB leaves in pieces of 64 kB, and is whole again at the reader.

python examples/chunking.py
"""

import reactivex as rx
from reactivex import operators as ops

from rx_agui import EventStream, StreamConfig, decompress, reassemble, unbatch

state = {f"section {i}": "Déjà vu: 流水不腐，户枢不蠹。🌊 " * 30 for i in range(200)}
snapshot = {"type": "STATE_SNAPSHOT", "snapshot": state}

config = StreamConfig(max_chunk_size=64 * 1024, compression_enabled=False)
with EventStream(config) as stream:
    stream.send({"type": "STEP_STARTED", "stepName": "think"})
    stream.send(snapshot)
    stream.send({"type": "STEP_FINISHED", "stepName": "think"})
    stream.complete()
    chunks = list(stream.receive_chunks())

for chunk in chunks:
    piece = f"piece {chunk.chunk_index + 1} of {chunk.total_chunks}"
    resume = f"a reader may resume behind {chunk.event_id}" if chunk.event_id else "-"
    print(f"{piece:<15} {len(chunk.data):>6,} bytes   {resume}")

# Our clients do this, in Python and in JavaScript. The order of arrival is no matter.
events = rx.from_iterable(chunks[::-1]).pipe(
    reassemble(), decompress(), unbatch(), ops.to_list()
)
read = events.run()
print("whole again:", [event["type"] for event in read], read[1] == snapshot)
