"""What may be typed, and that the help tells the truth about it."""

from __future__ import annotations

from inspect import signature

import pytest

import rx_agui as library
from rx_agui.cli._arguments import parser
from rx_agui.codecs.registry import PAYLOAD_CODECS
from tests.support.terminal import rx_agui

COMMANDS = ["encode", "decode", "demo"]


def shown(typed: str = "") -> str:
    answer = rx_agui(typed)
    assert (answer.status, answer.err) == (0, "")
    return " ".join(answer.out.decode().split())


def test_without_arguments_it_says_what_there_is() -> None:
    text = shown()

    assert text == shown("--help")
    assert all(command in text for command in COMMANDS)


def test_it_says_its_version() -> None:
    assert shown("--version") == f"rx-agui {library.__version__}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_how_it_is_used(command: str) -> None:
    assert f" rx-agui {command}" in shown(f"{command} --help").partition("options:")[0]


@pytest.mark.parametrize("command", ["encode", "demo"])
def test_every_option_has_a_help_that_ends_with_its_default(command: str) -> None:
    asked = parser([command]).parse_args([command])
    options = [o for o in asked.options.values() if o != "--help"]
    text = shown(f"{command} --help")

    assert text.count("(default: ") == len(options)


@pytest.mark.parametrize(
    ("operator", "setting"),
    [
        (library.batch, "batch_size"),
        (library.batch, "batch_timeout"),
        (library.compress, "algorithm"),
        (library.compress, "min_size"),
        (library.chunk, "max_chunk_size"),
    ],
)
def test_the_defaults_are_those_of_the_operators(
    operator: object, setting: str
) -> None:
    default = signature(operator).parameters[setting].default  # type: ignore[arg-type]

    assert f"(default: {default})" in shown("encode --help")


def test_the_levels_in_the_help_are_those_of_the_algorithms() -> None:
    level = {
        name: algorithm.default_level for name, algorithm in PAYLOAD_CODECS.items()
    }

    assert level["gzip"] == level["deflate"]
    assert (
        f"(default: {level['gzip']} for gzip and deflate, {level['lz4']} for lz4, "
        f"{level['zstd']} for zstd)"
    ) in shown("encode --help")


@pytest.mark.parametrize(
    "typed", ["encod", "encode --batch many", "encode --profile x", "decode --batch 1"]
)
def test_what_is_not_an_option_is_refused(typed: str) -> None:
    answer = rx_agui(typed)

    assert (answer.status, answer.out) == (2, b"")
    assert answer.err.startswith("usage: rx-agui")
