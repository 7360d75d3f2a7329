# SPDX-License-Identifier: Apache-2.0
"""What is known of the credentials: the present ones, how signing in went, what was told of it.

Nothing here waits, locks or starts anything; `rolesanywhere_auth.renewal` does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import NamedTuple, NoReturn

from botocore.credentials import ReadOnlyCredentials

from rolesanywhere_auth import schedule
from rolesanywhere_auth.errors import IdentityError, ServiceError, ThrottlingError
from rolesanywhere_auth.events import EventKind, Labels, RenewalEvent, State
from rolesanywhere_auth.log_fields import event_fields
from rolesanywhere_auth.schedule import Circuit

logger = logging.getLogger("rolesanywhere_auth.renewal")


class Snapshot(NamedTuple):
    """One set of credentials, swapped as a whole; times are seconds of the local clock."""

    frozen: ReadOnlyCredentials
    issued: float
    fresh_until: float
    """The advisory window begins."""
    usable_until: float
    """The mandatory window begins."""
    expires: float
    expiration: datetime | None
    hot_until: float = 0.0
    """Until then these can be used without asking `Renewal`: its thread runs."""

    def __repr__(self) -> str:
        return f"Snapshot(expiration={self.expiration})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Snapshot holds secrets and is never pickled; pickle the config")


NOTHING = Snapshot(ReadOnlyCredentials("", "", None), 0.0, 0.0, 0.0, 0.0, None)
"""Before the first sign-in."""


class Record:
    """The present `Snapshot`, the circuit, and the events; see `Renewal` for the arguments."""

    def __init__(
        self,
        *,
        now: Callable[[], float],
        random: Callable[[], float],
        serve_expired: bool,
        notify: Callable[[RenewalEvent], object],
        labels: Labels = Labels(),  # noqa: B008 - cannot change
    ) -> None:
        self.labels = labels
        self.snapshot = NOTHING
        self.circuit = Circuit()
        self.error: Exception | None = None
        self.last_success: float | None = None
        self._first_failure: float | None = None
        self._told: dict[str, object] = {}
        self._now = now
        self._random = random
        self._serve_expired = serve_expired
        self._notify = notify

    @property
    def attempt(self) -> int:
        """1 for the first sign-in since the last success, 2 after one failure."""
        return self.circuit.failures + 1

    @property
    def sparing(self) -> bool:
        """Whether the next sign-in is to make one request: what it fails by is not tried again.

        So it is while the present credentials are good, as the back-off sees to the next
        attempt; and while the quota is used up, for which three requests are no better.
        """
        return self._now() < self.snapshot.expires or isinstance(self.error, ThrottlingError)

    @property
    def state(self) -> State:
        """How the present snapshot stands."""
        now = self._now()
        if self.snapshot is NOTHING:
            return "none"
        if now >= self.snapshot.expires:
            return "expired"
        return "fresh" if now < self.snapshot.fresh_until else "stale"

    @property
    def circuit_state(self) -> schedule.State:
        """``closed``, ``open`` after a failure, ``half-open`` when a new attempt may be made."""
        return self.circuit.state(self._now())

    @property
    def next_attempt(self) -> datetime | None:
        """Not before then, after a failure."""
        if self.error is None:
            return None
        return _moment(self.circuit.since + self.circuit.wait)

    def succeed(self, snapshot: Snapshot, *, duration: float) -> RenewalEvent:
        """Take *snapshot*; the event to tell of it. A duration is in seconds."""
        attempt = self.attempt
        now = self._now()
        self.snapshot = snapshot
        self.error = None
        self.circuit = self.circuit.succeeded(now)
        self.last_success = now
        self._told.clear()
        return self.event("succeeded", attempt=attempt, duration=duration)

    def fail(self, error: Exception, *, duration: float) -> RenewalEvent:
        """Open the circuit and log; the event to tell of it. The snapshot stays."""
        now = self._now()
        attempt = self.attempt
        remaining = self._remaining(now)
        again = self.error is not None and _gist(self.error) == _gist(error)
        self.circuit = self.circuit.failed(now, wait=self._wait(error, remaining=remaining))
        self.error = error
        self._told.clear()
        event = self.event("failed", attempt=attempt, duration=duration, error=error)
        if not again or heals(error):
            level = logging.WARNING if heals(error) else logging.ERROR
            consequence = self._consequence(error, remaining=remaining)
            logger.log(level, "%s: %s", consequence, error, extra=event_fields(event, self.labels))
        return event

    def _remaining(self, now: float) -> float:
        """Seconds of life; negative: since expiry, or, without credentials, the first failure."""
        if self.snapshot is not NOTHING:
            return self.snapshot.expires - now
        if self._first_failure is None:
            self._first_failure = now
        return min(self._first_failure - now, 0.0)  # the clock may have been set back

    def _wait(self, error: Exception, *, remaining: float) -> float:
        if remaining <= 0 and not heals(error):  # every call fails: no longer than needed
            return schedule.LASTING_HOLD
        return schedule.backoff(
            remaining=remaining,
            spread=self._random(),
            retry_after=error.retry_after if isinstance(error, ServiceError) else None,
            throttled=isinstance(error, ThrottlingError),
        )

    def _consequence(self, error: Exception, *, remaining: float) -> str:
        if self.snapshot is NOTHING:
            return "signing in failed"
        if remaining > 0:
            return f"renewal failed, the present credentials are good for {remaining:.0f} s"
        if heals(error) and self._serve_expired:
            self.first_time("expired")
            return "renewal failed, the expired credentials are still given out"
        return "renewal failed, and the credentials have expired"

    def first_time(self, what: str) -> bool:
        """Whether *what* was not yet told since the last sign-in; now it is."""
        token = object()
        return self._told.setdefault(what, token) is token

    def event(
        self,
        kind: EventKind,
        *,
        attempt: int | None = None,
        duration: float | None = None,
        error: Exception | None = None,
    ) -> RenewalEvent:
        """One event of this moment."""
        return RenewalEvent(
            kind=kind,
            at=_moment(self._now()),
            attempt=self.attempt if attempt is None else attempt,
            duration=duration,
            expires_at=self.snapshot.expiration,
            error=error,
            next_attempt=None if error is None else self.next_attempt,
        )

    def tell(self, event: RenewalEvent) -> None:
        """Let the hook know."""
        try:
            self._notify(event)
        except Exception:
            logger.exception("telling of a renewal failed")


def heals(error: Exception) -> bool:
    """Whether the same sign-in may succeed later, without anybody's doing."""
    return bool(getattr(error, "retryable", True))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _gist(error: Exception) -> tuple[object, ...]:
    """What makes two failures the same: not the request id, nor the time of day."""
    if isinstance(error, ServiceError):
        return type(error), error.code, error.service_message
    if isinstance(error, IdentityError):
        return type(error), error.source
    return type(error), str(error)
