# SPDX-License-Identifier: Apache-2.0
"""The emulator's clock: the machine's, moved; or one that the user brought."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone


class Clock:
    """Tells the time; `advance` and `set` move it unless it is the user's own.

    Args:
        given: The user's clock, which this one only reads.
    """

    def __init__(self, given: Callable[[], datetime] | None) -> None:
        self._given = given
        self._ahead = timedelta()

    def now(self) -> datetime:
        """The present moment, with a time zone."""
        return datetime.now(timezone.utc) + self._ahead if self._given is None else self._given()

    def advance(self, seconds: float | timedelta) -> None:
        """Move it forward, or back when *seconds* are negative.

        Raises:
            RuntimeError: It is the user's own.
        """
        self._check_own()
        self._ahead += seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)

    def set(self, moment: datetime) -> None:
        """Let it be *moment* now; it goes on from there.

        Raises:
            ValueError: *moment* has no time zone.
            RuntimeError: It is the user's own.
        """
        self._check_own()
        if moment.tzinfo is None:
            raise ValueError(f"{moment!r} has no time zone; add tzinfo=timezone.utc, say.")
        self._ahead = moment - datetime.now(timezone.utc)

    def reset(self) -> None:
        """Back to the machine's time."""
        self._ahead = timedelta()

    def _check_own(self) -> None:
        if self._given is not None:
            raise RuntimeError("This emulator goes by the clock it was given; move that one.")
