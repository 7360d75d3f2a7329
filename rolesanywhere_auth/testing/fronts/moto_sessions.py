# SPDX-License-Identifier: Apache-2.0
"""The sessions made here, in moto's list of assumed roles: until when, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moto.sts.models import sts_backends

from rolesanywhere_auth.testing.service.directory import Grant


@dataclass(frozen=True)
class Vended:
    """A session that the emulator gave, and its ``aws:userid``."""

    grant: Grant
    user_id: str


class Sessions(list[Any]):
    """moto's list of assumed roles, without those of ours that expired.

    Args:
        sessions: what the list held before.
        clock: the emulator's clock, by which sessions end.
    """

    def __init__(self, sessions: Iterable[Any], *, clock: Callable[[], datetime]) -> None:
        super().__init__(sessions)
        self.vended: dict[str, Vended] = {}
        self.clock = clock

    def __iter__(self) -> Iterator[Any]:
        # A copy: moto's threads iterate while others append.
        return iter([item for item in super().__iter__() if not self._is_stale(item)])

    def prune(self) -> None:
        """Let go of the expired ones for good."""
        self[:] = list(self)
        kept = {item.access_key_id for item in self}
        self.vended = {key: session for key, session in self.vended.items() if key in kept}

    def _is_stale(self, session: Any) -> bool:
        vended = self.vended.get(session.access_key_id)
        return vended is not None and vended.grant.expiration <= self.clock()


def sessions_of(account_id: str, partition: str, *, clock: Callable[[], datetime]) -> Sessions:
    """The sessions of one account, put in the place of moto's own list."""
    backend = sts_backends[account_id][partition]
    sessions = backend.assumed_roles
    if not isinstance(sessions, Sessions):
        sessions = backend.assumed_roles = Sessions(sessions, clock=clock)
    return sessions


def find_vended(
    account_id: str, partition: str, access_key_id: str
) -> tuple[Vended, datetime] | None:
    """The session with this key and the emulator's time; None for a key that is not ours."""
    sessions = sts_backends[account_id][partition].assumed_roles
    if not isinstance(sessions, Sessions) or access_key_id not in sessions.vended:
        return None
    return sessions.vended[access_key_id], sessions.clock()
