# SPDX-License-Identifier: Apache-2.0
"""What the emulated service remembers: resources by account and Region, and one lock."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

from cryptography import x509

from rolesanywhere_auth.testing.service.wire import not_found

_LIMIT = 10_000
_PARTITIONS = (
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
)


def partition_of(region: str) -> str:
    """The ARN partition that *region* belongs to, by its prefix."""
    return next((name for prefix, name in _PARTITIONS if region.startswith(prefix)), "aws")


@dataclass(frozen=True)
class TrustAnchor:
    """One trust anchor; ``certificates`` are the parsed CA certificates of its bundle."""

    trust_anchor_id: str
    trust_anchor_arn: str
    name: str
    source: dict[str, Any]
    certificates: tuple[x509.Certificate, ...]
    enabled: bool
    created_at: datetime
    updated_at: datetime
    notification_settings: tuple[dict[str, Any], ...] = ()
    crl_dp_revocation_enabled: bool = False
    alias_name: str | None = None


@dataclass(frozen=True)
class Profile:
    """One profile."""

    profile_id: str
    profile_arn: str
    name: str
    role_arns: tuple[str, ...]
    enabled: bool
    created_at: datetime
    updated_at: datetime
    created_by: str
    attribute_mappings: tuple[dict[str, Any], ...]
    duration_seconds: int = 3600
    accept_role_session_name: bool = False
    require_instance_properties: bool = False
    session_policy: str | None = None
    managed_policy_arns: tuple[str, ...] = ()
    alias_name: str | None = None


@dataclass(frozen=True)
class CRL:
    """One imported certificate revocation list, bound to one trust anchor."""

    crl_id: str
    crl_arn: str
    name: str
    crl_data: bytes
    parsed: x509.CertificateRevocationList
    trust_anchor_arn: str
    enabled: bool
    created_at: datetime
    updated_at: datetime
    alias_name: str | None = None


@dataclass(frozen=True)
class Subject:
    """One X.509 subject seen by CreateSession, with its certificates and instance properties."""

    subject_id: str
    subject_arn: str
    x509_subject: str
    created_at: datetime
    updated_at: datetime
    last_seen_at: datetime
    enabled: bool = True
    credentials: tuple[dict[str, Any], ...] = ()
    instance_properties: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class IssuedSession:
    """One session that CreateSession vended; the keys themselves are not kept."""

    access_key_id: str
    assumed_role_arn: str
    role_arn: str
    source_identity: str
    tags: dict[str, str]
    expiration: datetime


Resource = TrustAnchor | Profile | CRL | Subject
ResourceT = TypeVar("ResourceT", TrustAnchor, Profile, CRL, Subject)

KINDS: dict[type[Any], str] = {
    TrustAnchor: "trust-anchor",
    Profile: "profile",
    CRL: "crl",
    Subject: "subject",
}


@dataclass
class Shelf:
    """The resources of one account in one Region."""

    account_id: str
    region: str
    resources: dict[str, Resource] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    """Of each ARN, how many resources were made before it: lists go by it."""
    made: int = 0

    def arn(self, kind: str, identifier: str) -> str:
        """The ARN of the resource of *kind* (``trust-anchor``, ``profile`` …)."""
        prefix = f"arn:{partition_of(self.region)}:rolesanywhere:{self.region}:{self.account_id}"
        return f"{prefix}:{kind}/{identifier}"

    def all(self, kind: type[ResourceT]) -> list[ResourceT]:
        """All resources of *kind*, oldest first."""
        return [item for item in self.resources.values() if isinstance(item, kind)]

    def find(self, kind: type[ResourceT], identifier: str) -> ResourceT:
        """The resource by its UUID, ARN or alias ARN.

        Raises:
            Refusal: ``ResourceNotFoundException``; AWS's own text is not known, this one is ours.
        """
        item = self.resources.get(self.arn_by(kind, identifier))
        if not isinstance(item, kind):
            raise not_found(
                f"No {KINDS[kind]} {identifier} in account {self.account_id}, Region {self.region}."
            )
        return item

    def arn_by(self, kind: type[ResourceT], identifier: str) -> str:
        """The ARN that a UUID, an ARN or an alias ARN stands for; "" for an unknown alias."""
        alias = self.arn(f"alias/{KINDS[kind]}", "")
        if identifier.startswith(alias):
            name = identifier.removeprefix(alias)
            return next(
                (
                    arn_of(item)
                    for item in self.all(kind)
                    if getattr(item, "alias_name", None) == name
                ),
                "",
            )
        return identifier if identifier.startswith("arn:") else self.arn(KINDS[kind], identifier)

    def put(self, item: Resource) -> None:
        """Store *item* under its ARN, in the place of an older version."""
        arn = arn_of(item)
        if arn not in self.resources:
            self.numbers[arn] = self.made
            self.made += 1
        self.resources[arn] = item

    def remove(self, item: Resource) -> None:
        """Forget *item* and its tags."""
        del self.resources[arn_of(item)]
        del self.numbers[arn_of(item)]
        self.tags.pop(arn_of(item), None)


class State:
    """Everything the service remembers. Hold ``lock`` around each request."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.sessions: deque[IssuedSession] = deque(maxlen=_LIMIT)
        self._shelves: dict[tuple[str, str], Shelf] = {}

    def shelf(self, account_id: str, region: str) -> Shelf:
        """The resources of *account_id* in *region*, an empty shelf when it is new."""
        return self._shelves.setdefault((account_id, region), Shelf(account_id, region))

    def shelves(self) -> list[Shelf]:
        """All shelves, oldest first."""
        return list(self._shelves.values())

    def all(self, kind: type[ResourceT]) -> list[ResourceT]:
        """All resources of *kind* in all accounts and Regions."""
        return [item for shelf in self._shelves.values() for item in shelf.all(kind)]

    def clear(self) -> None:
        """Forget everything."""
        self.sessions.clear()
        self._shelves.clear()


def arn_of(item: Resource) -> str:
    """The ARN of any stored resource."""
    arn: str = getattr(item, KINDS[type(item)].replace("-", "_") + "_arn")
    return arn


def camel(name: str) -> str:
    """``crl_dp_revocation_enabled`` as the wire writes it: ``crlDpRevocationEnabled``."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def wire_members(item: Resource) -> dict[str, Any]:
    """The resource as the members of its Detail shape; members that are None are left out."""
    members = {camel(f.name): getattr(item, f.name) for f in fields(item)}
    return {name: value for name, value in members.items() if value is not None}
