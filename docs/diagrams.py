# SPDX-License-Identifier: Apache-2.0
"""Diagrams from text: two directives for Sphinx, which need nothing but Python.

``{boxes}`` draws boxes on a grid and arrows between them, ``{sequence}`` who says
what to whom, from top to bottom::

    ca: your CA @ 0 0             name, words, column and row
    leaf: certificate @ 1 0
    frame: AWS @ 1 2              around the rows 1 to 2
    ca -> leaf: issues            an arrow, and its words

    program: your program         who takes part, from left to right
    program -> aws: asks          an arrow
    program: thinks               a note

The drawing is SVG within the page, so that it takes the colours of the theme, light
or dark. It is 400 wide: a phone shows it at nearly its own size.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from typing import Any

WIDTH = 400
LINE = 16
CHARACTER = 6.4
"""The width of a letter at 12 px, on the safe side."""
BOX_WIDTH, ROW, TOP = 150, 120, 34

_STYLE = (
    "max-width:30rem;width:100%;height:auto;display:block;margin:1rem auto;"
    "font:12px sans-serif;color:var(--color-foreground-primary,currentColor)"
)
_BACKGROUND = "var(--color-background-primary,Canvas)"
_ACCENT = "var(--color-brand-content,currentColor)"


class DiagramError(ValueError):
    """A line that says nothing that can be drawn."""


@dataclass
class Canvas:
    """Pieces of SVG, and how far down they reach."""

    pieces: list[str] = field(default_factory=list)
    bottom: float = 0

    def text(self, x: float, y: float, lines: Iterable[str], *, weight: str = "normal") -> None:
        """Centred lines, the first with its middle at *y*, on the page's colour."""
        for number, line in enumerate(lines):
            middle = y + number * LINE
            half = len(line) * CHARACTER / 2
            self.pieces.append(
                f'<rect x="{x - half:.1f}" y="{middle - 8:.1f}" width="{2 * half:.1f}" '
                f'height="{LINE}" fill="{_BACKGROUND}"/>'
                f'<text x="{x:.1f}" y="{middle + 4:.1f}" text-anchor="middle" '
                f'font-weight="{weight}" fill="currentColor">{escape(line)}</text>'
            )
            self.bottom = max(self.bottom, middle + 8)

    def box(self, x: float, y: float, width: float, height: float, *, dashed: bool = False) -> None:
        """A rectangle by its upper left corner."""
        kind = 'fill="none" stroke-dasharray="5 4"' if dashed else f'fill="{_BACKGROUND}"'
        self.pieces.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6" '
            f'{kind} stroke="currentColor"/>'
        )
        self.bottom = max(self.bottom, y + height)

    def arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """A line with a head."""
        (x1, y1), (x2, y2) = start, end
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        dx, dy = (x2 - x1) / length, (y2 - y1) / length
        left = (x2 - 9 * dx - 4 * dy, y2 - 9 * dy + 4 * dx)
        right = (x2 - 9 * dx + 4 * dy, y2 - 9 * dy - 4 * dx)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (end, left, right))
        self.pieces.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{_ACCENT}" '
            f'stroke-width="1.5"/><polygon points="{points}" fill="{_ACCENT}"/>'
        )
        self.bottom = max(self.bottom, y1, y2)

    def svg(self, title: str) -> str:
        """All of it, for a page of HTML."""
        height = round(self.bottom + 10)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'style="{_STYLE}"><title>{escape(title)}</title>{"".join(self.pieces)}</svg>'
        )


def wrapped(words: str, width: float) -> list[str]:
    """*words* in lines that fit into *width*."""
    return textwrap.wrap(words, max(1, int(width / CHARACTER)))


def boxes(source: str, *, title: str) -> str:
    """The SVG of a ``{boxes}`` diagram.

    Raises:
        DiagramError: A line cannot be read, or an arrow has an end that is no box.
    """
    places: dict[str, tuple[float, float, float]] = {}
    frames, cards, arrows = Canvas(), Canvas(), Canvas()
    for line in filter(None, map(str.strip, source.splitlines())):
        if match := re.fullmatch(r"frame: (.+) @ (\d+) (\d+)", line):
            words, first, last = match[1], int(match[2]), int(match[3])
            top = TOP + first * ROW - 26
            frames.box(4, top, WIDTH - 8, (last - first) * ROW + 106, dashed=True)
            frames.text(WIDTH / 2, frames.bottom, [words])
        elif match := re.fullmatch(r"(\w+): (.+) @ (\d) (\d+)", line):
            lines = wrapped(match[2], BOX_WIDTH - 12)
            height = len(lines) * LINE + 16
            x, y = 100 + int(match[3]) * 200, TOP + int(match[4]) * ROW + 24
            places[match[1]] = (x, y, height)
            cards.box(x - BOX_WIDTH / 2, y - height / 2, BOX_WIDTH, height)
            cards.text(x, y - (len(lines) - 1) * LINE / 2, lines, weight="bold")
        elif match := re.fullmatch(r"(\w+) -> (\w+): (.+)", line):
            if not {match[1], match[2]} <= places.keys():
                raise DiagramError(f"an arrow to or from a box that is not there: {line}")
            _connect(arrows, places[match[1]], places[match[2]], match[3])
        else:
            raise DiagramError(f"neither a box, a frame nor an arrow: {line}")
    bottom = max(frames.bottom, cards.bottom)
    return Canvas(frames.pieces + arrows.pieces + cards.pieces, bottom).svg(title)


