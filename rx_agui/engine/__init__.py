"""The engine under every operator: a subscription, its head, its stages, its executor.

    source ──▶ head ──▶ Stage ──▶ Stage ──▶ observer      one Subscription

An operator of your own is a `Stage` and a function that lifts it:

>>> from reactivex import from_iterable
>>> from rx_agui.engine import Stage, Subscription, lift
>>> from rx_agui.frame import Frame
>>> class _OnlyText(Stage):
...     word = "only_text"
...
...     def next(self, frame: Frame) -> None:
...         if b"TEXT_MESSAGE" in frame.data:
...             self.passed += frame.events
...             self.emit(frame)
...         else:
...             self.taken += frame.events
...             self.count_drop("not_text", frame.events)
>>> def only_text():
...     return lift(_OnlyText)
>>> events = from_iterable([{"type": "TEXT_MESSAGE_END"}, {"type": "RAW"}])
>>> frames = []
>>> _ = events.pipe(only_text()).subscribe(frames.append)
>>> [frame.data for frame in frames]
[b'{"type":"TEXT_MESSAGE_END"}']
"""

from rx_agui.engine._head import HeadSubscriber
from rx_agui.engine._lift import (
    Attended,
    Lifted,
    Operator,
    Sink,
    StageSpec,
    connect,
    lift,
    operator,
    stages_of,
)
from rx_agui.engine._named import NamedPipeline
from rx_agui.engine._protocols import AnyHead, AnyStage, BatchSink, QueuedSink
from rx_agui.engine._stage import Errors, Stage, as_frame
from rx_agui.engine._subscription import Subscription

__all__ = [
    "AnyHead",
    "AnyStage",
    "Attended",
    "BatchSink",
    "Errors",
    "HeadSubscriber",
    "Lifted",
    "NamedPipeline",
    "Operator",
    "QueuedSink",
    "Sink",
    "Stage",
    "StageSpec",
    "Subscription",
    "as_frame",
    "connect",
    "lift",
    "operator",
    "stages_of",
]
