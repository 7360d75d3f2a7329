"""Line plots as small SVG files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 64, 16, 44, 46
EDGE = -24
"""Where the picture begins: left of 0 the vertical axis has its words."""
COLOURS = ("#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce")
_TEXT = 'font-family="sans-serif" font-size="12" fill="#333"'


@dataclass(frozen=True)
class Line:
    """One series; a point of a logarithmic axis that is 0 or less lies on its lower edge."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """One direction of a plot."""

    label: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[float, ...] = ()
    """Where, other than at powers of ten (logarithmic) or fifths."""

    def share(self, value: float) -> float:
        """How far along the axis *value* lies, from 0 to 1."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def marks(self) -> list[float]:
        """The values that are written on it."""
        if self.ticks:
            return list(self.ticks)
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1)]
        return [self.low + (self.high - self.low) * part / 5 for part in range(6)]


def plot(title: str, lines: Sequence[Line], *, x: Axis, y: Axis) -> str:
    """The text of an SVG file."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return LEFT + x.share(point[0]) * wide, TOP + (1 - y.share(point[1])) * high

    view = f"{EDGE} 0 {WIDTH - EDGE} {HEIGHT}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" role="img">',
        f"<title>{title}</title>",
        f'<rect x="{EDGE}" width="{WIDTH - EDGE}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" {_TEXT} font-weight="bold">{title}</text>',
    ]
    for value in x.marks():
        across, _ = at((value, y.low))
        parts.append(
            f'<path d="M{across:.1f} {TOP}V{TOP + high}" stroke="#e5e5e5"/>'
            f'<text x="{across:.1f}" y="{TOP + high + 16}" {_TEXT} text-anchor="middle">'
            f"{value:,.4g}</text>"
        )
    for value in y.marks():
        _, down = at((x.low, value))
        number = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        parts.append(
            f'<path d="M{LEFT} {down:.1f}H{LEFT + wide}" stroke="#e5e5e5"/>'
            f'<text x="{LEFT - 6}" y="{down + 4:.1f}" {_TEXT} text-anchor="end">{number}</text>'
        )
    parts.append(
        f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 8}" {_TEXT} text-anchor="middle">'
        f"{x.label}</text>"
        f'<text transform="translate({EDGE + 13} {TOP + high / 2}) rotate(-90)" {_TEXT} '
        f'text-anchor="middle">{y.label}</text>'
    )
    offset = float(LEFT)
    for line, colour in zip(lines, COLOURS, strict=False):
        path = "L".join(f"{across:.1f} {down:.1f}" for across, down in map(at, line.points))
        parts.append(
            f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
            f'<path d="M{offset:.0f} 33h18" stroke="{colour}" stroke-width="3"/>'
            f'<text x="{offset + 23:.0f}" y="37" {_TEXT}>{line.name}</text>'
        )
        offset += 40 + 6.4 * len(line.name)
    return "\n".join([*parts, "</svg>"]) + "\n"


def thin(points: Sequence[tuple[float, float]], *, most: int = 600) -> list[tuple[float, float]]:
    """At most *most* of them: of each group of neighbours, the highest."""
    group = math.ceil(len(points) / most)
    return [
        max(points[at : at + group], key=lambda point: point[1])
        for at in range(0, len(points), group)
    ]
