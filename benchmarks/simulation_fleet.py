"""A fleet against a quota, second by second, on a simulated clock.

`ours` asks ``rolesanywhere_auth.schedule`` for every moment that it decides; `stock` does
what botocore 1.44 does with the credentials of such a fleet. Both see the same service: a
quota, and outages during which each request hangs for 5 s and fails.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random

from rolesanywhere_auth.schedule import backoff, process_spread, renewal_start

HANG = 5
"""Seconds until a request gives up during an outage: the connect timeout."""
ATTEMPTS = 3
"""Requests of one sign-in that fails (``max_attempts``), where there are no good credentials."""
GRACE = 30
"""Seconds of unused quota within the life of credentials that make their loss avoidable:
an attempt that hangs, the shortest back-off, and the second that the clock here is coarse."""
STOCK_ADVISORY, STOCK_MANDATORY = 900, 600
"""botocore's own windows, in seconds."""


@dataclass(frozen=True)
class Scenario:
    """What a fleet meets; seconds throughout."""

    processes: int
    session: int
    horizon: int
    quota: int = 10
    """CreateSession per second; unused quota is not saved up for the next second."""
    outages: tuple[tuple[int, int], ...] = ()
    drifted: bool = False
    """Ages are even over the period when the clock starts, as long after the first start;
    else all start, without credentials, within the first minute."""
    seed: int = 1

    def down(self) -> bytearray:
        """By second, whether there is an outage."""
        flags = bytearray(self.horizon)
        for start, end in self.outages:
            flags[start:end] = b"\1" * (min(end, self.horizon) - start)
        return flags


@dataclass
class Outcome:
    """What came of it; series are by second."""

    scenario: Scenario
    requests: array[int]
    served: array[int]
    free: array[int]
    """Seconds until this one in which the service was up with quota to spare."""
    pauses: list[int] = field(default_factory=list)
    """Seconds without credentials after there was a service again, one each per loss."""
    lost: int = 0
    """How many times credentials expired."""
    avoidable: int = 0
    """Of those: although the service was up for `GRACE` seconds with quota to spare, after
    the renewal was due and the last outage over."""
    crowded: int = 0
    """Of those: although the service was up for `GRACE` seconds, but its quota used up."""
    started: int = 0
    """The second in which the last process signed in for the first time."""
    refused: int = 0
    """Requests over the quota."""
    unusable: int = 0
    """Renewals so late that calls raised errors before expiry (stock botocore)."""

    def rate(self, start: int, end: int) -> float:
        """Requests per second from *start* until *end*."""
        return sum(self.requests[start:end]) / max(end - start, 1)

    def buckets(self, width: int, *, start: int = 0, end: int | None = None) -> list[float]:
        """Requests per second in buckets of *width* seconds; the odd end is left out."""
        end = self.scenario.horizon if end is None else end
        return [self.rate(t, t + width) for t in range(start, end - width + 1, width)]

    def renewed(self, *, second: int, expired: int, due: int) -> None:
        """Count a loss, if *second* of the renewal that began at *due* is after *expired*."""
        if second < expired:
            return
        self.lost += 1
        begun = [start for start, _ in self.scenario.outages if start < expired]
        ended = [end for _, end in self.scenario.outages if end <= expired]
        if len(begun) == len(ended):
            after = max([due, *ended])
            spare = self.free[expired - 1] - self.free[max(after - 1, 0)]
            self.avoidable += spare >= GRACE
            self.crowded += spare < GRACE <= expired - after
        back = max((end for _, end in self.scenario.outages if end <= second), default=0)
        self.pauses.append(second - max(back, expired))


def drift(session: int, *, renewals: int, rule: str = "kept", width: float = 0) -> list[float]:
    """Requests per second and process, by bucket, of 40,000 that signed in in one minute.

    No quota and no failures: what the jitter alone does.

    Args:
        session: Seconds.
        renewals: For how many mean periods.
        rule: ``kept``: each process has one spread (ours). ``anew``: drawn for each
            renewal. ``early``: ours, and the first renewal at a random age.
        width: Of a bucket, in seconds; by default a 40th of the mean period.
    """
    random = Random(3).random
    processes, mean = 40_000, period(session)
    width = width or mean / 40
    counts = [0] * round(renewals * mean / width)
    for _ in range(processes):
        spread = process_spread(random(), random())
        now = random() * 60
        early = rule == "early"
        while True:
            spread = random() if rule == "anew" else spread
            following = renewal_start(issued=now, expires=now + session, spread=spread)
            now, early = now + (random() if early else 1) * (following - now), False
            bucket = int(now / width)
            if bucket >= len(counts):
                break
            counts[bucket] += 1
    return [count / processes / width for count in counts]


def _outcome(scenario: Scenario) -> Outcome:
    zeros = bytes(4 * scenario.horizon)
    return Outcome(scenario, *(array("i", zeros) for _ in range(3)))


def period(session: int) -> float:
    """Mean seconds between two renewals of one process."""
    return renewal_start(issued=0, expires=session, spread=0.5)


