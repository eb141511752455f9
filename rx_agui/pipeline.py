"""A pipeline with a name, and with telemetry of its own.

    events.pipe(pipeline("chat"))                              all five, with defaults
    events.pipe(pipeline("chat", flow_control(), batch()))     those you give it

The name is what traces and metrics are found by. It also puts eight operators and
more into one: RxPY types `pipe` up to seven.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from rx_agui.errors import ConfigError
from rx_agui.probe import Probe

if TYPE_CHECKING:
    from reactivex import Observable

    from rx_agui.frame import StreamChunk

__all__ = ["pipeline"]

T = TypeVar("T")

Operator = Callable[["Observable[Any]"], "Observable[Any]"]


@overload
def pipeline(
    name: str = "default", /, *, telemetry: Probe | None = None
) -> Callable[[Observable[Any]], Observable[StreamChunk]]: ...


@overload
def pipeline(
    name: str,
    /,
    *operators: Callable[[Observable[Any]], Observable[T]],
    telemetry: Probe | None = None,
) -> Callable[[Observable[Any]], Observable[T]]: ...


def pipeline(
    name: str = "default", /, *operators: Operator, telemetry: Probe | None = None
) -> Callable[[Observable[Any]], Observable[Any]]:
    """Compose operators into one, under a name.

    >>> from rx_agui import from_iterable
    >>> events = [{"type": "STEP_STARTED", "stepName": "think"}]
    >>> _ = from_iterable(events).pipe(pipeline("chat")).subscribe(
    ...     lambda chunk: print(chunk.event_id, chunk.data)
    ... )
    1 b'{"type":"STEP_STARTED","stepName":"think"}'

    Args:
        name: What telemetry calls it. One name for what is one thing to its operator:
            it is an attribute of every metric, so never an id.
        operators: In order, any number; none means `flow_control`, `sequence`, `batch`,
            `compress` and `chunk` with their defaults.
        telemetry: Instead of what every stream has: a `Telemetry` with providers of its
            own, or any other probe.

    Raises:
        ConfigError: The name is empty.
    """
    if not name:
        raise ConfigError("name", name, must="not empty")
    # Here, since `import rx_agui` imports this module: operators take 0.2 s more.
    from reactivex import compose

    from rx_agui.engine import NamedPipeline
    from rx_agui.operators import batch, chunk, compress, flow_control, sequence

    steps = operators or (flow_control(), sequence(), batch(), compress(), chunk())
    probes = () if telemetry is None else (telemetry,)
    return lambda source: NamedPipeline(compose(*steps)(source), name, probes)
