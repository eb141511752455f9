"""Types that signatures share: what an event may be, what an operator takes and gives.

    Event  ──▶ Operator[Item, Frame] ──▶ Operator[Item, StreamChunk] ──▶ StreamChunk

Nothing here exists at run time but the names, so importing it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    Union,
)

from reactivex import Observable

if TYPE_CHECKING:
    # An operator whose types are not known is `Operator`, as in RxPY: of anything, to
    # anything. The default of a type variable is Python 3.13's; checkers know it.
    from typing_extensions import TypeVar as _TypeVar

    T = _TypeVar("T", default=Any)
    R = _TypeVar("R", default=Any)
else:
    T = TypeVar("T")
    R = TypeVar("R")

__all__ = [
    "AlgorithmName",
    "Conflate",
    "DataclassInstance",
    "Event",
    "Item",
    "OnGap",
    "OnTrimmed",
    "Operator",
    "Overflow",
    "Patches",
    "Profile",
    "Raw",
    "RawEvent",
    "SlidingWindow",
    "Step",
    "StructInstance",
    "WhenOpen",
]

#: A function from one Observable to another: what `pipe` takes.
Operator: TypeAlias = Callable[[Observable[T]], Observable[R]]


class DataclassInstance(Protocol):
    """An object of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class StructInstance(Protocol):
    """An object of a msgspec Struct."""

    __struct_fields__: ClassVar[tuple[str, ...]]


#: What counts as an event: an object of `ag_ui.core` or another pydantic model, a
#: mapping, a dataclass, a msgspec Struct, or JSON that is encoded already. Strings are
#: not: whether they are JSON or text would be a guess.
Event: TypeAlias = Union[
    Mapping[str, object],
    "BaseModel",
    DataclassInstance,
    StructInstance,
    bytes,
    bytearray,
    memoryview,
]

#: What an operator takes: events, or the frames of an operator further up.
Item: TypeAlias = Union[Event, "Frame"]


#: `flow_control`: what happens to an event that meets no credit.
Overflow: TypeAlias = Literal[
    "wait", "error", "drop_oldest", "drop_newest", "latest", "conflate"
]
#: `sequence` and `resequence`: what happens when a number is given up.
OnGap: TypeAlias = Literal["skip", "error"]
#: `compress`: the codec of a payload.
AlgorithmName: TypeAlias = Literal["gzip", "deflate", "lz4", "zstd", "none"]
#: `conflate` and `degrade`: what becomes of RAW events, and of `rawEvent`.
Raw: TypeAlias = Literal["keep", "strip", "drop"]
#: `conflate(raw_event=)`, the older name of `raw`.
RawEvent: TypeAlias = Literal["strip", "keep_last", "barrier"]
#: `conflate`: which state patches merge.
Patches: TypeAlias = Literal["proven", "all"]
#: `circuit_breaker`: what the shares are of, calls or seconds.
SlidingWindow: TypeAlias = Literal["count", "time"]
#: `circuit_breaker`: what producers see while it is open.
WhenOpen: TypeAlias = Literal["refuse", "wait"]
#: `degrade`: what it takes away, in order.
Step: TypeAlias = Literal["compress", "batch", "conflate", "shed", "refuse"]
#: `SSEResponse`: plain AG-UI events, or compressed and cut payloads for our clients.
Profile: TypeAlias = Literal["agui", "chunk"]
#: `SSEResponse`: which readers get fewer and larger events.
Conflate: TypeAlias = Literal["never", "lagging", "always"]
#: `connect`: what to do when a log no longer reaches back far enough.
OnTrimmed: TypeAlias = Literal["error", "prelude"]

if TYPE_CHECKING:
    from pydantic import BaseModel

    from rx_agui.frame import Frame
