"""Who renews: one sign-in at a time, in the background, and what callers get meanwhile.

When to renew is `rolesanywhere_auth.schedule`; the thread is `rolesanywhere_auth.keeper`.

Callers go on with the present credentials as long as these have a minute to live.
After that, and before the first sign-in, they wait for the one sign-in under way,
each for so long and no longer. Where no thread can be started, a caller does the work.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as WaitTimeoutError
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import NoReturn

from botocore.credentials import ReadOnlyCredentials

from rolesanywhere_auth import schedule
from rolesanywhere_auth.errors import (
    ConfigurationError,
    ServiceError,
    SignInTimeoutError,
    ThrottlingError,
)
from rolesanywhere_auth.events import EventKind, RenewalEvent, State
from rolesanywhere_auth.keeper import Keeper
from rolesanywhere_auth.schedule import Circuit

logger = logging.getLogger("rolesanywhere_auth.renewal")

POLL_INTERVAL = 60.0
"""Seconds between looks for a changed certificate."""
SHORTEST_SLEEP = 0.05
"""Seconds."""
CLOCK_JUMP = 60.0
"""Seconds that the wall clock may fall behind the steady one before it was set back."""


@dataclass(frozen=True)
class Snapshot:
    """One set of credentials, swapped as a whole; times are seconds of the local clock."""

    frozen: ReadOnlyCredentials
    issued: float
    fresh_until: float
    """The advisory window begins."""
    usable_until: float
    """The mandatory window begins."""
    expires: float
    expiration: datetime | None

    def __repr__(self) -> str:
        return f"Snapshot(expiration={self.expiration})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Snapshot holds secrets and is never pickled; pickle the config")


NOTHING = Snapshot(ReadOnlyCredentials("", "", None), 0.0, 0.0, 0.0, 0.0, None)
"""Before the first sign-in."""


class _Flight(Future[None]):
    """One sign-in under way; *pilot* is the thread that does it."""

    pilot: int | None = None


_all: weakref.WeakSet[Renewal] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for renewal in list(_all):
        renewal.reset_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Renewal:
    """Keeps one `Snapshot` fresh.

    Args:
        sign_in: Makes a new snapshot, or raises.
        now: Seconds of the wall clock, which decides validity.
        random: Returns 0 to 1; spreads renewals over a fleet.
        patience: Seconds a caller waits for a sign-in at most.
        serve_expired: Whether expired credentials are still given out while the
            service cannot be reached.
        poll: Whether a new certificate is there; asked once a minute at most.
        notify: Told of every event.
        steady: Seconds of a clock that nobody sets.
    """

    def __init__(
        self,
        sign_in: Callable[[], Snapshot],
        *,
        now: Callable[[], float],
        random: Callable[[], float],
        patience: float,
        serve_expired: bool = True,
        poll: Callable[[], bool] = lambda: False,
        notify: Callable[[RenewalEvent], object] = lambda _: None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.snapshot = NOTHING
        self.circuit = Circuit()
        self.error: Exception | None = None
        self.last_success: float | None = None
        self._first_attempt: float | None = None
        self._told_skip: Exception | None = None
        self._sign_in = sign_in
        self._now = now
        self._random = random
        self._patience = patience
        self._serve_expired = serve_expired
        self._poll = poll
        self._notify = notify
        self._steady = steady
        self.reset_locks()
        _all.add(self)

    def reset_locks(self) -> None:
        """New locks and no thread: those of a forking parent mean nothing in its child."""
        self._lock = threading.Lock()
        self._flight: _Flight | None = None
        self._keeper = Keeper(self)
        self._spread = schedule.process_spread(self._random(), self._random())
        self._polled = self._steady()
        self._landed = self._steady()

    # what callers do

    def current(self) -> Snapshot:
        """The snapshot to use now.

        Raises:
            RolesAnywhereError: there are no credentials that may be used, and signing
                in failed.
        """
        now = self._now()
        snapshot = self.snapshot
        if now < snapshot.fresh_until:
            return snapshot
        if now >= snapshot.usable_until:
            return self._replace(snapshot)
        if not self._keeper.ensure():
            self._renew_inline(snapshot, now)
        elif now >= self._starts(snapshot) and self._flight is None and self.circuit.allows(now):
            self._keeper.wake()  # it overslept: the machine was suspended, or the clock set
        return self.snapshot

    def renew(self) -> None:
        """Sign in now, or wait for the sign-in under way.

        Raises:
            RolesAnywhereError: it failed, or took too long; the snapshot stays.
        """
        self._replace(self.snapshot, demand=True)

    def _replace(self, old: Snapshot, *, demand: bool = False) -> Snapshot:
        while self.snapshot is old:
            error = self.error
            if error is not None and not demand and not self.circuit.allows(self._now()):
                self._skipped(error)
                return self._settle(old, error)
            error = self._await(self._board(old))
            if error is not None:
                if demand:
                    raise error
                return self._settle(old, error)
        return self.snapshot

    def _await(self, flight: _Flight | None) -> Exception | None:
        if flight is None:
            return None  # it landed while we were on our way
        if flight.pilot == threading.get_ident() and not flight.done():
            raise ConfigurationError(
                "signing in asked for the very credentials that it is to fetch, and would "
                "wait for itself: a passphrase callable or an event handler uses a session "
                "of this config; give it other credentials"
            )
        try:
            error = flight.exception(self._patience)
        except CancelledError:  # its thread was interrupted: ours is next
            return None
        except WaitTimeoutError:
            return SignInTimeoutError(
                f"signing in took longer than {self._patience:g} s; it goes on in the background"
            )
        return error if error is None or isinstance(error, Exception) else RuntimeError(str(error))

    def _settle(self, old: Snapshot, error: Exception) -> Snapshot:
        """What a caller gets after a failure: *old* if it may still be used, else the error."""
        snapshot = self.snapshot
        if snapshot is not old or self._now() < snapshot.expires:
            return snapshot
        if snapshot is NOTHING or not self._serve_expired or not _heals(error):
            raise error
        return snapshot

    def _renew_inline(self, old: Snapshot, now: float) -> None:
        if not self.circuit.allows(now):
            return
        flight, mine = self._reserve(old)
        if flight is not None and mine:
            self._fly(flight)

    # one flight

    def _board(self, old: Snapshot) -> _Flight | None:
        """The sign-in that replaces *old*, started if there is none; None if it is over."""
        flight, mine = self._reserve(old)
        if flight is not None and mine:
            if self._keeper.ensure():
                self._keeper.wake()
            else:
                self._fly(flight)
        return flight

    def _reserve(self, old: Snapshot) -> tuple[_Flight | None, bool]:
        with self._lock:
            if self._flight is not None:
                return self._flight, False
            if self.snapshot is not old:
                return None, False
            self._flight = _Flight()
            return self._flight, True

    def _fly(self, flight: _Flight) -> None:
        """Sign in, and tell who waits. Nothing that goes wrong leaves *flight* open."""
        flight.pilot = threading.get_ident()
        began = self._steady()
        self._tell("started")
        try:
            snapshot = self._sign_in()
        except Exception as error:  # noqa: BLE001 - whatever it is, all who wait get it
            self._failed(error, duration=self._steady() - began)
            self._land()
            flight.set_exception(error)
        except BaseException:  # KeyboardInterrupt and its like belong to this thread alone
            self._land()
            flight.cancel()
            flight.set_running_or_notify_cancel()
            raise
        else:
            self._succeeded(snapshot, duration=self._steady() - began)
            self._land()
            flight.set_result(None)

    def _land(self) -> None:
        with self._lock:
            self._flight = None

    def _succeeded(self, snapshot: Snapshot, *, duration: float) -> None:
        attempt = self.attempt
        now = self._now()
        self.snapshot = snapshot
        self.error = None
        self.circuit = self.circuit.succeeded(now)
        self.last_success = now
        self._landed = self._steady()
        self._tell("succeeded", attempt=attempt, duration=duration)

    def _failed(self, error: Exception, *, duration: float) -> None:
        now = self._now()
        attempt = self.attempt
        if self._first_attempt is None:
            self._first_attempt = now
        none = self.snapshot is NOTHING
        remaining = (self._first_attempt if none else self.snapshot.expires) - now
        if remaining <= 0 and not _heals(error):  # every call fails: no longer than needed
            wait = schedule.LASTING_HOLD
        else:
            wait = schedule.backoff(
                remaining=remaining,
                spread=self._random(),
                retry_after=error.retry_after if isinstance(error, ServiceError) else None,
                throttled=isinstance(error, ThrottlingError),
            )
        again = self.error is not None and str(self.error) == str(error)
        self.circuit = self.circuit.failed(now, wait=wait)
        self.error = error
        self._landed = self._steady()
        if not again or _heals(error):
            level = logging.WARNING if _heals(error) else logging.ERROR
            logger.log(level, "%s: %s", self._consequence(error, remaining=remaining), error)
        self._tell("failed", attempt=attempt, duration=duration, error=error)

    def _consequence(self, error: Exception, *, remaining: float) -> str:
        if self.snapshot is NOTHING:
            return "signing in failed"
        if remaining > 0:
            return f"renewal failed, the present credentials are good for {remaining:.0f} s"
        if _heals(error) and self._serve_expired:
            return "renewal failed, the expired credentials are still given out"
        return "renewal failed, and the credentials have expired"

    # what the background thread does

    def step(self) -> float:
        """Do what is due; the seconds until the next look. For the background thread."""
        with self._lock:
            flight = self._flight
        if flight is not None and flight.pilot is None:
            self._fly(flight)
        elif flight is None and self._due():
            flight, mine = self._reserve(self.snapshot)
            if flight is not None and mine:
                self._fly(flight)
        return self._delay()

    def _due(self) -> bool:
        snapshot = self.snapshot
        if snapshot is NOTHING:
            return False
        if self._changed() or self._set_back():
            return True
        now = self._now()
        return now >= self._starts(snapshot) and self.circuit.allows(now)

    def _starts(self, snapshot: Snapshot) -> float:
        """When this process renews: its own moment within the window."""
        return schedule.renewal_start(
            issued=snapshot.issued, expires=snapshot.expires, spread=self._spread
        )

    def _changed(self) -> bool:
        if self._steady() - self._polled < POLL_INTERVAL:
            return False
        self._polled = self._steady()
        try:
            return self._poll()
        except Exception as error:  # noqa: BLE001 - it must not end the thread
            logger.warning("looking for a new certificate failed: %s", error)
            return False

    def _set_back(self) -> bool:
        """Whether the wall clock was set back: then it says nothing of these credentials."""
        passed = self._steady() - self._landed
        return passed - (self._now() - self.circuit.since) > CLOCK_JUMP

    def _delay(self) -> float:
        until_poll = POLL_INTERVAL - (self._steady() - self._polled)
        snapshot = self.snapshot
        if snapshot is NOTHING:
            return max(until_poll, SHORTEST_SLEEP)
        now = self._now()
        until_due = max(self._starts(snapshot) - now, self.circuit.retry_in(now))
        return max(min(until_due, until_poll), SHORTEST_SLEEP)

    # what can be observed

    @property
    def attempt(self) -> int:
        """1 for the first sign-in since the last success, 2 after one failure."""
        return self.circuit.failures + 1

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

    def _skipped(self, error: Exception) -> None:
        """Told once for each failure."""
        if self._told_skip is not error:
            self._told_skip = error
            self._tell("skipped", attempt=self.circuit.failures, error=error)

    def _tell(
        self,
        kind: EventKind,
        *,
        attempt: int | None = None,
        duration: float | None = None,
        error: Exception | None = None,
    ) -> None:
        event = RenewalEvent(
            kind=kind,
            at=_moment(self._now()),
            attempt=self.attempt if attempt is None else attempt,
            duration=duration,
            expires_at=self.snapshot.expiration,
            error=error,
            next_attempt=self.next_attempt if kind in {"failed", "skipped"} else None,
        )
        with contextlib.suppress(Exception):
            self._notify(event)


def _heals(error: Exception) -> bool:
    """Whether the same sign-in may succeed later, without anybody's doing."""
    return bool(getattr(error, "retryable", True))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
