"""Figures, ratios, and how they are printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

Samples = dict[str, list[float]]
"""By contender, one figure per round."""

OURS = "rolesanywhere_auth"
PEER = "iam-rolesanywhere-session"


@dataclass(frozen=True)
class Budget:
    """One promise, and what was measured.

    ``value`` is a ratio unless ``unit`` says otherwise.
    """

    name: str
    value: float
    limit: float | None
    """None where nothing is promised, and the figure is shown beside others that are."""
    spread: tuple[float, float]
    """First and third quartile."""
    unit: str = ""

    def line(self) -> str:
        """As it is printed."""
        low, high = self.spread
        unit = f" {self.unit}" if self.unit else ""
        figure = f"{self.name:<66} {self.value:7.2f}{unit:<3} ({low:.2f} to {high:.2f})"
        if self.limit is None:
            return f"{figure}   no limit"
        met = self.value <= self.limit
        return f"{figure}   <= {self.limit:.2f}{unit:<3}  {'met' if met else 'NOT MET'}"


def measure(
    contenders: Mapping[str, Callable[[], float]], *, rounds: int, warm_up: int = 1
) -> Samples:
    """Measure all *contenders* in turn, round by round, so that noise strikes all alike.

    Each round begins with another contender.
    """
    names = list(contenders)
    samples: Samples = {name: [] for name in names}
    for turn in range(-warm_up, rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            figure = contenders[name]()
            if turn >= 0:
                samples[name].append(figure)
    return samples


def ratios(samples: Samples, name: str, base: str, *, minus: str | None = None) -> list[float]:
    """*name* by *base* in each round; of both, *minus* is taken off first."""
    off = samples[minus] if minus else [0.0] * len(samples[name])
    return [(a - c) / (b - c) for a, b, c in zip(samples[name], samples[base], off, strict=True)]


def quartiles(figures: Sequence[float]) -> tuple[float, float]:
    """First and third quartile."""
    if len(figures) < 2:
        return figures[0], figures[0]
    low, _, high = quantiles(figures, n=4, method="inclusive")
    return low, high


def budget(name: str, figures: Sequence[float], limit: float | None, *, unit: str = "") -> Budget:
    """The median of *figures* against *limit*."""
    return Budget(name, median(figures), limit, quartiles(figures), unit)


def section(title: str, samples: Samples, *, unit: str, base: str | None = None) -> str:
    """A table of medians and quartiles; with the ratio to *base*, round by round."""
    lines = ["", title, "-" * len(title)]
    for name, figures in samples.items():
        low, high = quartiles(figures)
        text = (
            f"{name:<44} {_figure(median(figures)):>9} {unit}  ({_figure(low)} to {_figure(high)})"
        )
        if base and base in samples:
            text = f"{text:<82} {median(ratios(samples, name, base)):6.2f} x {base}"
        lines.append(text)
    return "\n".join(lines)


def _figure(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
