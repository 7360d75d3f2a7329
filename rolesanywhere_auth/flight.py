# SPDX-License-Identifier: Apache-2.0
"""One sign-in under way: who does it, who waits for it, and how its error reaches them all."""

from __future__ import annotations

import copy
import threading


class Flight:
    """One sign-in, done by the one thread that claims it."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        """Why it failed, once it has landed; None too if its thread was interrupted."""
        self._claim = threading.Lock()
        self._pilot: int | None = None
        self._landed = threading.Event()

    @property
    def claimed(self) -> bool:
        """Whether a thread does it, or did."""
        return self._claim.locked()

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is doing it."""
        return self._pilot == threading.get_ident() and not self._landed.is_set()

    def claim(self) -> bool:
        """Take it on; False if another thread was faster."""
        if not self._claim.acquire(blocking=False):
            return False
        self._pilot = threading.get_ident()
        return True

    def land(self, error: Exception | None) -> None:
        """Let those who wait go on."""
        self.error = error
        self._landed.set()

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; whether it has landed."""
        return self._landed.wait(max(seconds, 0.0))


def copy_of(error: Exception) -> Exception:
    """The same error for one more thread to raise.

    Each raising of one object lengthens its traceback, in whatever thread.
    """
    try:
        copied = copy.copy(error)
    except Exception:  # noqa: BLE001 - a foreign class that cannot be made from its args
        return error.with_traceback(None)
    if type(copied) is not type(error):
        return error.with_traceback(None)
    copied.__cause__ = error.__cause__
    copied.__context__ = error.__context__
    copied.__suppress_context__ = error.__suppress_context__
    return copied


def without_frames(error: Exception, *, depth: int = 5) -> Exception:
    """A copy that may be kept and shared: frames hold keys, sockets, and who keeps the error.

    Causes come along, *depth* of them.
    """
    kept = copy_of(error)
    cause, context = error.__cause__, error.__context__
    suppressed = error.__suppress_context__
    kept.__cause__ = _link(cause, depth)
    kept.__context__ = None if cause is not None or suppressed else _link(context, depth)
    kept.__suppress_context__ = suppressed
    return kept


def _link(error: BaseException | None, depth: int) -> Exception | None:
    if isinstance(error, Exception) and depth:
        return without_frames(error, depth=depth - 1)
    return None
