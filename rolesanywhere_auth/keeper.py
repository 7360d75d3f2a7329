# SPDX-License-Identifier: Apache-2.0
"""The background thread: calls a step, sleeps as long as that says, until its owner is gone."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import weakref
from typing import Protocol

logger = logging.getLogger("rolesanywhere_auth.keeper")

MAX_SLEEP = 60.0
"""Seconds: sleep is measured without the time a laptop was suspended, so look often."""


class Stepper(Protocol):
    """Who owns the thread."""

    def step(self) -> float:
        """Do what is due; the seconds until the next call."""
        ...


class Bell:
    """Wakes one thread.

    `threading.Event` has a lock inside, which `set()` waits for. The garbage collector may
    call while that very thread holds it, and a fork may leave it locked for ever. To
    release a bare lock never waits.
    """

    def __init__(self) -> None:
        self._silent = threading.Lock()
        self._silent.acquire()

    def ring(self) -> None:
        """End the present `wait()`, or else the next."""
        with contextlib.suppress(RuntimeError):  # it rings already
            self._silent.release()

    def wait(self, seconds: float) -> None:
        """Sleep so long, or until it rings."""
        self._silent.acquire(timeout=seconds)


class Keeper:
    """One daemon thread for one owner, which it does not keep alive.

    Started when first needed, and again when it is gone. A forked child needs a new one.
    """

    def __init__(self, owner: Stepper) -> None:
        bell = self._bell = Bell()
        # The thread must not wait out its sleep for an owner that is gone.
        self._owner = weakref.ref(owner, lambda _: bell.ring())
        # A signal handler may ask for credentials while its own thread is in ensure().
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def ensure(self) -> bool:
        """Have the thread run; whether it does.

        It cannot while the interpreter shuts down, in subinterpreters that forbid
        daemon threads, and where the system has no thread left.
        """
        if sys.is_finalizing():  # one that runs is frozen, start() would wait for ever
            return False
        if self._runs():
            return True
        with self._lock:
            if self._runs():
                return True
            try:
                # Kept before it starts: Ctrl-C within start() is not to make it two.
                self._thread = threading.Thread(
                    target=_run,
                    args=(self._owner, self._bell),
                    name="rolesanywhere-auth",
                    daemon=True,
                )
                self._thread.start()
            except RuntimeError as error:
                self._thread = None
                logger.debug("no background thread, signing in blocks its caller: %s", error)
                return False
        return True

    def wake(self) -> None:
        """Let the step be called now."""
        self._bell.ring()

    def _runs(self) -> bool:
        return self._thread is not None and self._thread.is_alive()


def _run(owner: weakref.ref[Stepper], bell: Bell) -> None:
    while True:
        stepper = owner()
        if stepper is None:
            return
        try:
            delay = stepper.step()
        except Exception:
            logger.exception("the background thread failed, and goes on")
            delay = MAX_SLEEP
        del stepper  # asleep, the thread holds nothing
        bell.wait(min(max(delay, 0.0), MAX_SLEEP))
