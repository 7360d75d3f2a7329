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
from collections.abc import Iterator

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


def _before_fork() -> None:
    _lock.acquire(timeout=LONGEST_WAIT)


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # it waited in vain, and has nothing to release
        _lock.release()


def _after_fork_in_child() -> None:
    global _lock
    try:
        _lock.release()
    except RuntimeError:  # it is held by a thread that is not here
        _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
