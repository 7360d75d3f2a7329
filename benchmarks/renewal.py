"""64 threads across a renewal that takes 2 s, and sessions that are as short as they get.

All contenders are asked in the same way; static credentials, which never wait, show what
the machine itself adds. Times of one call include a thread's wait for the interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from benchmarks.lanes import STATIC, STOCK, Calls, Crowd, Server, contender, serving
from benchmarks.stage import Stage
from benchmarks.table import OURS, PEER, Budget, budget

THREADS = 64
DELAY = 2.0
"""Seconds that the service takes to answer."""
PAUSE = 0.02
"""Seconds between two calls of a thread: 64 of them make up to 3200 calls a second."""
ENTER = 0.4
"""Seconds after which the advisory window is entered by our clock."""
SHORT = 900.0


@dataclass(frozen=True)
class Load:
    """Who calls, how often, and how fast the service answers."""

    name: str
    threads: int
    pause: float
    seconds: float
    delay: float = 0.0


LOADS = (
    Load("one call a second", threads=1, pause=1.0, seconds=4.5),
    Load("thousands a second", threads=THREADS, pause=PAUSE, seconds=3.0),
    Load("thousands a second, answers in 2 s", THREADS, PAUSE, seconds=7.0, delay=DELAY),
)

Run = tuple[Calls, int]
"""What callers saw, and how many requests came."""


def across(name: str, state: str, found: Stage, server: Server) -> Run:
    """One renewal that takes `DELAY` seconds, begun in *state*, with all threads calling."""
    with server.lane() as lane:
        one = contender(name, found, lane)
        then, seconds = (lambda: None), DELAY + 0.7
        if state == "advisory" and name == OURS:
            one.place("far")
            then = lambda: one.move(3600 - 290)  # noqa: E731
        elif state == "advisory" and name != STATIC:
            lane.set(lifetime=902)  # cut to whole seconds: 1 to 2 s until the window
            one.credentials.get_frozen_credentials()
            lane.set(lifetime=3600)
            seconds += 2
        else:
            one.place(state)
        before = lane.requests
        lane.set(delay=DELAY)
        crowd = Crowd(one.credentials, threads=THREADS, pause=PAUSE)
        calls = crowd.watch(seconds, at=ENTER, then=then)
        crowd.release()
        return calls, lane.requests - before


def short_session(name: str, load: Load, found: Stage, server: Server) -> Run:
    """Calls while every session lasts `SHORT` seconds."""
    with server.lane() as lane:
        one = contender(name, found, lane)
        lane.set(lifetime=SHORT, delay=load.delay)
        crowd = Crowd(one.credentials, threads=load.threads, pause=load.pause)
        calls = crowd.watch(load.seconds)
        crowd.release()
        return calls, lane.requests


def renewals(found: Stage, *, rounds: int) -> list[Budget]:
    """Print what callers saw; the budgets on ours."""
    budgets = []
    with serving(found) as server:
        for state in ("none", "advisory", "mandatory"):
            runs: dict[str, list[Run]] = {}
            for _ in range(rounds):
                for name in (OURS, PEER, STOCK, STATIC):
                    runs.setdefault(name, []).append(across(name, state, found, server))
            title = {"none": "cold start", "mandatory": "begun in the mandatory window"}.get(
                state, "advisory window entered while running"
            )
            _table(f"{THREADS} threads, a renewal that takes {DELAY:g} s, {title}", runs)
            budgets += _judge(state, runs[OURS])
        for load in LOADS:
            runs = {}
            for _ in range(rounds):
                for name in (OURS, PEER, STOCK):
                    run = short_session(name, load, found, server)
                    runs.setdefault(name, []).append(run)
            _table(f"Sessions of {SHORT:g} s, {load.name}, {load.seconds:g} s of calls", runs)
            requests = [float(count) for _, count in runs[OURS]]
            budgets.append(budget(f"{SHORT:g} s session, {load.name}: CreateSession", requests, 1))
    return budgets


def _judge(state: str, runs: list[Run]) -> list[Budget]:
    what = f"renewal, {THREADS} threads, {'cold' if state == 'none' else state}"
    budgets = [budget(f"{what}: CreateSession", [float(count) for _, count in runs], 1)]
    if state == "advisory":
        blocked = [float(calls.blocked(5)) for calls, _ in runs]
        budgets.append(budget(f"{what}: threads blocked > 5 ms", blocked, 0))
        worst = [calls.worst for calls, _ in runs]
        budgets.append(budget(f"{what}: longest call", worst, 20, unit="ms"))
    return budgets


def _table(title: str, runs: dict[str, list[Run]]) -> None:
    print(f"\n{title}\n{'-' * len(title)}")
    columns = ("longest call", "> 5 ms", "> 250 ms", "CreateSession", "calls", "failed")
    print(f"{'':<32}" + "".join(f"{column:>15}" for column in columns))
    for name, found in runs.items():
        figures = (
            f"{median(calls.worst for calls, _ in found):,.1f} ms",
            f"{median(calls.blocked(5) for calls, _ in found):g}",
            f"{median(calls.blocked(250) for calls, _ in found):g}",
            f"{median(count for _, count in found):g}",
            f"{median(calls.total for calls, _ in found):,.0f}",
            f"{median(calls.total - calls.good for calls, _ in found):g}",
        )
        print(f"{name:<32}" + "".join(f"{figure:>15}" for figure in figures))
