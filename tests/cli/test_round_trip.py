"""decode gives back what encode took, in every profile and with every setting."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from rx_agui.testing import simulated_run
from tests.support.terminal import jsonl, noise, parsed, rx_agui

SAMPLES = Path(__file__).parent.parent / "samples"

SOURCES = {path.stem: path.read_bytes() for path in sorted(SAMPLES.glob("*.jsonl"))} | {
    "a simulated run": jsonl(simulated_run(300)),
    "messages that interleave": jsonl(simulated_run(100, seed=1, messages=3)),
    "what does not shrink": jsonl(noise(60)),
    "text of the world": jsonl(
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": delta}
        for delta in (
            "流水不腐，户枢不蠹。" * 40,
            "👩‍🚀🏳️‍🌈👍🏽☕️" * 40,  # joined, and with variation selectors
            "e\u0301a\u0300\u0323n\u0303" * 40,  # combining marks
            "שָׁלוֹם \u2028 \u2029 \u0085 \u202e \x7f \ufeff",  # no line ends in SSE
            '\n\r\t"\\ data: id: \n\n',  # line ends, but escaped
            "\0\x1b",
        )
    ),
}

SETTINGS = [
    f"--profile agui --batch {batch} --batch-timeout 60" for batch in (1, 7, 50)
] + [
    f"--compress {algorithm} --min-size 0 --max-chunk-size {size}"
    f" --batch {batch} --batch-timeout 60"
    for algorithm, size, batch in product(
        ("gzip", "deflate", "lz4", "zstd"), (100, 1024, 65536), (1, 7, 50)
    )
]


def test_there_are_samples() -> None:
    assert list(SAMPLES.glob("*.jsonl"))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("settings", SETTINGS)
def test_what_was_encoded_is_decoded_to_the_same_events(
    source: str, settings: str
) -> None:
    lines = SOURCES[source]

    encoded = rx_agui(f"encode {settings}", lines)
    decoded = rx_agui("decode", encoded.out)

    assert (encoded.status, encoded.err) == (0, "")
    assert (decoded.status, decoded.err) == (0, "")
    assert decoded.events == parsed(lines)
