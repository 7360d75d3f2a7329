# SPDX-License-Identifier: Apache-2.0
"""The credentials as data libraries ask for them: what `to_obstore()` and `to_polars()` make.

A provider is a function of no arguments that a library calls whenever what it was given
before is about to end. It answers from the same snapshot as botocore gets: at once, as long
as that has a minute to live, while a renewal goes on in the background. No library is
imported here.

Times are told by this machine's clock, as a library reads no other: a clock that is behind
the service's would have dead keys taken for good ones.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from rolesanywhere_auth.record import Snapshot
    from rolesanywhere_auth.renewed import RenewedCredentials

__all__ = ["ObstoreProvider", "PolarsProvider"]

POLARS_WAIT = 8.0
"""Seconds. Where fewer than 7 are left, polars sleeps until they are over before it asks again."""


class _Token(TypedDict, total=False):
    token: str | None


class ObstoreCredential(_Token):
    """obstore's ``S3Credential``."""

    access_key_id: str
    secret_access_key: str
    expires_at: datetime | None


class _Provider:
    """Gives the credentials of *credentials*; pickled, it holds what those are made of.

    Args:
        credentials: Whose they are; they have a method named as `method` says.
        current: Their present snapshot.
        now: Their clock, seconds since the epoch.
    """

    method = ""

    def __init__(
        self,
        credentials: RenewedCredentials,
        *,
        current: Callable[[], Snapshot],
        now: Callable[[], float],
    ) -> None:
        self._credentials = credentials
        self._current = current
        self._now = now

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._credentials!r})"

    def __copy__(self) -> _Provider:
        return self  # a copy would sign in for itself

    def __deepcopy__(self, memo: dict[int, Any]) -> _Provider:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        make, arguments = tuple(self._credentials.__reduce__())
        return _arrive, (self.method, make, arguments)


class ObstoreProvider(_Provider):
    """For ``credential_provider=`` of obstore's ``S3Store``."""

    method = "to_obstore"

    def __call__(self) -> ObstoreCredential:
        """The present credentials.

        Raises:
            RolesAnywhereError: there are none, and signing in failed.
        """
        snapshot = self._current()
        return {
            "access_key_id": str(snapshot.frozen.access_key),
            "secret_access_key": str(snapshot.frozen.secret_key),
            "token": snapshot.frozen.token,
            "expires_at": datetime.fromtimestamp(snapshot.expires, timezone.utc),
        }


class PolarsProvider(_Provider):
    """For ``credential_provider=`` of polars' functions."""

    method = "to_polars"

    def __call__(self) -> tuple[dict[str, str], int]:
        """The present credentials, and when polars is to ask again: seconds since the epoch.

        Raises:
            RolesAnywhereError: there are none, and signing in failed.
        """
        snapshot = self._current()
        keys = {
            "aws_access_key_id": str(snapshot.frozen.access_key),
            "aws_secret_access_key": str(snapshot.frozen.secret_key),
            "aws_session_token": snapshot.frozen.token or "",
        }
        return keys, ask_again_at(snapshot, now=self._now())


def ask_again_at(snapshot: Snapshot, *, now: float) -> int:
    """When a library is to come back that keeps credentials to the very end it was told.

    At the beginning of the advisory window, then of the mandatory one, then at expiry.
    Expired ones that are still given out are told as ending now: polars refuses what
    ended in the past.
    """
    for moment in (snapshot.fresh_until, snapshot.usable_until):
        if moment >= now + POLARS_WAIT:
            return int(moment)
    return int(max(snapshot.expires, now))


def _arrive(method: str, make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """A provider that came out of a pickle."""
    return getattr(_of_this_process(make, arguments), method)()


@lru_cache(maxsize=16)
def _of_this_process(make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Credentials for all that arrive: each task of a worker brings a pickle of the same."""
    return make(*arguments)
