# SPDX-License-Identifier: Apache-2.0
"""Durations: seconds or ``timedelta``, checked."""

from __future__ import annotations

from datetime import timedelta

from rolesanywhere_auth.errors import ConfigurationError

MIN_SESSION_DURATION = 900
MAX_SESSION_DURATION = 43200
MAX_TIMEOUT = 2_147_483
"""Seconds, 24 days: poll(2) takes milliseconds that fit 32 bits."""


def _seconds(value: object) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return None


def session_seconds(value: object) -> int:
    """The duration of a session, in whole seconds.

    Raises:
        ConfigurationError: It is none, or out of range.
    """
    seconds = _seconds(value)
    if (
        seconds is None
        or not MIN_SESSION_DURATION <= seconds <= MAX_SESSION_DURATION
        or seconds != int(seconds)
    ):
        raise ConfigurationError(
            f"session_duration must be {MIN_SESSION_DURATION} to {MAX_SESSION_DURATION} whole "
            f"seconds (15 minutes to 12 hours), not {value!r}"
        )
    return int(seconds)


def timeout_seconds(name: str, value: object) -> float:
    """How long to wait, in seconds.

    Raises:
        ConfigurationError: *value*, which came as *name*, is no number above 0, or too large.
    """
    seconds = _seconds(value)
    if seconds is None or not 0 < seconds <= MAX_TIMEOUT:
        raise ConfigurationError(
            f"{name} must be a number of seconds above 0, and {MAX_TIMEOUT} (24 days) at most, "
            f"not {value!r}"
        )
    return seconds
