"""When to renew, and who does it.

The windows are those that botocore is moving to (boto/botocore pull request 3760):
by lifetime, so that a short session is not renewed at every call. They hold here
for every botocore.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from botocore.credentials import ReadOnlyCredentials

from rolesanywhere_auth.errors import ConfigurationError

logger = logging.getLogger("rolesanywhere_auth.renewal")

MANDATORY_WINDOW = 60.0
"""Seconds before expiry from which a call waits for new credentials."""
RETRY_INTERVAL = 60.0
"""Seconds between attempts while the present credentials are still good."""


def advisory_window(lifetime: float) -> float:
    """Seconds before expiry from which credentials of *lifetime* seconds are renewed.

    5 minutes up to 20 minutes of life, 15 under 90, else 60.
    """
    if lifetime <= 20 * 60:
        return 5 * 60
    return 15 * 60 if lifetime < 90 * 60 else 60 * 60


@dataclass(frozen=True)
class Snapshot:
    """One set of credentials, swapped as a whole; times are seconds of the local clock."""

    frozen: ReadOnlyCredentials
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


NOTHING = Snapshot(ReadOnlyCredentials("", "", None), 0.0, 0.0, 0.0, None)
"""Before the first sign-in."""


class _Flight(Future[None]):
    """One sign-in under way, and the thread that does it."""

    def __init__(self) -> None:
        super().__init__()
        self.pilot = threading.get_ident()


class _Gate:
    """Where the threads of one process meet."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.flight: _Flight | None = None


class Renewal:
    """Keeps one `Snapshot` fresh: one sign-in at a time, whatever the number of threads.

    Args:
        sign_in: Makes a new snapshot, or raises.
        now: Seconds of the local clock, as `time.time`.
    """

    def __init__(self, sign_in: Callable[[], Snapshot], *, now: Callable[[], float]) -> None:
        self.snapshot = NOTHING
        self._sign_in = sign_in
        self._now = now
        self._not_before = 0.0
        self._gates: dict[int, _Gate] = {}

    def _gate(self) -> _Gate:
        """This process's: after a fork, the parent's may be locked by a thread that is not here."""
        gate = self._gates.get(os.getpid())
        return self._gates.setdefault(os.getpid(), _Gate()) if gate is None else gate

    def current(self) -> Snapshot:
        """The snapshot to use now, renewed first where it must be.

        In the advisory window one caller renews and the others go on; a failure
        there is logged and the present credentials stay. In the mandatory window
        everyone waits for the one sign-in and shares its error.

        Raises:
            RolesAnywhereError: the credentials are in the mandatory window, or there
                are none, and signing in failed.
        """
        now = self._now()
        snapshot = self.snapshot
        if now >= snapshot.usable_until:
            self._replace(snapshot)
        elif now >= snapshot.fresh_until:
            self._advisory(snapshot, now)
        return self.snapshot

    def renew(self) -> None:
        """Sign in now, or wait for the sign-in under way and share its error.

        Raises:
            RolesAnywhereError: it failed; the snapshot stays as it was.
        """
        self._replace(self.snapshot)

    def _replace(self, old: Snapshot) -> None:
        while self.snapshot is old:
            flight, mine = self._board(old)
            if mine:
                self._fly(flight)
            elif flight.pilot == threading.get_ident() and not flight.done():
                raise ConfigurationError(
                    "signing in asked for the very credentials that it is to fetch, and would "
                    "wait for itself: a passphrase callable or an event handler uses a session "
                    "of this config; give it other credentials"
                )
            with contextlib.suppress(CancelledError):  # its thread was interrupted: ours is next
                flight.result()

    def _advisory(self, old: Snapshot, now: float) -> None:
        if now < self._not_before:
            return
        flight, mine = self._board(old)
        if not mine:
            return
        self._fly(flight)
        error = flight.exception()
        if error is not None:
            self._not_before = self._now() + RETRY_INTERVAL
            logger.warning("renewal failed, the present credentials are kept: %s", error)

    def _board(self, old: Snapshot) -> tuple[_Flight, bool]:
        """The flight that replaces *old*, and whether the caller must fly it."""
        gate = self._gate()
        with gate.lock:
            if gate.flight is not None:
                return gate.flight, False
            flight = _Flight()
            if self.snapshot is not old:  # it landed while we were on our way here
                flight.set_result(None)
                return flight, False
            gate.flight = flight
            return flight, True

    def _fly(self, flight: _Flight) -> None:
        try:
            self.snapshot = self._sign_in()
        except Exception as error:  # noqa: BLE001 - whatever it is, all who wait get it
            self._land()
            flight.set_exception(error)
        except BaseException:  # KeyboardInterrupt and its like belong to this thread alone
            self._land()
            flight.cancel()
            flight.set_running_or_notify_cancel()
            raise
        else:
            self._land()
            flight.set_result(None)

    def _land(self) -> None:
        gate = self._gate()
        with gate.lock:
            gate.flight = None
