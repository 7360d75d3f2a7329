# SPDX-License-Identifier: Apache-2.0
"""The credentials that metrics are about, and how these stand."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from rolesanywhere_auth.errors import ConfigurationError, RolesAnywhereError
from rolesanywhere_auth.events import AttemptHook, Health, Labels, RenewalHook, State
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.schedule import State as CircuitState

if TYPE_CHECKING:
    import boto3
    import botocore.session

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 45.0)
"""Seconds; a sign-in with the default time-outs and attempts ends after 45."""
STATES: tuple[State, ...] = ("none", "fresh", "stale", "expired")
"""The worst comes last."""
CIRCUITS: tuple[CircuitState, ...] = ("closed", "half-open", "open")
"""The same."""


class Observable(Protocol):
    """Credentials of this library."""

    @property
    def labels(self) -> Labels:
        """Role and profile."""
        ...

    def health(self) -> Health:
        """How they stand."""
        ...

    def add_hook(self, hook: RenewalHook, *, attempts: AttemptHook | None = None) -> None:
        """Tell *hook* of their sign-ins."""
        ...


Target: TypeAlias = "Observable | boto3.Session | botocore.session.Session"


def credentials_of(target: Target) -> Observable:
    """The credentials of a session, or those given.

    Raises:
        ConfigurationError: they are not of this library.
    """
    found: object = target
    get = getattr(target, "get_credentials", None)
    if inspect.iscoroutinefunction(get):
        raise ConfigurationError(
            "an aiobotocore session cannot be asked here for its credentials: give "
            "watch() what `await session.get_credentials()` returns"
        )
    if get is not None:
        found = get()
    if not isinstance(getattr(found, "labels", None), Labels):
        raise ConfigurationError(
            f"{type(found).__name__} are no credentials of rolesanywhere_auth: watch a session of "
            "boto3_session(), botocore_session() or assume_role(), or the credentials themselves. "
            "Of a profile with source_profile or credential_source, watch the source"
        )
    return found  # type: ignore[return-value] # it has labels, and so the rest


def error_name(error: BaseException | None) -> str:
    """The class of an error of this library, ``other`` for any other: these are without number."""
    return type(error).__name__ if isinstance(error, RolesAnywhereError) else "other"


class Reading(NamedTuple):
    """How all credentials of one role and profile stand; of several, the worst."""

    state: State
    circuit: CircuitState
    expires_at: datetime | None
    certificate_expires_at: datetime | None
    last_success: datetime | None

    @classmethod
    def of(cls, health: Health) -> Reading:
        """What of *health* is a metric."""
        return cls(
            health.state,
            health.circuit,
            health.expires_at,
            health.certificate_expires_at,
            health.last_success,
        )

    def worse(self, other: Reading) -> Reading:
        """The worse of each; what is not known of one counts for nothing."""
        return Reading(
            max(self.state, other.state, key=STATES.index),
            max(self.circuit, other.circuit, key=CIRCUITS.index),
            _earlier(self.expires_at, other.expires_at),
            _earlier(self.certificate_expires_at, other.certificate_expires_at),
            _earlier(self.last_success, other.last_success),
        )


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((each for each in (one, other) if each is not None), default=None)


class Watched:
    """Credentials that are not kept alive by being watched."""

    def __init__(self) -> None:
        self._references: list[weakref.ref[Observable]] = []

    def add(self, credentials: Observable) -> bool:
        """Watch *credentials*; False if they are watched already."""
        with local_work():  # of two threads at once, one adds it
            if any(each() is credentials for each in tuple(self._references)):
                return False
            # A list is changed at one stroke, whatever thread reads it.
            self._references.append(weakref.ref(credentials, self._references.remove))
            return True

    def _alive(self) -> Iterator[Observable]:
        for reference in tuple(self._references):
            found = reference()
            if found is not None:
                yield found

    def readings(self) -> dict[Labels, Reading]:
        """How they stand, by role and profile."""
        found: dict[Labels, Reading] = {}
        for credentials in self._alive():
            reading = Reading.of(credentials.health())
            before = found.get(credentials.labels)
            found[credentials.labels] = reading if before is None else before.worse(reading)
        return found
