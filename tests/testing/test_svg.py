"""The writer of pictures: a background of its own, and a style for the looks it has."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from rx_agui.testing._svg import circle, path, picture, rect, text

SVG = "{http://www.w3.org/2000/svg}"


def test_a_picture_has_its_own_background_below_everything() -> None:
    root = ElementTree.fromstring(picture(100, 40, [rect("blue", 1, 2, 3, 4)], "A bar"))

    first, second = root.iter(f"{SVG}rect")
    assert first.get("class") == "paper edge-frame"
    assert (first.get("width"), first.get("height")) == ("99", "39")
    assert second.attrib == {
        "class": "blue",
        "x": "1",
        "y": "2",
        "width": "3",
        "height": "4",
    }


def test_every_colour_is_told_twice_for_light_and_dark_pages() -> None:
    shapes = [
        circle("pale-blue edge-blue firm", 1, 1, 1),
        text("note muted", 1, 1, "x"),
    ]

    light, _, dark = picture(9, 9, shapes, "x").partition("prefers-color-scheme: dark")

    colours = ["edge-blue", "edge-frame", "muted", "pale-blue", "paper"]
    assert re.findall(r"^\.([\w-]+)", dark, re.M) == colours
    assert set(re.findall(r"^\.([\w-]+)", light, re.M)) == {*colours, "firm", "note"}


def test_what_is_written_is_escaped() -> None:
    root = ElementTree.fromstring(
        picture(9, 9, [text("", 0, 5, "a < b & c", "end")], '"<&>"')
    )

    assert [each.text for each in root.iter(f"{SVG}text")] == ["a < b & c"]
    assert root.get("aria-label") == '"<&>"'


def test_a_look_that_is_none_is_an_error() -> None:
    with pytest.raises(KeyError):
        picture(9, 9, [path("line-mauve", "M", 0, 0)], "x")
