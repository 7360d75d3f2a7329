"""The background thread: calls a step, sleeps as long as that says, until its owner is gone."""

from __future__ import annotations

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


class Keeper:
    """One daemon thread for one owner, which it does not keep alive.

    Started when first needed, and again when it is gone, as after a fork.
    """

    def __init__(self, owner: Stepper) -> None:
        self._owner = weakref.ref(owner)
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        # The thread must not wait out its sleep for an owner that is gone.
        weakref.finalize(owner, self._wake.set).atexit = False

    def ensure(self) -> bool:
        """Have the thread run; whether it does.

        It cannot while the interpreter shuts down, in subinterpreters that forbid
        daemon threads, and where the system has no thread left.
        """
        if self._thread is not None and self._thread.is_alive():
            return True
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return True
            if sys.is_finalizing():  # start() could wait for ever for a thread that never runs
                return False
            thread = threading.Thread(
                target=_run, args=(self._owner, self._wake), name="rolesanywhere-auth", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:
                logger.debug("no background thread, signing in blocks its caller: %s", error)
                return False
            self._thread = thread
        return True

    def wake(self) -> None:
        """Let the step be called now."""
        self._wake.set()

    @property
    def ident(self) -> int | None:
        """The thread's identifier."""
        return None if self._thread is None else self._thread.ident


def _run(owner: weakref.ref[Stepper], wake: threading.Event) -> None:
    while True:
        stepper = owner()
        if stepper is None:
            return
        delay = stepper.step()
        del stepper  # asleep, the thread holds nothing
        wake.wait(min(max(delay, 0.0), MAX_SLEEP))
        wake.clear()
