# SPDX-License-Identifier: Apache-2.0
"""What is known of one set-up so far, and how its checks are made one after the other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from rolesanywhere_auth.diagnosis.report import Check, Facts, Status
from rolesanywhere_auth.errors import IdentityError, RolesAnywhereError, ServiceError
from rolesanywhere_auth.exchange import Clock
from rolesanywhere_auth.refusals import printable

if TYPE_CHECKING:
    import boto3
    import botocore.session
    from cryptography import x509

    from rolesanywhere_auth._loading import Parts, Place
    from rolesanywhere_auth.certificates import Certificate
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.exchange import SessionCredentials
    from rolesanywhere_auth.keys import Signer


class Finding(NamedTuple):
    """The outcome of one check, and whether those that need it cannot be made."""

    status: Status
    evidence: str
    fix: str = ""
    facts: Facts = MappingProxyType({})
    blocks: bool = False


def passed(evidence: str, facts: Facts | None = None) -> Finding:
    """All is well."""
    return Finding("pass", evidence, facts=facts or {})


def warning(
    evidence: str, fix: str, facts: Facts | None = None, *, blocks: bool = False
) -> Finding:
    """It works, or may work."""
    return Finding("warn", evidence, fix, facts or {}, blocks)


def failure(evidence: str, fix: str, facts: Facts | None = None, *, blocks: bool = True) -> Finding:
    """It cannot work."""
    return Finding("fail", evidence, fix, facts or {}, blocks)


def not_needed(why: str) -> Finding:
    """There is nothing to check; whatever needs it goes on."""
    return Finding("skipped", why)


class Case:
    """One set-up under examination: each check adds what it found.

    Args:
        make_config: The configuration, or a ``ConfigurationError``.
        origin: Where it came from, for people.
        make_session: The botocore session whose settings count.
        administrator: A boto3 session that may read the control plane; None without.
        now: Seconds since the epoch.
        sleep: As `time.sleep`.
        jitter: Returns 0 to 1.
        expiry_days: Days left from which a certificate is warned of.
    """

    config: RolesAnywhereConfig
    parts: Parts
    place: Place
    leaf: Certificate
    signer: Signer
    key_source: str
    endpoint: str
    credentials: SessionCredentials

    def __init__(
        self,
        make_config: Callable[[], RolesAnywhereConfig],
        *,
        origin: str,
        make_session: Callable[[], botocore.session.Session],
        administrator: Callable[[], boto3.Session] | None,
        now: Callable[[], float],
        sleep: Callable[[float], object],
        jitter: Callable[[], float],
        expiry_days: float,
    ) -> None:
        self.make_config = make_config
        self.origin = origin
        self._make_session = make_session
        self.administrator = administrator
        self.clock = Clock(now)
        self.now = now
        self.sleep = sleep
        self.jitter = jitter
        self.expiry_days = expiry_days
        self.arn_error: RolesAnywhereError | None = None
        self.found: list[Certificate] = []
        self.extra: list[Certificate] = []
        self.intermediates: tuple[Certificate, ...] = ()
        self.namesake = False
        """Whether a certificate with the name of the missing issuer was given, of another key."""
        self.proxy: str | None = None
        self.proxy_headers: Mapping[str, str] = {}
        self.service_time: str | None = None
        self.clients: dict[str, Any] = {}
        self.anchors: tuple[x509.Certificate, ...] = ()
        self.path: tuple[x509.Certificate, ...] = ()
        self.profile: Mapping[str, Any] = {}
        self.role: Mapping[str, Any] = {}

    @functools.cached_property
    def session(self) -> botocore.session.Session:
        """Whose settings count."""
        return self._make_session()


class Step(NamedTuple):
    """One check: its name, how it is made, and the checks without which it makes no sense."""

    name: str
    look: Callable[[Case], Finding]
    needs: tuple[str, ...] = ()


def examine(case: Case, steps: Iterable[Step]) -> Iterator[Check]:
    """Make the checks in order; one whose need failed is not made, and says so."""
    blocked: dict[str, str] = {}
    for step in steps:
        cause = next((blocked[name] for name in step.needs if name in blocked), None)
        if cause is not None:
            blocked[step.name] = cause
            yield Check(step.name, "skipped", f"needs {cause}")
            continue
        finding = _look(case, step)
        if finding.blocks:
            how = "failed" if finding.status == "fail" else "could not be made"
            blocked[step.name] = f"{step.name}, which {how}"
        # a certificate's subject, a profile's name: whoever chose them may forge no line
        evidence, fix = printable(finding.evidence), printable(finding.fix)
        yield Check(step.name, finding.status, evidence, fix, finding.facts)


def _look(case: Case, step: Step) -> Finding:
    try:
        return step.look(case)
    except RolesAnywhereError as error:
        return told(error)


def told(error: RolesAnywhereError) -> Finding:
    """A failure in the words of *error*, which end in what to do."""
    if isinstance(error, ServiceError):
        return failure(str(error).partition(". Known causes: ")[0], "; or ".join(error.causes))
    text = " ".join(str(error).split())
    source = error.source if isinstance(error, IdentityError) else None
    start = len(source) if source and text.startswith(source) else 0
    cuts = (text.find(". ", start), text.find("; ", start), text.rfind(": ", start + 2))
    cut = next((each for each in cuts if each > 0), None)
    if cut is not None:
        return failure(text[:cut], text[cut + 2 :].removesuffix("."))
    return failure(text, "correct what this names; flags go over profile and environment")
