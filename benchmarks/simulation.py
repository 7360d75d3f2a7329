"""What a fleet asks of the quota: ``python -m benchmarks.simulation``.

It runs the library's own timing rules on a simulated clock and prints the tables of
docs/capacity.md; ``--plots docs/images`` draws its pictures. Everything is seeded: the
same command gives the same figures on every machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.simulation_fleet import Outcome, Scenario, drift, ours, period, stock
from benchmarks.simulation_plot import Axis, Line, plot, thin

QUOTA = 10
LENGTHS = {"15 min": 900, "1 h": 3600, "4 h": 14400, "12 h": 43200}
OUTAGES = {"1 min": 60, "5 min": 300, "15 min": 900, "30 min": 1800, "1 h": 3600, "2 h": 7200}
WARM_UP = 1800
"""Seconds before an outage begins."""
LIMIT = 1.3
"""Peak to mean, in steady state."""

Plots = dict[str, str]


def fleet(session: int, share: float) -> int:
    """As many processes as use *share* of the quota by renewing."""
    return int(QUOTA * period(session) * share)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print it, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}\n{'-' * len(title)}")
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _series(result: Outcome, *, width: int, start: int = 0, scale: float = 3600) -> Line:
    rates = enumerate(result.buckets(width, start=start))
    return Line("", thin([((at * width) / scale, rate) for at, rate in rates]))


def starts(plots: Plots, *, quick: bool) -> None:
    """All processes of a fleet start in the same minute, without credentials."""
    fleets = [(1_000, 3600, QUOTA), (5_400, 900, QUOTA), (24_000, 3600, QUOTA)]
    if not quick:
        fleets += [(100_000, 43200, QUOTA), (1_000_000, 43200, 10 * QUOTA)]
    rows = []
    for processes, session, quota in fleets:
        horizon = int(processes / quota + (8 if session < 43200 else 2.5) * session)
        scenario = Scenario(processes, session, horizon, quota=quota)
        with_us, without = ours(scenario), stock(scenario)
        results = {"ours": with_us, "stock": without}
        if processes == 24_000:
            results["early"] = ours(scenario, early_first=True)
        for name, result in results.items():
            end = result.buckets(60, start=horizon - 2 * session)
            rows.append(
                (
                    f"{processes:,}",
                    _length(session),
                    quota,
                    name,
                    f"{result.started / 60:,.0f}",
                    f"{max(result.buckets(60)):,.1f}",
                    f"{max(end):,.1f}",
                    f"{sum(end) / len(end):,.1f}",
                    f"{result.lost:,}",
                )
            )
        if processes == 24_000:
            plots["start"] = plot(
                f"{processes:,} processes start in the same minute; sessions of 1 hour",
                [
                    Line("rolesanywhere-auth", _series(with_us, width=60).points),
                    Line("botocore's own renewal", _series(without, width=60).points),
                    Line("quota", [(0, QUOTA), (horizon / 3600, QUOTA)]),
                ],
                x=Axis("hours", 0, 8, ticks=tuple(range(9))),
                y=Axis("CreateSession requests per second", 1, 100_000, log=True),
            )
    table(
        "Started in the same minute: requests per second, by minute",
        (
            "processes",
            "session",
            "quota",
            "rules",
            "all in",
            "peak",
            "peak, end",
            "mean, end",
            "lost",
        ),
        rows,
    )
    print(
        "all in: minutes until the last process had signed in. end: the last two session lengths.\n"
        "lost: how often credentials expired. early: ours, first renewal at a random age."
    )


def spreading(plots: Plots, *, quick: bool) -> None:
    """How fast jitter alone flattens a fleet that signed in within one minute."""
    rows, lines = [], []
    for name, session in LENGTHS.items():
        renewals = 20 if session < 14400 else 30 if quick else 60
        for rule in ("kept", "anew", "early"):
            curve = _peaks(session, rule=rule, renewals=renewals)
            late = max((at for at, value in curve if value > LIMIT), default=0) + 1
            never = late > renewals - 2
            rows.append(
                (
                    name,
                    rule,
                    *(f"{curve[at - 1][1]:.2f}" for at in (1, 5, 10, 18)),
                    f"> {renewals}" if never else late,
                    "" if never else f"{late * period(session) / 86400:.2f}",
                )
            )
            if rule == "kept":
                lines.append(Line(f"sessions of {name}", curve[:30]))
    table(
        "Peak to mean, when all signed in in the same minute (buckets of 1/40 period)",
        ("session", "rule", "1st renewal", "5th", "10th", "18th", "<= 1.3 from", "days"),
        rows,
    )
    print("kept: ours. anew: a new draw for each renewal. early: first renewal at a random age.")
    plots["drift"] = plot(
        "A fleet that signed in in the same minute drifts apart",
        lines,
        x=Axis("renewals since", 0, 30, ticks=(0, 5, 10, 15, 20, 25, 30)),
        y=Axis("busiest to mean", 1, 50, log=True, ticks=(1, 1.3, 2, 5, 10, 20, 50)),
    )


def _peaks(session: int, *, rule: str, renewals: int) -> list[tuple[float, float]]:
    """By number of renewals, the busiest bucket of that period by the mean."""
    mean = 1 / period(session)
    counts = drift(session, renewals=renewals + 1, rule=rule)
    # a fast process begins its n-th renewal before the n-th mean period: centre on it
    return [(at, max(counts[at * 40 - 20 : at * 40 + 20]) / mean) for at in range(1, renewals + 1)]


def steady(plots: Plots, *, quick: bool) -> None:  # noqa: ARG001 - as its neighbours
    """Peak to mean by the minute of fleets under the quota, long after their start."""
    rows = []
    for name, session in LENGTHS.items():
        if quick and session > 14400:
            continue
        scenario = Scenario(fleet(session, 0.8), session, int(period(session) * 3), drifted=True)
        result = ours(scenario)
        served = [sum(result.served[t : t + 60]) / 60 for t in range(0, scenario.horizon - 59, 60)]
        asked = result.buckets(60)
        rows.append(
            (
                name,
                f"{scenario.processes:,}",
                f"{sum(served) / len(served):.2f}",
                f"{max(served):.2f}",
                f"{max(served) * len(served) / sum(served):.2f}",
                f"{sum(asked) / len(asked):.2f}",
                f"{max(asked):.2f}",
                f"{max(asked) * len(asked) / sum(asked):.2f}",
                result.lost,
            )
        )
    table(
        "Steady state at 80 % of the quota, drifted, by the minute, over three periods",
        (
            "session",
            "processes",
            "served",
            "peak",
            "peak/mean",
            "asked",
            "peak",
            "peak/mean",
            "lost",
        ),
        rows,
    )
    print("asked: with the requests that were refused, as more came in one second than it allows.")


def capacity(plots: Plots, *, quick: bool) -> None:
    """The largest fleet that fits the quota."""
    rows = []
    curves: dict[str, list[tuple[float, float]]] = {"drifted": [], "in step": [], "stock": []}
    lengths = {"15 min": 900, "20 min": 1200, "30 min": 1800, **LENGTHS, "2 h": 7200}
    for name, session in sorted(lengths.items(), key=lambda item: item[1]):
        every = period(session)
        share = _largest_share(session, periods=1.5 if quick or session > 14400 else 4)
        burst = max(drift(session, renewals=2, width=10))
        together = int(QUOTA / burst)
        without = QUOTA * 60 if session > 900 else QUOTA
        rows.append(
            (
                name,
                f"{every:,.0f} s",
                f"{fleet(session, 1 / LIMIT):,}",
                f"{fleet(session, share):,}",
                f"{together:,}",
                f"{without:,}",
                f"{QUOTA * max(session - 900, 1):,}",
            )
        )
        for curve, value in (
            ("drifted", fleet(session, share)),
            ("in step", together),
            ("stock", without),
        ):
            curves[curve].append((session / 3600, value))
    table(
        f"Largest fleet under {QUOTA} CreateSession a second",
        ("session", "period", "planned", "drifted", "in step", "stock in step", "stock, even"),
        rows,
    )
    print(
        "planned: mean x 1.3 = quota. drifted: nobody's credentials expire over several periods.\n"
        "in step: all signed in in the same minute, and their next renewals stay under the quota."
    )
    plots["capacity"] = plot(
        f"Largest fleet under {QUOTA} CreateSession requests per second",
        [
            Line("drifted apart", curves["drifted"]),
            Line("signed in in the same minute", curves["in step"]),
            Line("the same with botocore's own renewal", curves["stock"]),
        ],
        x=Axis("session length in hours", 0.25, 12, log=True, ticks=(0.25, 0.5, 1, 2, 4, 12)),
        y=Axis("processes", 10, 1_000_000, log=True),
    )


def _largest_share(session: int, *, periods: float) -> float:
    """The most of the quota that a drifted fleet may use without a loss."""
    for percent in (100, 98, 95, 90, 85, 80, 75, 70, 60, 50):
        horizon = int(periods * period(session))
        scenario = Scenario(fleet(session, percent / 100), session, horizon, drifted=True)
        if not ours(scenario).lost:
            return percent / 100
    raise ValueError("not even half of the quota can be used")


def outages(plots: Plots, *, quick: bool) -> None:
    """What an outage costs, and what comes after it."""
    rows = []
    curves: dict[str, list[tuple[float, float]]] = {"ours": [], "stock": [], "raise": []}
    lengths = ["15 min", "1 h"] if quick else ["15 min", "1 h", "12 h"]
    for name in lengths:
        session = LENGTHS[name]
        processes = fleet(session, 0.5)
        for outage, seconds in OUTAGES.items():
            end = WARM_UP + seconds
            scenario = Scenario(
                processes, session, end + 10800, outages=((WARM_UP, end),), drifted=True
            )
            for rules, result in (("ours", ours(scenario)), ("stock", stock(scenario))):
                rows.append(_outage_row((name, f"{processes:,}", outage, rules), result, end=end))
                if name == "1 h":
                    late = result.avoidable + result.crowded
                    curves[rules].append((seconds / 60, late))
                    if rules == "stock":
                        curves["raise"].append((seconds / 60, result.unusable))
                if (name, outage) == ("1 h", "30 min"):
                    curves[f"{rules} rate"] = list(_series(result, width=30, scale=60).points)
    table(
        "An outage; the fleet, drifted, uses half of the quota",
        ("session", "processes", "outage", "rules", "before end", "crowded", "could be saved",
         "peak after", "half back", "all back", "raised early"),
        rows,
    )  # fmt: skip
    print(_OUTAGE_LEGEND)
    plots["outage"] = plot(
        "15,000 processes, sessions of 1 hour, an outage from minute 30 to 60",
        [
            Line("rolesanywhere-auth", curves["ours rate"]),
            Line("botocore's own renewal", curves["stock rate"]),
            Line("quota", [(0, QUOTA), (240, QUOTA)]),
        ],
        x=Axis("minutes", 0, 240, ticks=(0, 30, 60, 90, 120, 180, 240)),
        y=Axis("CreateSession requests per second", 1, 100_000, log=True),
    )
    plots["losses"] = plot(
        "Lost after the service was back: 15,000 processes, sessions of 1 hour",
        [
            Line("rolesanywhere-auth", curves["ours"]),
            Line("botocore's own renewal", curves["stock"]),
            Line("errors before expiry, botocore", curves["raise"]),
        ],
        x=Axis("minutes of outage", 0, 120, ticks=(1, 15, 30, 60, 120)),
        y=Axis("processes", 0, 15_000),
    )


_OUTAGE_LEGEND = """\
before end: expired while the service was down, or within 30 s after it was back.
crowded: expired later, while others used up the whole quota.
could be saved: expired although the service was up with quota to spare for 30 s.
peak after: requests per second in the busiest minute after the outage.
half back, all back: minutes after the outage until those who lost theirs had new ones.
raised early: renewals that came so late that calls raised errors with good credentials."""


def _outage_row(start: tuple[str, ...], result: Outcome, *, end: int) -> tuple[object, ...]:
    pauses = sorted(result.pauses) or [0]
    return (
        *start,
        f"{result.lost - result.crowded - result.avoidable:,}",
        f"{result.crowded:,}",
        f"{result.avoidable:,}",
        f"{max(result.buckets(60, start=end)):,.0f}",
        f"{pauses[len(pauses) // 2] / 60:.1f}",
        f"{pauses[-1] / 60:.1f}",
        f"{result.unusable:,}",
    )


def _length(session: int) -> str:
    return next(name for name, seconds in LENGTHS.items() if seconds == session)


PARTS = {
    "starts": starts,
    "spreading": spreading,
    "steady": steady,
    "capacity": capacity,
    "outages": outages,
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation")
    parser.add_argument("--quick", action="store_true", help="without the largest fleets")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be repeated")
    parser.add_argument("--plots", type=Path, help="folder for the SVG files")
    chosen = parser.parse_args(argv)
    plots: Plots = {}
    for name, part in PARTS.items():
        if chosen.only and name not in chosen.only:
            continue
        begun = time.perf_counter()
        part(plots, quick=chosen.quick)
        print(f"({name}: {time.perf_counter() - begun:.0f} s)", flush=True)
    if chosen.plots:
        chosen.plots.mkdir(parents=True, exist_ok=True)
        for name, text in plots.items():
            (chosen.plots / f"{name}.svg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
