"""What 20 calls see under each fault, by how the credentials stand that are held.

See `benchmarks.lanes.LEFT` for what each contender's states are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.faulty_server import FAULTS
from benchmarks.lanes import LEFT, STATES, STOCK, Calls, Crowd, Server, contender, serving
from benchmarks.stage import Stage
from benchmarks.table import OURS, PEER, Budget, budget

CALLS = 20
PAUSE = 0.005
WATCH = 3.0
"""Seconds after which a contender that hangs is left alone."""
DEADLINE = 1.0
"""Seconds that a call of ours waits at most, where the server hangs."""
SLACK = 0.25
"""Seconds that a busy machine may take to wake up a thread."""
IMPATIENT = {
    "connect_timeout": 0.5,
    "read_timeout": 0.5,
    "max_attempts": 2,
    "wait_timeout": DEADLINE,
}
"""Settings of ours for the server that hangs; elsewhere all are as they come."""


@dataclass(frozen=True)
class Cell:
    """One fault in one state."""

    calls: Calls
    requests: int
    sign_ins: int
    attempts: int
    """How many requests one sign-in may make."""
    asked: int

    def text(self) -> str:
        """As it is printed."""
        calls = self.calls
        parts = [f"{calls.good}/{self.asked} ok, {self.requests} req"]
        if calls.empty:
            parts.append(f"{calls.empty} WITHOUT KEYS")
        if calls.waiting:
            parts.append(f"{calls.waiting} waiting after {calls.worst / 1000:.1f} s")
        else:
            parts.append(f"{calls.worst:.0f} ms")
        parts += sorted(calls.errors)
        return ", ".join(parts)


def cell(
    name: str, state: str, fault: str, found: Stage, server: Server, *, threads: int = 1
) -> Cell:
    """So many calls under *fault*, begun in *state*."""
    settings = IMPATIENT if fault == "hang" and name == OURS else {}
    with server.lane() as lane:
        one = contender(name, found, lane, **settings)
        one.place(state)
        before, began = lane.requests, one.sign_ins
        lane.set(fault=fault)
        calls = CALLS if threads == 1 else 1
        crowd = Crowd(one.credentials, threads=threads, pause=PAUSE, calls=calls)
        seen = crowd.watch(WATCH)
        one.settle(WATCH)
        requests = lane.requests - before
        sign_ins = one.sign_ins - began
    crowd.release()  # only once the lane is shut
    attempts = one.credentials.config.max_attempts if name == OURS else 1
    return Cell(seen, requests, sign_ins, attempts, calls * threads)


def faults(found: Stage, *, rounds: int) -> list[Budget]:
    """Print the tables; the budgets on ours."""
    budgets = []
    logging.disable()  # hundreds of tracebacks of what is expected here
    with serving(found) as server:
        for name in (OURS, PEER, STOCK):
            tables = [
                {(state, fault): cell(name, state, fault, found, server)
                 for fault in FAULTS for state in STATES}
                for _ in range(rounds)
            ]  # fmt: skip
            _table(name, tables[-1])
            if name == OURS:
                budgets += _judge(tables)
        budgets += _line(found, server)
    logging.disable(logging.NOTSET)
    return budgets


def _table(name: str, cells: Mapping[tuple[str, str], Cell]) -> None:
    title = f"{CALLS} calls under each fault: {name}"
    print(f"\n{title}\n{'-' * len(title)}")
    print(", ".join(f"{state}: {left} s left" for state, left in LEFT[name].items()))
    for fault in FAULTS:
        print(fault)
        for state in STATES:
            print(f"    {state:<10} {cells[state, fault].text()}")


def _judge(tables: list[dict[tuple[str, str], Cell]]) -> list[Budget]:
    held = [c for cells in tables for (state, _), c in cells.items() if state != "none"]
    none = [c for cells in tables for (state, _), c in cells.items() if state == "none"]
    every = [*held, *none]
    hanging = [c for cells in tables for (_, fault), c in cells.items() if fault == "hang"]
    failed = max(c.asked - c.calls.good for c in held)
    return [
        _worst("faults: calls that failed with valid credentials, worst cell", failed, 0),
        _worst("faults: sign-ins in a back-off interval, worst cell",
               max(c.sign_ins for c in every), 1),
        _worst("faults: requests in a back-off interval, valid credentials",
               max(c.requests for c in held), 1),
        _worst("faults: requests / max_attempts in one, no credentials",
               max(c.requests / c.attempts for c in none), 1),
        _worst("faults: answers without keys handed out",
               sum(c.calls.empty for c in every), 0),
        _worst(f"hang: longest call, deadline {DEADLINE:g} s",
               max(c.calls.worst for c in hanging) / 1000, DEADLINE + SLACK, unit="s"),
    ]  # fmt: skip


def _worst(name: str, value: float, limit: float, *, unit: str = "") -> Budget:
    return budget(name, [float(value)], limit, unit=unit)


def _line(found: Stage, server: Server, *, threads: int = 16) -> list[Budget]:
    """Many callers at once on a server that hangs: does one wait behind another?"""
    title = f"{threads} threads at once, one call each, the server hangs"
    print(f"\n{title}\n{'-' * len(title)}")
    worst = 0.0
    for name in (OURS, PEER, STOCK):
        for state in ("mandatory", "none"):
            found_cell = cell(name, state, "hang", found, server, threads=threads)
            print(f"{name:<32}{state:<12}{found_cell.text()}")
            if name == OURS:
                worst = max(worst, found_cell.calls.worst / 1000)
    limit = DEADLINE + SLACK
    return [_worst(f"hang, {threads} threads: longest call, deadline {DEADLINE:g} s",
                   worst, limit, unit="s")]  # fmt: skip