def _connect(
    canvas: Canvas,
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    words: str,
) -> None:
    (x1, y1, height1), (x2, y2, height2) = start, end
    if y1 == y2:  # side by side: the words stand above the line, which is short
        side = BOX_WIDTH / 2 if x2 > x1 else -BOX_WIDTH / 2
        canvas.arrow((x1 + side, y1), (x2 - side, y2))
        fits = len(words) * CHARACTER < 200 - BOX_WIDTH
        above = 14 if fits else max(height1, height2) / 2 + 10
        canvas.text((x1 + x2) / 2, y1 - above, [words])
        return
    down = 1 if y2 > y1 else -1
    shift = 0 if x1 == x2 else 40 * (1 if x2 > x1 else -1)
    start_at = (x1 + shift, y1 + down * height1 / 2)
    end_at = (x2 - shift, y2 - down * height2 / 2)
    canvas.arrow(start_at, end_at)
    lines = wrapped(words, 170 if x1 == x2 else 100)
    middle = (start_at[1] + end_at[1]) / 2 - (len(lines) - 1) * LINE / 2
    canvas.text((start_at[0] + end_at[0]) / 2, middle, lines)


def sequence(source: str, *, title: str) -> str:
    """The SVG of a ``{sequence}`` diagram.

    Raises:
        DiagramError: A line cannot be read, or somebody unknown takes part.
    """
    names: dict[str, str] = {}
    steps: list[tuple[str, str, str]] = []
    for line in filter(None, map(str.strip, source.splitlines())):
        if match := re.fullmatch(r"(\w+) -> (\w+): (.+)", line):
            steps.append((match[1], match[2], match[3]))
        elif match := re.fullmatch(r"(\w+): (.+)", line):
            if match[1] in names:
                steps.append((match[1], match[1], match[2]))
            else:
                names[match[1]] = match[2]
        else:
            raise DiagramError(f"neither a participant, an arrow nor a note: {line}")
    if unknown := {name for step in steps for name in step[:2]} - names.keys():
        raise DiagramError(f"nobody was introduced as {', '.join(sorted(unknown))}")
    lane = WIDTH / len(names)
    middles = {name: lane * (number + 0.5) for number, name in enumerate(names)}
    canvas, y = Canvas(), _heads(heads := Canvas(), names, middles, lane)
    for start, end, words in steps:
        y = _step(canvas, middles[start], middles[end], words, y=y)
    lines = [
        f'<line x1="{x:.1f}" y1="20" x2="{x:.1f}" y2="{y:.1f}" stroke="currentColor" '
        'stroke-dasharray="2 4"/>'
        for x in middles.values()
    ]
    return Canvas(lines + heads.pieces + canvas.pieces, y).svg(title)


def _heads(canvas: Canvas, names: dict[str, str], middles: dict[str, float], lane: float) -> float:
    wrapped_names = {name: wrapped(words, lane - 22) for name, words in names.items()}
    height = max(map(len, wrapped_names.values())) * LINE + 12
    for name, lines in wrapped_names.items():
        canvas.box(middles[name] - lane / 2 + 5, 4, lane - 10, height)
        middle = 4 + height / 2 - (len(lines) - 1) * LINE / 2
        canvas.text(middles[name], middle, lines, weight="bold")
    return height + 22


def _step(canvas: Canvas, x1: float, x2: float, words: str, *, y: float) -> float:
    """Draws an arrow, or a note where both ends are one; where the next may begin."""
    if x1 == x2:
        lines = wrapped(words, 180)
        half = max(map(len, lines)) * CHARACTER / 2 + 8
        x = min(max(x1, half + 3), WIDTH - half - 3)
        height = len(lines) * LINE + 8
        canvas.box(x - half, y - 6, 2 * half, height)
        canvas.text(x, y + 6, lines)
        return y + height + 14
    lines = wrapped(words, max(abs(x2 - x1) - 8, 120))
    canvas.text((x1 + x2) / 2, y, lines)
    below = y + len(lines) * LINE - 2
    canvas.arrow((x1, below), (x2, below))
    return below + 22


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx of the two directives."""
    from docutils import nodes
    from docutils.parsers.rst import Directive

    def directive(draw: Any) -> type[Directive]:
        class Diagram(Directive):
            has_content = True
            required_arguments = 1  # the title, for those who cannot see it
            final_argument_whitespace = True

            def run(self) -> list[nodes.Node]:
                try:
                    svg = draw("\n".join(self.content), title=self.arguments[0])
                except DiagramError as error:
                    raise self.error(str(error)) from error
                return [nodes.raw("", svg, format="html")]

        return Diagram

    app.add_directive("boxes", directive(boxes))
    app.add_directive("sequence", directive(sequence))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
