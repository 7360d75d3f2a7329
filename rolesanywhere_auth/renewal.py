# SPDX-License-Identifier: Apache-2.0
"""Who renews: one sign-in at a time, in the background, and what callers get meanwhile.

When to renew is `rolesanywhere_auth.schedule`; the thread is `rolesanywhere_auth.keeper`.

Callers go on with the present credentials as long as these have a minute to live.
After that, and before the first sign-in, they wait for the one sign-in under way,
each for so long and no longer. Where no thread can be started, a caller does the work.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from traceback import format_tb
from typing import Protocol

from rolesanywhere_auth import schedule
from rolesanywhere_auth.errors import (
    ConfigurationError,
    InvalidResponseError,
    SignInTimeoutError,
)
from rolesanywhere_auth.events import Labels, RenewalEvent
from rolesanywhere_auth.flight import Flight, copy_of, without_frames
from rolesanywhere_auth.keeper import Keeper
from rolesanywhere_auth.log_fields import log_fields
from rolesanywhere_auth.record import NOTHING, Record, Snapshot, heals

__all__ = ["NOTHING", "Renewal", "Snapshot"]

logger = logging.getLogger("rolesanywhere_auth.renewal")

POLL_INTERVAL = 60.0
"""Seconds between looks for a changed certificate."""
SHORTEST_SLEEP = 0.25
"""Seconds."""
CLOCK_JUMP = 60.0
"""Seconds that the wall clock may fall behind the steady one, from one look to the next."""


_all: weakref.WeakSet[Renewal] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for renewal in list(_all):
        renewal.reset_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class SignsIn(Protocol):
    """Makes a new snapshot, or raises."""

    def __call__(self, *, once: bool) -> Snapshot:
        """Sign in; *once*: without trying a failure again."""
        ...


class Renewal(Record):
    """Keeps one `Snapshot` fresh.

    Args:
        sign_in: Makes a new snapshot, or raises; in one attempt only where so asked.
        now: Seconds of the wall clock, which decides validity.
        random: Returns 0 to 1; spreads renewals over a fleet.
        patience: Seconds a caller waits for a sign-in at most.
        serve_expired: Whether expired credentials are still given out while the
            service cannot be reached.
        poll: Whether a new certificate is there; asked once a minute at most.
        notify: Told of every event.
        labels: Of what is logged.
        steady: Seconds of a clock that nobody sets.
    """

    def __init__(
        self,
        sign_in: SignsIn,
        *,
        now: Callable[[], float],
        random: Callable[[], float],
        patience: float,
        serve_expired: bool = True,
        poll: Callable[[], bool] = lambda: False,
        notify: Callable[[RenewalEvent], object] = lambda _: None,
        labels: Labels = Labels(),  # noqa: B008 - cannot change
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            now=now, random=random, serve_expired=serve_expired, notify=notify, labels=labels
        )
        self._sign_in = sign_in
        self._patience = patience
        self._poll = poll
        self._steady = steady
        self._wanted = False
        self._polled = steady()
        self._looked = (now(), steady())
        self.reset_locks()
        _all.add(self)

    def reset_locks(self) -> None:
        """New locks and no thread: those of a forking parent mean nothing in its child."""
        # A signal handler may ask for credentials while its own thread holds the lock.
        self._lock = threading.RLock()
        self.snapshot = self.snapshot._replace(hot_until=0.0) if self.snapshot.expires else NOTHING
        self._flight: Flight | None = None
        self._keeper = Keeper(self)
        self._spread = schedule.process_spread(self._random(), self._random())

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
            return self._heat(snapshot)
        if now >= snapshot.usable_until:
            return self._replace(snapshot)
        if not self._see_to_renewal(snapshot):
            self._renew_inline(snapshot)
        return self.snapshot

    def at_hand(self) -> Snapshot | None:
        """The same, but None where a caller would have to wait."""
        now = self._now()
        snapshot = self.snapshot
        if now < snapshot.fresh_until:
            return self._heat(snapshot)
        if now >= snapshot.usable_until:
            return None
        self._see_to_renewal(snapshot)
        return snapshot

    def _see_to_renewal(self, snapshot: Snapshot) -> bool:
        """Have the thread do what is due; False if it is due and there can be no thread."""
        runs = self._keeper.ensure()
        if self._flight is not None or not self._ready(snapshot):
            return True
        if runs:
            self._keeper.wake()  # it overslept: the machine was suspended, or the clock set
        return runs

    def _heat(self, snapshot: Snapshot) -> Snapshot:
        """The first use of new credentials, or in a new process: see that the thread runs."""
        if snapshot.hot_until < snapshot.fresh_until and self._keeper.ensure():
            with self._lock:
                if self.snapshot is snapshot:
                    self.snapshot = snapshot._replace(hot_until=snapshot.fresh_until)
        return snapshot

    def renew(self) -> None:
        """Sign in now, or wait for the sign-in under way.

        Raises:
            RolesAnywhereError: it failed, or took too long; the snapshot stays.
        """
        self._replace(self.snapshot, demand=True)

    def _replace(self, old: Snapshot, *, demand: bool = False) -> Snapshot:
        self._forget_frozen_threads()
        deadline = self._steady() + self._patience
        while self.snapshot is old:
            flight = self._reserve(old, demand=demand)
            if flight is None:
                error = self.error
                if error is None:  # it landed while we were on our way
                    continue
                if self.first_time("skipped"):
                    self.tell(self.event("skipped", attempt=self.circuit.failures, error=error))
                return self._settle(old, error)
            error = self._await(flight, deadline)
            if error is not None:
                if demand:
                    raise copy_of(error)
                return self._settle(old, error)
        return self.snapshot

    def _await(self, flight: Flight, deadline: float) -> Exception | None:
        """Have it flown and wait for it: its error; None if it went well or was interrupted."""
        if flight.is_mine:
            raise ConfigurationError(
                "signing in asked for the very credentials that it is to fetch, and would "
                "wait for itself: a passphrase callable or an event handler uses a session "
                "of this config; give it other credentials"
            )
        if not flight.claimed:
            if self._keeper.ensure():
                self._keeper.wake()
            else:
                self._fly(flight)
        if flight.wait(deadline - self._steady()):
            return flight.error
        return SignInTimeoutError(
            f"signing in took longer than {self._patience:g} s; it goes on in the background"
        )

    def _settle(self, old: Snapshot, error: Exception) -> Snapshot:
        """What a caller gets after a failure: *old* if it may still be used, else the error."""
        snapshot = self.snapshot
        if snapshot is not old or self._now() < snapshot.expires:
            return snapshot
        if snapshot is NOTHING or not self._serve_expired or not heals(error):
            raise copy_of(error)
        if self.first_time("expired"):
            logger.warning(
                "the expired credentials are still given out: %s",
                error,
                extra=log_fields(labels=self.labels, expires_at=snapshot.expiration, error=error),
            )
        return snapshot

    def _renew_inline(self, old: Snapshot) -> None:
        flight = self._reserve(old)
        if flight is not None:
            self._fly(flight)

    def _forget_frozen_threads(self) -> None:
        """While the interpreter shuts down no other thread goes on, whatever it holds."""
        if sys.is_finalizing() and not (self._flight is not None and self._flight.is_mine):
            self.reset_locks()

    def look_soon(self) -> None:
        """Have the thread look for a new certificate now, and not within a minute."""
        self._polled = self._steady() - POLL_INTERVAL
        self._keeper.wake()

    # one flight

    def _reserve(self, old: Snapshot, *, demand: bool = False) -> Flight | None:
        """The sign-in that replaces *old*; None if it is over, or may not be tried yet."""
        new = Flight()
        with self._lock:
            if (
                self._flight is None
                and self.snapshot is old
                and (demand or self.circuit.allows(self._now()))
            ):
                self._flight = new
            return self._flight

    def _fly(self, flight: Flight, *, background: bool = False) -> None:
        """Sign in, and let go who waits, unless another thread has taken that on.

        Nothing that goes wrong leaves *flight* open.
        """
        if not flight.claim():
            return
        try:
            self.tell(self.event("started"))
            error, event = self._attempt(background=background)
        except BaseException as caught:
            # Ctrl-C is the caller's own, and who waits tries himself; the background
            # thread has nobody above it who could be told.
            ended = f"signing in was ended by {type(caught).__name__}: {caught}"
            self._land(flight, RuntimeError(ended) if background else None)
            raise
        self._land(flight, error)
        self.tell(event)  # a slow hook keeps nobody waiting

    def _land(self, flight: Flight, error: Exception | None) -> None:
        with self._lock:
            if self._flight is flight:
                self._flight = None
        flight.land(error)

    def _attempt(self, *, background: bool) -> tuple[Exception | None, RenewalEvent]:
        began = self._steady()
        try:
            snapshot = self._fetch()
        except Exception as caught:  # noqa: BLE001 - whatever it is, who waits gets it
            if logger.isEnabledFor(logging.DEBUG):  # where, without the texts of causes
                logger.debug("signing in failed:\n%s", "".join(format_tb(caught.__traceback__)))
            error = without_frames(caught)
        except SystemExit as caught:  # of a passphrase callable, say
            if not background:
                raise
            error = RuntimeError(f"signing in was ended by {type(caught).__name__}: {caught}")
        else:
            event = self.succeed(snapshot, duration=self._steady() - began)
            self._looked = (self._now(), self._steady())
            self._wanted = False
            return None, event
        return error, self.fail(error, duration=self._steady() - began)

    def _fetch(self) -> Snapshot:
        snapshot = self._sign_in(once=self.sparing)
        if snapshot.expires <= self._now():
            raise InvalidResponseError(
                f"signing in brought credentials that expired at {snapshot.expiration}, by the "
                "time they were here; check the clock of this machine"
            )
        return snapshot

    # what the background thread does

    def step(self) -> float:
        """Do what is due; the seconds until the next look. For the background thread."""
        flight = self._flight
        if flight is None and self.snapshot is not NOTHING:
            flight = self._due()
        if flight is not None:
            self._fly(flight, background=True)
        return self._delay()

    def _due(self) -> Flight | None:
        snapshot = self.snapshot
        changed = self._changed()  # that may end what the circuit is open for
        if self._set_back() or changed:
            self._wanted = True
        if changed or self._ready(snapshot):
            return self._reserve(snapshot, demand=changed)
        return None

    def _ready(self, snapshot: Snapshot) -> bool:
        now = self._now()
        return (self._wanted or now >= self._starts(snapshot)) and self.circuit.allows(now)

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
            fields = log_fields(labels=self.labels, error=error)
            logger.warning("looking for a new certificate failed: %s", error, extra=fields)
            return False

    def _set_back(self) -> bool:
        """Whether the wall clock was set back: then it says nothing of these credentials.

        Since the last look, not since the sign-in: a machine that was suspended in between
        has hours in hand, by which the clock could be set back unseen.
        """
        wall, steady = self._looked
        self._looked = (self._now(), self._steady())
        return (self._looked[1] - steady) - (self._looked[0] - wall) > CLOCK_JUMP

    def _delay(self) -> float:
        snapshot = self.snapshot
        if snapshot is NOTHING:
            return POLL_INTERVAL
        now = self._now()
        until_due = self.circuit.retry_in(now)
        if not self._wanted:
            until_due = max(until_due, self._starts(snapshot) - now)
        until_poll = POLL_INTERVAL - (self._steady() - self._polled)
        return max(min(until_due, until_poll), SHORTEST_SLEEP)
