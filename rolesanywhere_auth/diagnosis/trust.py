# SPDX-License-Identifier: Apache-2.0
"""The judgements of the service, as the emulator makes them.

The path to a trust anchor, revocation, session tags and trust policies are judged here by the
emulator's own code (`rolesanywhere_auth.testing.service`), imported on use. It is what AWS's
documentation, OpenSSL, and other evaluators are compared with by tests, it knows nothing of
signing in, and a second copy would have to be held to the same. The other way round nothing is
shared: the emulator imports nothing of this package but the errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from rolesanywhere_auth._x509 import read_certificate
from rolesanywhere_auth.certificates import Certificate
from rolesanywhere_auth.errors import CertificateLoadError

if TYPE_CHECKING:
    from rolesanywhere_auth.testing.service.directory import Grant

ACTIONS = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")
"""What the role must let the service do (UG/trust-model)."""


class NoPathError(Exception):
    """There is no valid path; the text says why."""


def parsed(certificate: Certificate) -> x509.Certificate:
    """The certificate as `cryptography` has it.

    Raises:
        CertificateLoadError: It, or an extension of it, is malformed.
    """
    try:
        return read_certificate(certificate.der, extensions=True)
    except ValueError as error:
        raise CertificateLoadError(
            f"the certificate {certificate.subject_text} is malformed: {error}. Have it issued "
            "again, by a CA that keeps to RFC 5280",
            source=certificate.subject_text,
        ) from error


def is_self_signed(certificate: Certificate) -> bool:
    """Whether its own key signed it; of the same name alone a CA and its leaf may be."""
    own = parsed(certificate)
    try:
        own.verify_directly_issued_by(own)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def path_to(
    leaf: Certificate,
    *,
    intermediates: Sequence[Certificate],
    anchors: Sequence[x509.Certificate],
    at: datetime,
) -> tuple[x509.Certificate, ...]:
    """The way from *leaf* to one of *anchors*, both included.

    Raises:
        NoPathError: There is none that is valid.
    """
    from rolesanywhere_auth.testing.service.trust import find_path
    from rolesanywhere_auth.testing.service.wire import Refusal

    try:
        return find_path(parsed(leaf), [parsed(each) for each in intermediates], anchors, at=at)
    except Refusal as refusal:
        raise NoPathError(str(refusal.__cause__ or refusal.message)) from refusal


def revoked_by(
    crl: x509.CertificateRevocationList,
    path: Sequence[x509.Certificate],
    *,
    anchors: Sequence[x509.Certificate],
    at: datetime,
) -> str | None:
    """Which certificate of *path* this CRL revokes, in words; None if none."""
    from rolesanywhere_auth.testing.service.revocation import check_revocation
    from rolesanywhere_auth.testing.service.wire import Refusal

    try:
        check_revocation(path, [crl], at=at, anchors=anchors)
    except Refusal as refusal:
        return str(refusal.__cause__)
    return None


class Tags(NamedTuple):
    """What the certificate says about the session."""

    tags: Mapping[str, str]
    dropped: str
    """AWS's sentence about values that cannot be tags; or nothing."""


def session_tags(leaf: Certificate, mappings: Sequence[Mapping[str, Any]] | None) -> Tags:
    """The session tags by a profile's ``attributeMappings``, or by those of a new profile."""
    from rolesanywhere_auth.testing.service import attributes

    chosen = attributes.default_mappings() if mappings is None else mappings
    found = attributes.session_tags(parsed(leaf), chosen)
    return Tags(found.tags, attributes.dropped_text(found.dropped))


def expected_grant(
    leaf: Certificate,
    *,
    role_arn: str,
    region: str,
    role_session_name: str | None,
    duration: int,
    tags: Mapping[str, str],
    at: datetime,
) -> Grant:
    """The session that the service would ask STS for."""
    from rolesanywhere_auth.testing.service import attributes
    from rolesanywhere_auth.testing.service.directory import Grant

    certificate = parsed(leaf)
    return Grant(
        role_arn=role_arn,
        session_name=role_session_name or attributes.session_name(certificate),
        region=region,
        duration_seconds=duration,
        expiration=at + timedelta(seconds=duration),
        source_identity=attributes.source_identity(certificate),
        tags=tags,
    )


class Unjudged(NamedTuple):
    """The evaluator does not know a part of the policy."""

    why: str


def objections(
    trust_policy: str | Mapping[str, Any], grant: Grant, *, trust_anchor_arn: str
) -> list[str] | Unjudged:
    """Why the role's *trust_policy* does not let the service do what it must; empty if it does."""
    from rolesanywhere_auth.testing.service import policy
    from rolesanywhere_auth.testing.service.role_policies import trust_context

    found: dict[str, list[str]] = {}
    for action in ACTIONS:
        context = trust_context(grant, trust_anchor_arn=trust_anchor_arn, action=action)
        try:
            decision = policy.allows(trust_policy, action=action, context=context)
        except policy.PolicyError as error:
            return Unjudged(str(error))
        if not decision.allowed:
            found.setdefault(decision.reason.replace(action, "{}"), []).append(action)
    return [reason.replace("{}", ", ".join(actions)) for reason, actions in found.items()]