class _Fleet:
    """The processes under this library's rules, and what each will do when."""

    def __init__(self, scenario: Scenario, *, early_first: bool) -> None:
        self.random = Random(scenario.seed).random
        self.session = scenario.session
        self.early_first = early_first
        self.result = _outcome(scenario)
        self.expires = array("i", bytes(4 * scenario.processes))  # 0: none yet
        self.due = array("i", bytes(4 * scenario.processes))
        self.throttled = bytearray(scenario.processes)
        """Whether the last sign-in of each was refused for the quota."""
        self.spreads = array(
            "d", (process_spread(self.random(), self.random()) for _ in range(scenario.processes))
        )
        self.agenda: defaultdict[int, list[int]] = defaultdict(list)
        for process in range(scenario.processes):
            start = self.random() * 60
            if scenario.drifted:
                start = self.random() * self.start(process, issued=0)
                self.expires[process] = int(start + self.session - self.start(process, issued=0))
            self.due[process] = int(start)
            self.agenda[int(start)].append(process)

    def start(self, process: int, *, issued: int) -> float:
        return renewal_start(
            issued=issued, expires=issued + self.session, spread=self.spreads[process]
        )

    def signed_in(self, process: int, second: int) -> None:
        self.result.requests[second] += 1
        self.result.served[second] += 1
        following = self.start(process, issued=second)
        if self.expires[process]:
            self.result.renewed(second=second, expired=self.expires[process], due=self.due[process])
        else:
            self.result.started = second
            if self.early_first:
                following = second + self.random() * (following - second)
        self.expires[process] = second + self.session
        self.throttled[process] = 0
        self.due[process] = int(following)
        self.agenda[int(following)].append(process)

    def failed(self, process: int, second: int, *, throttled: bool) -> None:
        sparing = second < self.expires[process] or self.throttled[process]
        requests = 1 if sparing else ATTEMPTS
        self.throttled[process] = throttled
        self.result.requests[second] += requests
        self.result.refused += requests * throttled
        ended = second if throttled else second + HANG * requests
        good_until = self.expires[process] or self.due[process]
        wait = backoff(remaining=good_until - ended, spread=self.random(), throttled=throttled)
        self.agenda[int(ended + wait) + 1].append(process)


def ours(scenario: Scenario, *, early_first: bool = False) -> Outcome:
    """This library's rules.

    Args:
        scenario: What the fleet meets.
        early_first: The variant in which the first renewal of each process is at a random
            age and not in the window.
    """
    shuffle = Random(scenario.seed + 1).shuffle
    fleet, down = _Fleet(scenario, early_first=early_first), scenario.down()
    result, free = fleet.result, 0
    for second in range(scenario.horizon):
        waiting = fleet.agenda.pop(second, [])
        tokens = 0 if down[second] else scenario.quota
        if len(waiting) > tokens:
            shuffle(waiting)
        for process in waiting[:tokens]:
            fleet.signed_in(process, second)
        for process in waiting[tokens:]:
            fleet.failed(process, second, throttled=not down[second])
        free += len(waiting) < tokens
        result.free[second] = free
    for process, expired in enumerate(fleet.expires):
        if 0 < expired < scenario.horizon:
            result.renewed(second=scenario.horizon, expired=expired, due=fleet.due[process])
    return result


def stock(scenario: Scenario) -> Outcome:
    """botocore's `RefreshableCredentials`, where each process makes one call a second.

    From 900 s before expiry every call tries to renew until one succeeds; from 600 s before
    it, a call whose attempt fails raises an error. A session of 900 s is renewed at each call.
    """
    chooser = Random(scenario.seed)
    random = chooser.random
    result, down = _outcome(scenario), scenario.down()
    life = max(scenario.session - STOCK_ADVISORY, 1)
    expires = array("i", bytes(4 * scenario.processes))
    due = array("i", bytes(4 * scenario.processes))
    agenda: defaultdict[int, list[int]] = defaultdict(list)
    for process in range(scenario.processes):
        start = int(random() * (life if scenario.drifted else 60))
        if scenario.drifted:
            expires[process] = start + scenario.session - life
        due[process] = start
        agenda[start].append(process)

    pool: list[int] = []
    free = 0
    for second in range(scenario.horizon):
        pool += agenda.pop(second, [])
        calls = len(pool)
        result.requests[second] = calls
        tokens = 0 if down[second] else scenario.quota
        for _ in range(min(tokens, calls)):
            chosen = int(random() * len(pool))
            pool[chosen], pool[-1] = pool[-1], pool[chosen]
            process = pool.pop()
            if expires[process]:
                result.renewed(second=second, expired=expires[process], due=due[process])
                result.unusable += (
                    scenario.session > STOCK_ADVISORY
                    and second > expires[process] - STOCK_MANDATORY
                )
            else:
                result.started = second
            result.served[second] += 1
            expires[process] = second + scenario.session
            due[process] = second + life
            agenda[second + life].append(process)
        result.refused += max(calls - tokens, 0) if not down[second] else 0
        free += calls < tokens
        result.free[second] = free
    for process in pool:
        if 0 < expires[process] < scenario.horizon:
            result.renewed(second=scenario.horizon, expired=expires[process], due=due[process])
    return result
