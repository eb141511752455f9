"""Random streams are legal: both stock clients take them."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.reducer import random_lines, reduced


def test_both_stock_clients_take_a_random_stream(
    node: Callable[..., str], ag_ui_client: str
) -> None:
    streams = [lines for lines, _ in random_lines(100)]

    made = reduced(node, ag_ui_client, streams)

    assert len(made) == 100
    assert {end["error"] for end in made} == {None}


def test_a_stock_client_tells_of_a_stream_that_is_not_legal(
    node: Callable[..., str], ag_ui_client: str
) -> None:
    [(lines, _)] = random_lines(1)

    (made,) = reduced(node, ag_ui_client, [lines[1:]])

    assert "RUN_STARTED" in made["error"]
