"""What an error says, and that it survives a trip to another process."""

from __future__ import annotations

import pickle
import warnings

import pytest
import reactivex as rx

import rx_agui
from rx_agui import (
    ConfigError,
    EventStream,
    GapError,
    LostError,
    StreamConfig,
    StreamError,
    batch,
    errors,
    flow_control,
    operators,
    sequence,
)

ARGUMENTS: dict[str, tuple[object, ...]] = {
    "AlreadySubscribedError": ("a Gate", "make another"),
    "BackpressureTimeoutError": (5.0, 100),
    "BrokenOffError": ("a source", BaseException("x")),
    "BufferOverflowError": (10,),
    "CircuitOpenError": (1.5,),
    "CompressionError": ("gzip", 3, OSError("x"), 1, 2),
    "ConfigError": ("batch_size", 0, "positive"),
    "ConnectionLostError": ("cut",),
    "DeadlineExceededError": (3.0, "r/1"),
    "DrainTimeoutError": (3, 1.0),
    "DuplicateError": (7,),
    "GapError": (2, 3),
    "GoneError": ("http://x", 410, "gone"),
    "IncompleteError": (1, 2, 3),
    "LateError": (7,),
    "LogFullError": (5, 4),
    "LostError": (2, 1, 2, OSError("gone")),
    "MissingExtraError": ("RedisLog", "redis", "redis"),
    "OverloadedError": (2.5,),
    "PayloadTooLargeError": ("a payload", 10),
    "ProcessingError": ("fallback", {}, OSError("x")),
    "RefusedError": ("http://x", 404, "no"),
    "TrimmedError": ("run", 3, 9),
    "UnknownStreamError": ("run",),
    "ValidationError": ({}, "not JSON"),
}
KINDS = [
    kind for name in errors.__all__ if isinstance(kind := getattr(errors, name), type)
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_that_was_pickled_says_and_carries_the_same(
    kind: type[StreamError],
) -> None:
    error = kind(*ARGUMENTS.get(kind.__name__, ()))

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is kind
    assert str(again) == str(error)
    assert {k: repr(v) for k, v in vars(again).items()} == {
        k: repr(v) for k, v in vars(error).items()
    }


def test_one_event_is_told_of_in_the_singular() -> None:
    gone = OSError("gone")

    assert str(LostError(1, 7, 7, gone)) == f"1 event (number 7) was lost: {gone!r}"
    assert str(LostError(2, 7, 8, gone)).startswith("2 events (numbers 7 to 8) were")
    assert str(LostError(1, 0, 0, gone)).startswith("1 event was lost")
    assert str(GapError(7, 7)) == "number 7 never came and was given up"
    assert str(GapError(7, 8)) == "numbers 7 to 8 never came and were given up"


@pytest.mark.parametrize("name", operators.__all__)
def test_an_operator_without_its_parentheses_says_so(name: str) -> None:
    with pytest.raises(TypeError, match=rf"write {name}\(\), not {name}$"):
        rx.of({"n": 1}).pipe(getattr(rx_agui, name))


def test_what_is_hardly_meant_in_seconds_warns_with_what_to_write() -> None:
    with pytest.warns(UserWarning, match=r"for milliseconds write batch_timeout=0.05"):
        batch(batch_timeout=50)
    with pytest.warns(UserWarning, match=r"flush_interval=0.1"):
        StreamConfig(flush_interval=100.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch(batch_timeout=10)
        StreamConfig(batch_timeout=5.0)


def test_an_event_stream_takes_no_dict() -> None:
    with pytest.raises(ConfigError, match=r"write StreamConfig\.from_mapping"):
        EventStream({"batch_size": 3})  # type: ignore[arg-type]


@pytest.mark.parametrize("variable", ["RX_AGUI_BATCH_SIZE", "RX_AGUI_BATCHSIZE"])
def test_a_variable_that_nothing_reads_warns(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "7")
    with pytest.warns(UserWarning, match=rf"{variable} is set, but EventStream\(\)"):
        EventStream()

    monkeypatch.delenv(variable)
    monkeypatch.setenv("RX_AGUI_TELEMETRY_SPANS", "off")  # read elsewhere
    EventStream()


def test_a_call_that_is_right_is_left_alone() -> None:
    assert rx.of({"n": 1}).pipe(flow_control(), sequence()).run().last == 1
