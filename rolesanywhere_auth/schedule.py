# SPDX-License-Identifier: Apache-2.0
"""When to renew, and how long to wait after a failure: pure functions of time and jitter.

The windows are those that botocore is moving to (boto/botocore pull requests 3733 and
3760), with two additions of ours: the background renewal starts somewhere inside the
advisory window and not at its first moment, and a back-off takes at most a quarter of
the life that is left.

Nothing here reads a clock or draws a random number. All times are seconds; a *spread*
is a number in [0, 1) that the caller draws. ``benchmarks/simulation.py`` runs whole
fleets on exactly these functions; docs/capacity.md has the results.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

MANDATORY_WINDOW = 60.0
"""Seconds before expiry from which a call waits for new credentials."""
RESERVE = 150.0
"""Seconds that are left at the latest start of a renewal, where the lifetime allows it.

A request to a service that does not answer takes a connect timeout of 5 s and at worst a
read timeout of 10 s; the back-off after it is at most a quarter of what is left. The third
one is still to start before the mandatory window does: ((150 - 15) * 3/4 - 15) * 3/4 = 65.
"""
LONGEST_BACKOFF = 600.0
"""Seconds; a back-off is between half of this and this, where life is long enough."""
SHORTEST_BACKOFF = 5.0
"""Seconds; near expiry, on either side of it, a quarter of next to nothing would hammer."""
LASTING_HOLD = 5.0
"""Seconds for which an error that will not heal by itself is raised again without contact."""

State = Literal["closed", "open", "half-open"]
"""See `Circuit`."""


def advisory_window(lifetime: float) -> float:
    """Seconds before expiry from which credentials of *lifetime* seconds may be renewed.

    5 minutes up to 20 minutes of life, 15 under 90, else 60 (botocore pull request 3760).
    """
    if lifetime <= 20 * 60:
        return 5 * 60.0
    return 15 * 60.0 if lifetime < 90 * 60 else 60 * 60.0


def renewal_window(lifetime: float) -> float:
    """Seconds before expiry from which this library may renew.

    The advisory window, but a third of the life at most: that window is most of a session
    of just above 20 or 90 minutes, and all of the short ones that an emulator gives.
    """
    return min(advisory_window(lifetime), max(lifetime, 0.0) / 3)


def mandatory_window(lifetime: float) -> float:
    """Seconds before expiry from which a call waits for new credentials.

    A minute; a tenth of sessions of under ten minutes, which the service does not give
    but an emulator may: a minute would make every call of those sign in.
    """
    return min(MANDATORY_WINDOW, max(lifetime, 0.0) / 10)


def process_spread(one: float, other: float) -> float:
    """Where in the window a process renews, for as long as it lives: the mean of two draws.

    Processes that differ by a constant drift apart by the same step at each renewal. Drawn
    anew for each, the steps of one process would mostly cancel out: a fleet of 12-hour
    sessions would need months instead of days to spread. The mean of two has fewer
    processes at both ends than a single draw; the edges of the fleet's wave blur, and it
    is flat in half the time.

    Args:
        one: In [0, 1), drawn when the process starts, and anew in a forked child.
        other: The same, independent of the first.
    """
    return (one + other) / 2


def renewal_start(*, issued: float, expires: float, spread: float) -> float:
    """The moment at which the background renewal is to start, on the clock of *expires*.

    It lies inside the `renewal_window`, and leaves a third of that, or `RESERVE` if that
    is longer: time for a failed attempt, a back-off and another attempt before the
    mandatory window. So it is an age of 600 to 750 s in a session of 15 minutes, 2700 to
    3300 s in one hour, 39600 to 42000 s in 12 hours.

    Shorter sessions than 15 minutes keep the proportions of those. Credentials that
    expire before they are issued are due at their expiry.

    Args:
        issued: When the credentials were fetched.
        expires: When they expire.
        spread: This process's, by `process_spread`; 0 is the first moment.
    """
    lifetime = expires - issued
    if lifetime <= 0:
        return expires
    window = renewal_window(lifetime)
    reserve = min(max(window / 3, RESERVE), window / 2)
    return expires - window + spread * (window - reserve)


def backoff(
    *,
    remaining: float,
    spread: float,
    retry_after: float | None = None,
    throttled: bool = False,
) -> float:
    """Seconds until the next attempt after one that failed in a way that may heal.

    Half to the whole of the shortest of: ten minutes; a quarter of the life that is left;
    and, once expired, half of the time since. So a process always gets another attempt
    while its credentials are good; one that has just lost them is back soon after the
    service is; and one that lost them long ago comes every 5 to 10 minutes.
    Never less than `SHORTEST_BACKOFF`.

    Args:
        remaining: Life that is left; negative: seconds since the credentials expired.
            Without any yet, minus the seconds since the first attempt.
        spread: A new draw for each failure.
        retry_after: What the service asked for. It is kept, and exceeded by up to a
            quarter, as far as it leaves an attempt before the mandatory window, or
            half of what is left in it; once expired, up to ten minutes.
        throttled: The service is there but the quota is used up. A process without good
            credentials then leaves it to those that still have some to save: it waits
            up to a minute or twice the time since, whichever is longer.
    """
    share = remaining / 4 if remaining > 0 else -remaining / 2
    longest = min(max(share, 2 * SHORTEST_BACKOFF), LONGEST_BACKOFF)
    if throttled and remaining <= 0:
        longest = min(max(-2 * remaining, 60.0), LONGEST_BACKOFF)
    wait = longest * (1 + spread) / 2
    if retry_after is None:
        return wait
    limit = LONGEST_BACKOFF
    if remaining > 0:
        limit = max((remaining - MANDATORY_WINDOW) / 1.25, remaining / 2)
    return max(wait, min(retry_after, limit) * (1 + spread / 4))


class Circuit(NamedTuple):
    """Whether an attempt may be made now; a value, replaced at each outcome.

    ``closed``: the last attempt succeeded, or there was none. ``open``: it failed, and
    none may be made yet. ``half-open``: the wait is over, and the next attempt decides.
    A clock that was set back behind the failure ends the wait: nobody knows how much
    of it is over.
    """

    failures: int = 0
    """How many attempts failed since the last success."""
    since: float = 0.0
    """When the last attempt ended, in seconds of the caller's clock."""
    wait: float = 0.0
    """Seconds after ``since`` during which no attempt is made."""

    def state(self, now: float) -> State:
        """The state at *now*: seconds of the clock that was given to the transitions."""
        if not self.failures:
            return "closed"
        return "open" if self.since <= now < self.since + self.wait else "half-open"

    def allows(self, now: float) -> bool:
        """Whether an attempt may be made."""
        return self.state(now) != "open"

    def retry_in(self, now: float) -> float:
        """Seconds until an attempt may be made; 0 if it may now."""
        return 0.0 if self.allows(now) else self.since + self.wait - now

    def failed(self, now: float, *, wait: float) -> Circuit:
        """Opens it, for *wait* seconds: of `backoff`, or `LASTING_HOLD`."""
        return Circuit(self.failures + 1, now, wait)

    def succeeded(self, now: float) -> Circuit:
        """Closes it."""
        return Circuit(since=now)
