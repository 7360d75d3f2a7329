# SPDX-License-Identifier: Apache-2.0
"""How often somebody may be refused."""

from __future__ import annotations

from collections.abc import Callable


class RateLimit:
    """A bucket of tokens for each peer; a peer that is not seen for long is forgotten.

    Args:
        rate: How many a second in the long run.
        burst: How many at once.
        steady: Seconds of a clock that nobody sets.
        peers: How many peers are told apart.
    """

    def __init__(
        self, *, rate: float, burst: float, steady: Callable[[], float], peers: int = 1024
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._steady = steady
        self._peers = peers
        self._left: dict[str, tuple[float, float]] = {}

    def allows(self, peer: str) -> bool:
        """Whether *peer* may once more; counts it if so."""
        now = self._steady()
        left, seen = self._left.pop(peer, (self._burst, now))
        left = min(self._burst, left + (now - seen) * self._rate)
        allowed = left >= 1
        self._left[peer] = (left - 1 if allowed else left, now)
        if len(self._left) > self._peers:
            del self._left[next(iter(self._left))]
        return allowed
