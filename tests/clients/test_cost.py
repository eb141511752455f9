"""What conflation is worth to a stock client that applies a flood of tokens.

    python tests/clients/test_cost.py        the table of the README

The ratio is of processor time in one process of Node: tests/benchmarks/_client.py.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rx_agui import MissingExtraError
from tests.benchmarks import _client
from tests.benchmarks._client import (
    NODE_MODULES,
    TOKENS,
    TOKENS_A_SECOND,
    conflated,
    costs,
    flood,
    gained,
)

ROOT = Path(__file__).parents[2]

#: Where the npm packages are.
NODE = ROOT / "tests" / "node"


@pytest.mark.usefixtures("node")
def test_conflated_tokens_cost_a_stock_client_a_twentieth(ag_ui_client: str) -> None:
    each = flood()
    fewer = conflated(each)

    one_by_one, merged = costs(
        each, fewer, messages=100, package=ag_ui_client, folder=NODE
    )

    assert len(fewer) <= TOKENS / TOKENS_A_SECOND / 0.05 + 6
    assert one_by_one.callbacks > TOKENS
    assert merged.ms <= one_by_one.ms / 20, (one_by_one, merged)


@pytest.mark.usefixtures("node")
def test_the_client_is_found_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(NODE_MODULES, str(NODE))

    (cost,) = costs(flood(10), messages=0)

    assert cost.callbacks > 10


@pytest.mark.usefixtures("node")
def test_a_client_that_is_not_installed_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"npm install @ag-ui/client$"):
        costs(flood(10), messages=0, folder=tmp_path)


def test_a_machine_without_node_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(
        MissingExtraError, match=r"Node\.js.*npm install @ag-ui/client$"
    ):
        costs(flood(10), messages=0)


@pytest.mark.usefixtures("node")
def test_a_client_that_fails_is_not_a_client_that_is_missing() -> None:
    with pytest.raises(RuntimeError, match="failed in Node"):
        costs([b"no JSON"], messages=0, folder=NODE)


def test_gained_is_a_ratio_of_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [100.0, 2.0, 300.0, 4.0, 500.0, 1.0]

    def applied(*streams: list[bytes], **_: Any) -> list[_client.Applied]:
        return [_client.Applied(ms, 0) for ms, _ in zip(times, streams, strict=True)]

    monkeypatch.setattr(_client, "costs", applied)

    found = gained(rounds=3)

    assert (found.median, found.least, found.most) == (150, 50, 500)


def test_a_wheel_has_no_benchmark(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")

    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
    assert "rx_agui/browser/rx-agui.mjs" in names
    assert not [name for name in names if "bench" in name or name.startswith("tests/")]


def table() -> None:
    """Print what the README shows."""
    each = flood()
    fewer = conflated(each)
    print("| client | messages before | one by one | conflated at 50 ms | |")
    print("|---|---:|---:|---:|---:|")
    for version, package in (
        ("1.0.0", "@ag-ui/client"),
        ("0.0.59", "ag-ui-client-0.0.59"),
    ):
        for messages in (0, 100, 1_000):
            both = [each, fewer] * 3
            applied = costs(*both, messages=messages, package=package, folder=NODE)
            before, after = (
                sorted(cost.ms for cost in applied[i::2])[1] for i in range(2)
            )
            print(
                f"| {version} | {messages:,} | {before:,.0f} ms | {after:,.0f} ms "
                f"| 1/{before / after:.0f} |"
            )
    print(f"\n{len(each)} events, {len(fewer)} when conflated")


if __name__ == "__main__":
    table()
