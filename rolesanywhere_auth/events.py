# SPDX-License-Identifier: Apache-2.0
"""What can be observed of renewal: events as they happen, and the state of health."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from rolesanywhere_auth.schedule import State as CircuitState

EventKind = Literal["started", "succeeded", "failed", "skipped"]
"""``skipped``: a sign-in was due, but the last one failed too short a time ago."""
State = Literal["none", "fresh", "stale", "expired"]
"""``stale``: valid, but a renewal is due or under way."""


class RenewalEvent(NamedTuple):
    """One moment of a renewal; holds no secret."""

    kind: EventKind
    at: datetime
    """By the local clock; aware, UTC."""
    attempt: int
    """1 for the first sign-in since the last success, 2 after one failure … Of a ``skipped``
    event: how many have failed."""
    duration: float | None = None
    """Seconds that the sign-in took, once it is over."""
    expires_at: datetime | None = None
    """When the present credentials expire, None while there are none."""
    serial_number: int | None = None
    """Of the certificate that signed in, once that is known."""
    error: BaseException | None = None
    next_attempt: datetime | None = None
    """Not before then, after a failure."""


class RenewalHook(Protocol):
    """Told of every event, in the thread where it happens; what it raises is logged.

    Of the end of a sign-in it is told when those who wait for it go on already. It may ask
    for `Health`, but must not wait for credentials of the object it observes.
    """

    def __call__(self, event: RenewalEvent, /) -> object:
        """Take note of *event*."""
        ...


class Health(NamedTuple):
    """How the credentials stand, for a health check or a metric; holds no secret."""

    state: State
    circuit: CircuitState
    """``closed`` all is well; ``open`` no attempt for now; ``half-open`` the
    wait is over, and the next attempt decides."""
    expires_at: datetime | None
    last_success: datetime | None
    last_error: BaseException | None
    """Of the last sign-in, None if that went well."""
    next_attempt: datetime | None
    """Not before then, after a failure."""
    certificate_serial_number: int | None
    certificate_expires_at: datetime | None


class AttemptEvent(NamedTuple):
    """One request of a sign-in, and what came of it; holds no secret."""

    at: datetime
    """When it was sent, by the local clock; aware, UTC."""
    duration: float
    """Seconds until its answer was read, or none was to be had."""
    number: int
    """1 for the first request of this sign-in."""
    url: str
    """Where it was sent, without a query."""
    status: int | None = None
    """Of HTTP, None if no answer came."""
    request_id: str | None = None
    """By which AWS knows the request."""
    error: BaseException | None = None
    """Why no answer came."""


class AttemptHook(Protocol):
    """Told of every request of a sign-in, in the thread that signs in; what it raises is logged.

    The sign-in goes on when it has returned.
    """

    def __call__(self, event: AttemptEvent, /) -> object:
        """Take note of *event*."""
        ...


class Labels(NamedTuple):
    """What tells the credentials of a program apart, in metrics and in log records."""

    role_arn: str = ""
    profile_arn: str = ""
    """Empty for a role that another role assumes."""
