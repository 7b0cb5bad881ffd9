"""The few marks the charts are drawn with: axes in plain numbers, and elements as SVG text.

Colours are CSS classes, never values, so that one chart serves light and dark; ``STYLE`` defines them.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import pairwise

Point = tuple[float, float]

STYLE = """
svg.chart { --ink:#1b2126; --soft:#626b75; --line:#dfe3e7; --paper:#fff;
  --base:#a3abb4; --first:#6b7580; --human:#0b7a75; --scored:#b35c00; --good:#0b7a75; --bad:#c2410c;
  font-family:ui-sans-serif,system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif; font-size:13px;
  font-variant-numeric:tabular-nums; }
@media (prefers-color-scheme: dark) { svg.chart {
  --ink:#e9edf0; --soft:#9aa4ae; --line:#313a42; --paper:#1a2026;
  --base:#66707a; --first:#96a1ac; --human:#3cc4bb; --scored:#f2a24a; --good:#3cc4bb; --bad:#ff8a5c; } }
svg.chart text { fill:var(--ink); } svg.chart .soft { fill:var(--soft); }
svg.chart .strong { font-weight:650; }
svg.chart .end { text-anchor:end; } svg.chart .middle { text-anchor:middle; }
svg.chart .small { font-size:11.5px; }
svg.chart line, svg.chart path { stroke:var(--line); stroke-width:1; fill:none; }
svg.chart .whisker { stroke:var(--ink); stroke-width:1.5; opacity:.75; }
svg.chart .threshold { stroke:var(--ink); stroke-width:1.5; stroke-dasharray:4 4; }
svg.chart .base { --c:var(--base); }
svg.chart .initialisation, svg.chart .final, svg.chart .distillation { --c:var(--first); }
svg.chart .human { --c:var(--human); } svg.chart .automation { --c:var(--scored); }
svg.chart .good { --c:var(--good); } svg.chart .bad { --c:var(--bad); }
svg.chart rect.mark, svg.chart circle.mark { fill:var(--c); stroke:var(--c); stroke-width:1.5; }
svg.chart rect.hollow { fill:var(--paper); stroke-dasharray:5 3; }
svg.chart path.mark { stroke:var(--c); stroke-width:2.25; stroke-linejoin:round; }
svg.chart path.faint { stroke-width:1; opacity:.35; }
svg.chart text.mark { fill:var(--c); font-weight:600; }
"""


@dataclass(frozen=True)
class Axis:
    """A straight map from values to pixels; ``start`` may lie right of or below ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def text(at: Point, words: str, classes: str = "") -> str:
    """Words with their baseline at a point."""
    return f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" class="{classes}">{escape(words)}</text>'


def line(start: Point, end: Point, classes: str = "") -> str:
    """A straight line."""
    ends = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
    return f'<line {ends} class="{classes}"/>'


def bar(corner: Point, width: float, height: float, classes: str, hint: str = "") -> str:
    """A filled box from its upper left corner; ``hint`` shows when pointed at."""
    box = f'x="{corner[0]:.1f}" y="{corner[1]:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {box} rx="2" class="mark {classes}"><title>{escape(hint)}</title></rect>'


def dot(at: Point, radius: float, classes: str, hint: str = "") -> str:
    """A filled circle; ``hint`` shows when pointed at."""
    place = f'cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:.1f}"'
    return f'<circle {place} class="mark {classes}"><title>{escape(hint)}</title></circle>'


def polyline(points: Iterable[Point], classes: str) -> str:
    """An open line through points."""
    return f'<path d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in points)}" class="mark {classes}"/>'


def share_grid(y: Axis, left: float, right: float) -> list[str]:
    """Level lines at each quarter of a 0..1 axis, labelled in percent."""
    marks = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        marks.append(line((left, y(value)), (right, y(value))))
        marks.append(text((left - 8, y(value) + 4), f"{value:.0%}", "soft end small"))
    return marks


def spread(wanted: list[float], gap: float) -> list[float]:
    """Label positions at least ``gap`` apart, each as near as possible below the one before it."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = list(wanted)
    for above, below in pairwise(order):
        placed[below] = max(placed[below], placed[above] + gap)
    return placed


def chart(width: float, height: float, title: str, marks: Iterable[str]) -> str:
    """The whole SVG; ``title`` is what a screen reader says."""
    return (
        f'<svg class="chart" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{"".join(marks)}</svg>'
    )


def data_uri(svg: str) -> str:
    """The chart as a ``data:`` address with its style inside, for an ``<img>`` anywhere."""
    namespace = '<svg xmlns="http://www.w3.org/2000/svg" '
    opening, rest = svg.replace("<svg ", namespace, 1).split(">", 1)
    paper = '<rect width="100%" height="100%" style="fill:var(--paper)"/>'
    whole = f"{opening}><style>{STYLE}</style>{paper}{rest}"
    return "data:image/svg+xml;base64," + base64.b64encode(whole.encode()).decode()
