import base64
import xml.etree.ElementTree as ET

import pytest

from flows.report.svg import Axis, chart, data_uri, spread, text


def test_an_axis_is_linear_and_may_run_upwards() -> None:
    up = Axis(low=0, high=2, start=100, end=0)
    assert [up(0), up(1), up(2)] == [100, 50, 0]


def test_words_cannot_become_markup() -> None:
    svg = chart(10, 10, 'a "title" <b>', [text((0, 0), "<script>&")])
    root = ET.fromstring(svg)
    assert root.attrib["aria-label"] == 'a "title" <b>'
    assert root[0].text == "<script>&"


def test_labels_are_kept_apart_and_in_order() -> None:
    assert spread([100, 10, 104], gap=20) == [100, 10, 120]


def test_a_chart_as_an_address_carries_its_style() -> None:
    kind, coded = data_uri(chart(10, 10, "t", [])).split(",")
    assert kind == "data:image/svg+xml;base64"
    root = ET.fromstring(base64.b64decode(coded))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme" in (root[0].text or "")


def test_an_axis_without_extent_is_a_fault() -> None:
    with pytest.raises(ZeroDivisionError):
        Axis(1, 1, 0, 10)(1)
