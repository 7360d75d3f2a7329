# SPDX-License-Identifier: Apache-2.0
"""What of a sign-in must not be cut in two by a `fork()` of another thread.

A child has only the thread that forked. A module that another one was just importing stays
half-made in it, with a lock that nobody lets go of: whoever imports it there waits for ever,
or finds its names missing. The same goes for locks inside OpenSSL, which a TLS handshake
takes as well (`rolesanywhere_auth.tls`). So a fork waits until such work is done, which takes
milliseconds. It never waits for the network or for a passphrase, and code of the caller's is
not run within, but for logging handlers.
"""

from __future__ import annotations

import contextlib
import logging  # noqa: F401 - what registers later is run first before a fork: ours, then its own
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType

LONGEST_WAIT = 5.0
"""Seconds. Who waits longer goes on unguarded: a caller's own locks, taken in another order
around a fork or in a logging handler, may not make it wait for ever."""

_lock = threading.RLock()


@contextlib.contextmanager
def local_work() -> Iterator[None]:
    """Have forks wait until this is left; for short work on this machine.

    It may be nested. Within, wait for none of the locks of `renewal` and `identity`: a
    thread that has one may be the one that forks. The other way round is right.
    """
    lock = _lock
    held = lock.acquire(timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        if held:
            lock.release()


def preload(*, cache: bool) -> None:
    """Import what each sign-in imports when it is first needed.

    The rest depends on the key and on the network: see where `local_work` is used.

    Args:
        cache: Whether the host's cache is looked at.
    """
    with local_work():
        import rolesanywhere_auth.keys.files  # noqa: F401

        if cache:
            import rolesanywhere_auth.cache  # noqa: F401


class Guard:
    """A lock around handles that one thread at a time may use, and no other process.

    A fork waits until it is free. In the child it is free too, and its `generation` is
    another: handles of an earlier generation are the parent's, to be neither used nor
    closed there. `local_work` may be nested in it, but not the other way round.

    Args:
        leave: Called within, before a fork that cuts no use of the handles in two: for what
            must not be in a child, even if it is not used there.
    """

    def __init__(self, *, leave: Callable[[], object] = lambda: None) -> None:
        self._leave = leave
        self._lock = threading.RLock()
        self._within = 0
        self.generation = 0
        """Changes in each child."""
        _guards.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._within += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._within -= 1
        self._lock.release()

    def before_fork(self) -> None:
        """Wait until no other thread is within."""
        if self._lock.acquire(timeout=LONGEST_WAIT) and not self._within:
            self._leave()

    def after_fork_in_parent(self) -> None:
        """Go on as before."""
        with contextlib.suppress(RuntimeError):  # it waited in vain, and has nothing to release
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Leave the parent its handles."""
        self.generation += 1
        try:
            self._lock.release()
        except RuntimeError:  # it is held by a thread that is not here
            self._lock, self._within = threading.RLock(), 0


_guards: weakref.WeakSet[Guard] = weakref.WeakSet()
_forking: list[Guard] = []
"""Those that the fork under way waited for."""


def _before_fork() -> None:
    guards = list(_guards)
    for guard in guards:
        guard.before_fork()
    _lock.acquire(timeout=LONGEST_WAIT)
    _forking[:] = guards


def _after_fork_in_parent() -> None:
    guards = _forking[:]
    with contextlib.suppress(RuntimeError):  # it waited in vain, and has nothing to release
        _lock.release()
    for guard in guards:
        guard.after_fork_in_parent()


def _after_fork_in_child() -> None:
    global _lock
    try:
        _lock.release()
    except RuntimeError:  # it is held by a thread that is not here
        _lock = threading.RLock()
    for guard in _forking:
        guard.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
