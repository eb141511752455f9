"""Every option, where it comes from, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rx_agui import ConfigError, StreamConfig
from rx_agui.codecs.registry import PAYLOAD_CODECS
from rx_agui.config import PREFIX
from rx_agui.types import AlgorithmName

OPTIONS = [field.name for field in dataclasses.fields(StreamConfig)]

#: The document's own, with its defaults.
DOCUMENT = {
    "event_buffer_size": 1000,
    "chunk_buffer_size": 100,
    "max_chunk_size": 64 * 1024,
    "flush_interval": 0.1,
    "batch_enabled": True,
    "batch_size": 50,
    "batch_timeout": 0.05,
    "max_batch_size": 500,
    "compression_enabled": True,
    "compression_type": "gzip",
    "compression_level": None,
    "min_compression_size": 1024,
    "max_concurrent_events": 100,
    "backpressure_timeout": 5.0,
    "drain_timeout": 30.0,
    "sequence_enabled": True,
    "ordering_required": False,
    "out_of_order_buffer": 1000,
    "worker_count": 4,
    "enable_metrics": True,
    "metrics_interval": 30.0,
}


def test_every_option_of_the_document_is_here_with_its_default() -> None:
    config = StreamConfig()

    assert {name: getattr(config, name) for name in DOCUMENT} == DOCUMENT


def test_every_option_says_what_is_felt_when_it_is_turned() -> None:
    said = re.findall(r"^        (\w+): ", StreamConfig.__doc__ or "", re.MULTILINE)

    assert [name for name in said if name in OPTIONS] == OPTIONS


def test_a_config_cannot_be_changed_behind_the_back_of_a_stream() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        StreamConfig().batch_size = 7  # type: ignore[misc]


REFUSED: dict[str, list[object]] = {
    "batch_size": [0, -1, 1.5, "50", None, True, float("nan")],
    "batch_timeout": [0, -0.1, "soon", float("nan")],
    "flush_interval": [0, -1],
    "metrics_interval": [0, -1],
    "max_chunk_size": [0, 3],
    "compression_type": ["brotli", "", None, 7],
    "compression_level": [-1, 10, 6.0],
    "min_compression_size": [-1, 0.5],
    "batch_enabled": ["yes", 1, None],
    "worker_count": [0, 2.0],
    "failure_rate_threshold": [0, 1.1],
    "drain_timeout": [0, -1],
    "event_buffer_size": [0],
}


@pytest.mark.parametrize(
    ("name", "wrong"), [(name, wrong) for name in REFUSED for wrong in REFUSED[name]]
)
def test_what_makes_no_sense_is_refused_by_name_and_value(
    name: str, wrong: object
) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be .*, got ") as refused:
        StreamConfig.from_mapping({name: wrong})
    assert refused.value.name == name
    assert refused.value.value is wrong


def test_a_batch_size_of_zero_is_refused_even_while_batching_is_off() -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        StreamConfig(batch_enabled=False, batch_size=0)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size must be at most max_batch_size"):
        StreamConfig(batch_size=501)
    with pytest.raises(ConfigError, match="ordering_required must be False while"):
        StreamConfig(ordering_required=True, sequence_enabled=False)


@pytest.mark.parametrize("algorithm", PAYLOAD_CODECS)
def test_the_levels_are_those_of_the_codecs(algorithm: AlgorithmName) -> None:
    for level in PAYLOAD_CODECS[algorithm].levels:
        StreamConfig(compression_type=algorithm, compression_level=level)
    with pytest.raises(ConfigError, match=f"for {algorithm}"):
        StreamConfig(
            compression_type=algorithm,
            compression_level=PAYLOAD_CODECS[algorithm].levels[-1] + 1,
        )


# -- from elsewhere ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("batchSize", "batch_size"),
        ("BatchSize", "batch_size"),
        ("batch_sise", "batch_size"),
        ("MaxChunkSize", "max_chunk_size"),
        ("backpressure_timout", "backpressure_timeout"),
        ("workers_count", "worker_count"),
    ],
)
def test_an_unknown_name_is_refused_with_the_one_that_was_meant(
    wrong: str, right: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^{wrong} must be an .*\({right}\?\)"):
        StreamConfig.from_mapping({wrong: 1})
    with pytest.raises(ConfigError, match=rf"{PREFIX}{right.upper()}\?"):
        StreamConfig.from_env({f"{PREFIX}{wrong.upper()}": "1"})


def test_a_name_that_is_near_nothing_is_refused_all_the_same() -> None:
    with pytest.raises(ConfigError, match="colour must be an option of StreamConfig,"):
        StreamConfig.from_mapping({"colour": "red"})


def test_other_variables_of_ours_are_left_alone() -> None:
    others = {
        "RX_AGUI_FUSION": "0",
        "RX_AGUI_BENCHMARKS": "strict",
        "RX_AGUI_SOAK_EVENTS": "10",
        "PATH": "/bin",
    }

    assert StreamConfig.from_env(others) == StreamConfig()


def test_a_variable_is_read_as_what_the_option_is() -> None:
    config = StreamConfig.from_env(
        {
            "RX_AGUI_BATCH_SIZE": "7",
            "RX_AGUI_BATCH_TIMEOUT": "0.5",
            "RX_AGUI_BATCH_ENABLED": "No",
            "RX_AGUI_COMPRESSION_TYPE": "lz4",
        }
    )

    assert (config.batch_size, config.batch_timeout) == (7, 0.5)
    assert (config.batch_enabled, config.compression_type) == (False, "lz4")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("RX_AGUI_BATCH_SIZE", "many"),
        ("RX_AGUI_BATCH_SIZE", "1.5"),
        ("RX_AGUI_BATCH_TIMEOUT", "soon"),
        ("RX_AGUI_BATCH_ENABLED", "perhaps"),
    ],
)
def test_a_variable_that_cannot_be_read_is_refused_by_its_own_name(
    variable: str, text: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{variable} must be .*, got {text!r}"):
        StreamConfig.from_env({variable: text})


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "stream.toml"
    path.write_text('batch_size = 7\nbatch_timeout = 0.5\ncompression_type = "lz4"\n')
    return path


def test_a_file_is_toml_or_json(toml: Path, tmp_path: Path) -> None:
    same = tmp_path / "stream.json"
    same.write_text(
        json.dumps({"batch_size": 7, "batch_timeout": 0.5, "compression_type": "lz4"})
    )

    assert StreamConfig.from_file(toml) == StreamConfig.from_file(same)
    assert StreamConfig.from_file(toml).batch_size == 7


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.toml", "batch_size ="), ("a.json", "{"), ("a.json", "[1]"), ("a.yaml", "")],
)
def test_a_file_that_is_neither_says_which_and_why(
    tmp_path: Path, name: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(ConfigError, match="path must be") as refused:
        StreamConfig.from_file(path)
    assert str(path) in str(refused.value)


def test_code_goes_before_the_environment_and_that_before_the_file(toml: Path) -> None:
    environ = {"RX_AGUI_BATCH_SIZE": "8", "RX_AGUI_BATCH_TIMEOUT": "0.8"}
    config = StreamConfig.load(toml, environ=environ, batch_size=9)

    assert config.batch_size == 9
    assert config.batch_timeout == 0.8
    assert config.compression_type == "lz4"
    assert config.worker_count == StreamConfig().worker_count


def test_the_environment_is_that_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RX_AGUI_BATCH_SIZE", "8")

    assert StreamConfig.load().batch_size == StreamConfig.from_env().batch_size == 8


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "batch_size": st.integers(1, 500),
            "batch_timeout": st.floats(0.001, 100),
            "batch_enabled": st.booleans(),
            "compression_level": st.integers(0, 9),
        },
    )
)
def test_what_is_said_in_a_mapping_or_in_variables_is_the_same(
    options: dict[str, object],
) -> None:
    variables = {f"{PREFIX}{name.upper()}": str(v) for name, v in options.items()}

    assert StreamConfig.from_env(variables) == StreamConfig.from_mapping(options)
