# SPDX-License-Identifier: Apache-2.0
"""Who knows the roles and mints the keys: a protocol, and one that lives in memory."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from rolesanywhere_auth.testing.service.wire import invalid


@dataclass(frozen=True)
class Role:
    """What CreateSession needs to know of an IAM role; seconds for its longest session."""

    arn: str
    trust_policy: str | Mapping[str, Any]
    max_session_duration: int = 3600


@dataclass(frozen=True)
class Grant:
    """A session that passed every check and is to be minted."""

    role_arn: str
    session_name: str
    region: str
    duration_seconds: int
    expiration: datetime
    source_identity: str
    tags: Mapping[str, str]
    session_policy: str | None = None
    managed_policy_arns: tuple[str, ...] = ()


@dataclass(frozen=True)
class SessionKeys:
    """The keys of one session."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    assumed_role_id: str


class Directory(Protocol):
    """IAM and STS, as far as CreateSession needs them."""

    def role(self, arn: str) -> Role:
        """The role with this ARN.

        Raises:
            KeyError: there is none.
        """

    def roles(self) -> list[Role]:
        """All roles, for people to look at."""

    def mint(self, grant: Grant) -> SessionKeys:
        """Keys for *grant*."""

    def ca_certificate(self, arn: str) -> str:
        """The certificate of the private CA with this ARN, in PEM.

        Raises:
            Refusal: ``ValidationException``: there is none.
        """

    def clear(self) -> None:
        """Forget every role and session made through the emulator."""


class MemoryDirectory:
    """Roles in memory; its keys look like AWS's and open nothing.

    Args:
        random: a source of random bytes, ``os.urandom`` outside of tests.
    """

    def __init__(self, *, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._roles: dict[str, Role] = {}

    def add(self, role: Role) -> None:
        """Know *role*, in the place of an older one with its ARN."""
        self._roles[role.arn] = role

    def role(self, arn: str) -> Role:
        """The role with this ARN; KeyError when there is none."""
        return self._roles[arn]

    def roles(self) -> list[Role]:
        """All roles, oldest first."""
        return list(self._roles.values())

    def mint(self, grant: Grant) -> SessionKeys:
        """Fresh keys with AWS's prefixes and lengths."""
        return SessionKeys(
            access_key_id="ASIA" + self._letters(16),
            secret_access_key=base64.b64encode(self._random(30)).decode(),
            session_token=base64.b64encode(self._random(255)).decode(),
            assumed_role_id=f"{role_id(grant.role_arn)}:{grant.session_name}",
        )

    def ca_certificate(self, arn: str) -> str:
        """Always refused: there is no AWS Private CA here."""
        raise invalid(
            f"There is no AWS Private CA in this emulator, so that {arn} is unknown: start an "
            "Emulator(aws=True), or give the CA's certificate as a CERTIFICATE_BUNDLE."
        )

    def clear(self) -> None:
        """Forget every role."""
        self._roles.clear()

    def _letters(self, length: int) -> str:
        return base64.b32encode(self._random(length)).decode()[:length]


def role_id(arn: str) -> str:
    """An ``AROA…`` identifier that is always the same for one ARN."""
    digest = hashlib.sha256(arn.encode()).digest()
    return "AROA" + base64.b32encode(digest).decode()[:17]
