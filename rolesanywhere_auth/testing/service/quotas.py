# SPDX-License-Identifier: Apache-2.0
"""Rates: the quotas of AWS's user guide (page "quotas"), by token buckets on the emulator's clock.

The numbers are AWS's. That a bucket holds one second's worth of calls is ours, and so
are code and text of the refusal: AWS shows none for this service, and
``ThrottlingException`` with status 429 is what its other services say.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Hashable
from datetime import datetime

from rolesanywhere_auth.testing.service.wire import Refusal, Request

SIGN_INS_PER_SECOND = 10.0
"""CreateSession, in one account and Region."""
CONTROL_PLANE_PER_SECOND = 1.0
"""Each group of the control plane's operations, in one account and Region."""

# The user guide names the operations of each group; attribute mappings and notification
# settings are in none.
_GROUPS = re.compile(
    r"/(?:(trustanchor|profile|subject|crl)s?(?![^/])(?!.*/mappings$)|"
    r"(?:Tag|Untag|ListTagsFor)(Resource)$)"
)


class Rate:
    """So many calls a second, counted for each key on its own.

    Args:
        per_second: How many; as many may come at once.
        clock: The present moment.

    Raises:
        ValueError: *per_second* is not above 0.
    """

    def __init__(self, per_second: float, *, clock: Callable[[], datetime]) -> None:
        if not per_second > 0:
            raise ValueError(f"per_second must be above 0, not {per_second}.")
        self._per_second = per_second
        self._size = max(per_second, 1.0)
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[Hashable, tuple[float, datetime]] = {}

    def is_exceeded(self, key: Hashable = None) -> bool:
        """Count one call for *key*; whether it is one too many."""
        now = self._clock()
        with self._lock:
            tokens, since = self._buckets.get(key, (self._size, now))
            # A clock that is put back gives nothing and takes nothing.
            gained = max((now - since).total_seconds(), 0.0) * self._per_second
            tokens = min(tokens + gained, self._size)
            # Sums of fractions fall short of the whole by some 1e-16.
            exceeded = tokens < 1 - 1e-9
            self._buckets[key] = (tokens if exceeded else tokens - 1, now)
        return exceeded

    def clear(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._buckets.clear()


class Quotas:
    """The quotas of calls a second; they refuse nothing unless *enforced*.

    Args:
        clock: The present moment.
        enforced: Whether calls above the quota are refused.
    """

    def __init__(self, *, clock: Callable[[], datetime], enforced: bool) -> None:
        self._enforced = enforced
        self._sign_ins = Rate(SIGN_INS_PER_SECOND, clock=clock)
        self._control_plane = Rate(CONTROL_PLANE_PER_SECOND, clock=clock)

    def admit_sign_in(self, request: Request) -> None:
        """Count one CreateSession.

        Raises:
            Refusal: ``ThrottlingException``.
        """
        if self._enforced and self._sign_ins.is_exceeded(region_of(request)):
            raise rate_exceeded()

    def admit(self, request: Request) -> None:
        """Count one call of the control plane.

        Raises:
            Refusal: ``ThrottlingException``.
        """
        group = _GROUPS.match(request.path)
        if self._enforced and group:
            key = (group[1] or group[2], region_of(request))
            if self._control_plane.is_exceeded(key):
                raise rate_exceeded()

    def clear(self) -> None:
        """Forget all calls."""
        self._sign_ins.clear()
        self._control_plane.clear()


def rate_exceeded() -> Refusal:
    """The refusal of a call too many."""
    return Refusal(429, "ThrottlingException", "Rate exceeded")


def region_of(request: Request) -> str | None:
    """The Region for which *request* is signed; None when it does not say."""
    scope = re.search(r"Credential=[^/]+/\d+/([a-z0-9-]+)/", request.header("Authorization") or "")
    return scope[1] if scope else None
