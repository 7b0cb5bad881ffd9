import xml.etree.ElementTree as ET

import numpy as np
import pytest

from data_specs.round import CycleResult, DiscriminatorCurves, LossCurve
from flows.report import charts


def elements(svg: str, tag: str, classes: str) -> list[ET.Element]:
    wanted = set(classes.split())
    return [one for one in ET.fromstring(svg).iter(tag) if wanted <= set(one.attrib.get("class", "").split())]


def numbers(found: list[ET.Element], name: str) -> list[float]:
    return [float(one.attrib[name]) for one in found]


def words(svg: str) -> list[str]:
    return [one.text or "" for one in ET.fromstring(svg).iter("text")]


def test_columns_are_as_high_as_their_rates(cycle_result: CycleResult) -> None:
    svg = charts.success_by_phase(cycle_result.phases)
    rates = np.array([phase.success_rate for phase in cycle_result.phases])
    heights = np.array(numbers(elements(svg, "rect", "mark"), "height"))
    assert heights / rates == pytest.approx(heights[0] / rates[0], rel=0.005)
    assert "68.8%" in words(svg)


def test_whiskers_span_the_interval(cycle_result: CycleResult) -> None:
    svg = charts.success_by_phase(cycle_result.phases)
    height = numbers(elements(svg, "rect", "mark"), "height")[-1]
    upright = [one for one in elements(svg, "line", "whisker") if one.attrib["x1"] == one.attrib["x2"]][-1]
    span = float(upright.attrib["y1"]) - float(upright.attrib["y2"])
    last = cycle_result.phases[-1]
    wanted = (last.success_high - last.success_low) / last.success_rate
    assert span / height == pytest.approx(wanted, rel=0.01)


def test_a_phase_not_promoted_is_hollow(cycle_result: CycleResult) -> None:
    hollow = elements(charts.success_by_phase(cycle_result.phases), "rect", "hollow")
    assert [(one[0].text or "").split(":")[0] for one in hollow] == ["automation 2"]


def test_keep_rates_lie_where_division_puts_them(cycle_result: CycleResult) -> None:
    svg = charts.keep_rate_by_round(cycle_result.phases)
    human = numbers(elements(svg, "circle", "human"), "cy")
    automated = numbers(elements(svg, "circle", "automation"), "cy")
    base, top = 262.0, 22.0
    assert [(base - y) / (base - top) for y in human] == pytest.approx([288 / 600, 371 / 600], abs=0.001)
    assert [(base - y) / (base - top) for y in automated] == pytest.approx(
        [402 / 1200, 366 / 1200], abs=0.001
    )
    assert "-3.0 points since round 1" in words(svg)


def test_the_threshold_stands_at_nine_tenths_of_the_axis(curves: list[DiscriminatorCurves]) -> None:
    svg = charts.score_histogram(curves[0])
    (threshold,) = elements(svg, "line", "threshold")
    zero, one = (
        float(at.attrib["x"])
        for label in ("0", "1")
        for at in ET.fromstring(svg).iter("text")
        if at.text == label and "middle" in at.attrib["class"]
    )
    assert (float(threshold.attrib["x1"]) - zero) / (one - zero) == pytest.approx(0.9, abs=0.001)


def test_exactly_the_threshold_is_not_kept() -> None:
    curve = DiscriminatorCurves(round=1, scores_good=[0.9, 0.91, 1.0], scores_bad=[0.2, 0.95], reliability=[])
    svg = charts.score_histogram(curve)
    assert "kept above 0.9: 2 good, 1 bad" in words(svg)


def test_histogram_bars_count_every_candidate(curves: list[DiscriminatorCurves]) -> None:
    svg = charts.score_histogram(curves[0])
    for name, scores in (("good", curves[0].scores_good), ("bad", curves[0].scores_bad)):
        bars = elements(svg, "rect", name)
        assert sum(int((one[0].text or "").split()[0]) for one in bars) == len(scores)


def test_reliability_dots_lie_at_score_and_success(curves: list[DiscriminatorCurves]) -> None:
    filled = [one for one in curves[0].reliability if one.count]
    dots = elements(charts.reliability_curve(curves[0]), "circle", "human")
    assert [(x - 48) / 496 for x in numbers(dots, "cx")] == pytest.approx(
        [one.mean_score for one in filled], abs=0.001
    )
    assert [(262 - y) / 240 for y in numbers(dots, "cy")] == pytest.approx(
        [one.success_rate for one in filled], abs=0.001
    )


def test_a_steady_loss_is_a_level_line_at_its_value() -> None:
    svg = charts.loss_curve(LossCurve(name="human 1", steps=list(range(100)), losses=[0.25] * 100))
    heavy = [one for one in elements(svg, "path", "human") if "faint" not in one.attrib["class"]]
    levels = {float(pair.split()[1]) for pair in heavy[0].attrib["d"].removeprefix("M").split(" L")}
    assert len(levels) == 1
    assert levels.pop() == pytest.approx(126 - 92 / 1.05, abs=0.1)
    assert "0.25" in words(svg)


def test_nothing_measured_still_draws() -> None:
    assert charts.success_by_phase([]).startswith("<svg")
    assert charts.keep_rate_by_round([]).startswith("<svg")
    empty = DiscriminatorCurves(round=1, scores_good=[], scores_bad=[], reliability=[])
    assert "kept above 0.9: 0 good, 0 bad" in words(charts.score_histogram(empty))
    assert charts.reliability_curve(empty).startswith("<svg")
    assert "1 steps" in words(charts.loss_curve(LossCurve(name="x", steps=[], losses=[])))
