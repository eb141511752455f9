"""JSON Patch: what we apply, the stock client's own library applies the same way."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

import pytest

from rx_agui.agui.json_patch import Fails, Unsure, apply_patch

KEYS = [
    "a",
    "b",
    "list",
    "0",
    "1",
    "2",
    "-",
    "01",
    "",
    "x~1y",
    "m~0n",
    "toString",
    "length",
]


OPERATIONS = ["add", "add", "replace", "replace", "remove", "test", "move", "copy"]


def value(chance: Random, depth: int = 3) -> Any:
    kind = chance.randint(0, 7 if depth else 4)
    if kind >= 6:
        return {
            chance.choice(["a", "b", "list", "0", "", "x/y", "m~n"]): value(
                chance, depth - 1
            )
            for _ in range(chance.randint(0, 4))
        }
    if kind == 5:
        return [value(chance, depth - 1) for _ in range(chance.randint(0, 3))]
    return [None, True, 0, "s", 1.5][kind]


def path(chance: Random, document: Any) -> str:
    """Mostly one that leads somewhere."""
    made, here = "", document
    while not made or chance.random() < 0.5:
        keys = KEYS
        if chance.random() < 0.8 and isinstance(here, dict) and here:
            keys = [key.replace("~", "~0").replace("/", "~1") for key in here]
        elif chance.random() < 0.8 and isinstance(here, list):
            keys = [*map(str, range(len(here) + 1)), "-"]
        key = chance.choice(keys)
        made += f"/{key}"
        key = key.replace("~1", "/").replace("~0", "~")
        if isinstance(here, dict):
            here = here.get(key)
        elif isinstance(here, list) and key.isdecimal() and int(key) < len(here):
            here = here[int(key)]
        else:
            here = None
    return made


def operation(chance: Random, document: Any) -> Any:
    op: dict[str, Any] = {
        "op": chance.choice(OPERATIONS),
        "path": path(chance, document),
    }
    if chance.random() < 0.97:
        op["value"] = value(chance, 2)
    if op["op"] in ("move", "copy"):
        op["from"] = path(chance, document)
    return op


def test_what_is_applied_and_what_fails_is_as_in_the_client(
    node: Callable[..., str],
) -> None:
    chance = Random(7)
    cases = []
    for _ in range(10_000):
        document = {
            "a": value(chance),
            "b": {"x/y": value(chance), "m~n": value(chance)},
            "list": [value(chance, 1) for _ in range(chance.randint(0, 4))],
        }
        patch = [operation(chance, document) for _ in range(chance.randint(1, 3))]
        cases.append({"document": document, "patch": patch})
    theirs = node("patch.mjs", read="\n".join(map(json.dumps, cases)))

    applied = failed = 0
    for case, line in zip(cases, theirs.removesuffix("\n").split("\n"), strict=True):
        wanted = json.loads(line)
        before = deepcopy(case["document"])
        try:
            made = apply_patch(case["document"], case["patch"])
        except Unsure:
            assert case["document"] == before
            continue
        except Fails:
            assert wanted == {"fails": True}, case
            assert case["document"] == before
            failed += 1
        else:
            assert wanted == {"document": made}, case
            applied += 1
    assert applied > 500
    assert failed > 500


@pytest.mark.parametrize(
    "patch", [None, {}, ["no"], [{}], [{"op": "add"}], [{"op": "grow", "path": "/a"}]]
)
def test_what_is_no_patch_fails(patch: Any) -> None:
    with pytest.raises(Fails):
        apply_patch({"a": 1}, patch)


def test_a_patch_that_fails_late_leaves_the_document_as_it_was() -> None:
    document = {"a": [1, 2], "b": {"c": 1}}
    before = deepcopy(document)

    with pytest.raises(Fails):
        apply_patch(
            document,
            [
                {"op": "add", "path": "/a/0", "value": 0},
                {"op": "remove", "path": "/b/c"},
                {"op": "move", "from": "/a/1", "path": "/d"},
                {"op": "add", "path": "/a/-", "value": 3},
                {"op": "replace", "path": "/gone", "value": 1},
            ],
        )

    assert document == before
