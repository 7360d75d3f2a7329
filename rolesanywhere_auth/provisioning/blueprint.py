# SPDX-License-Identifier: Apache-2.0
"""`Blueprint`: what a set-up shall be; checked before any call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth._durations import session_seconds
from rolesanywhere_auth.arns import ROLE, TRUST_ANCHOR, parse_arn
from rolesanywhere_auth.errors import CertificateRequirementError, ConfigurationError
from rolesanywhere_auth.provisioning.plan import Later

if TYPE_CHECKING:
    from rolesanywhere_auth.certificates import Certificate
    from rolesanywhere_auth.config import Source

PATH = "/rolesanywhere-auth/"
"""The IAM path of the roles that are made, by which they are found again."""
TAG = "rolesanywhere-auth:setup"
"""The tag of all that is made; its value is the set-up's name."""
MAX_ANCHOR_CERTIFICATES = 2
"""Certificates in a trust anchor (UG/quotas)."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # of trust anchor and profile, and of a role
_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_ATTRIBUTE = re.compile(r"x509(Subject|Issuer)/[A-Za-z0-9.]+|x509SAN/(DNS|URI|Name/[A-Za-z0-9.]+)")
_PCA = re.compile(r"arn:aws(-[a-z]+)*:acm-pca:[a-z0-9-]+:[0-9]{12}:certificate-authority/.+")
_POLICY = re.compile(r"arn:aws(-[a-z]+)*:iam::([0-9]{12}|aws):policy/[!-~]+")


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A trust anchor, a role and a profile that fit together.

    Args:
        name: Of the set-up, and of what is made for it: 1 to 64 of ``[A-Za-z0-9_-]``.
        ca_bundle: The CA's certificate, path or content; two at most. Only the certificates
            of it leave this machine, never a key.
        acm_pca_arn: The CA of AWS Private CA, instead.
        trust_anchor_arn: A trust anchor that is there, instead; it is never changed.
        require: What a certificate must say, such as ``{"x509Subject/CN": "app"}``; of
            several values one is enough, and ``*`` and ``?`` are wildcards. Names as in
            session tags (UG/trust-model). Empty: any certificate of the CA will do.
        role_name: Of the role to make; *name* by default.
        role_arn: A role that is there, instead; it is never changed.
        policy_arns: Managed policies to attach to the role: what it may do.
        session_policy: What sessions may do at most, beside the role's policies.
        session_policy_arns: The same as managed policies.
        session_duration: Seconds or ``timedelta``, 900 to 43,200, of the profile.
        accept_role_session_name: Whether clients may name their sessions.

    Raises:
        ARNError: An ARN is malformed.
        ConfigurationError: Anything else that cannot work.
    """

    name: str
    ca_bundle: Source | None = field(default=None, repr=False)
    acm_pca_arn: str | None = None
    trust_anchor_arn: str | None = None
    require: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    role_name: str | None = None
    role_arn: str | None = None
    policy_arns: Sequence[str] = ()
    session_policy: Mapping[str, Any] | None = None
    session_policy_arns: Sequence[str] = ()
    session_duration: int | timedelta = 3600
    accept_role_session_name: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)
        sources = [self.ca_bundle, self.acm_pca_arn, self.trust_anchor_arn]
        if sum(each is not None for each in sources) != 1:
            raise ConfigurationError(
                "give one of ca_bundle, acm_pca_arn and trust_anchor_arn: it says whom to trust"
            )
        if self.acm_pca_arn is not None and not _PCA.fullmatch(self.acm_pca_arn):
            raise ConfigurationError(
                f"{self.acm_pca_arn!r} is no ARN of a private CA: "
                "arn:aws:acm-pca:REGION:ACCOUNT:certificate-authority/…"
            )
        if self.trust_anchor_arn is not None:
            parse_arn(self.trust_anchor_arn, kind=TRUST_ANCHOR)
        self._check_role()
        session_seconds(self.session_duration)
        for attribute, values in self.require.items():
            _check_requirement(attribute, values)
        for arn in (*self.policy_arns, *self.session_policy_arns):
            if not _POLICY.fullmatch(arn):
                raise ConfigurationError(
                    f"{arn!r} is no ARN of a managed policy: arn:aws:iam::ACCOUNT:policy/NAME"
                )

    @property
    def seconds(self) -> int:
        """The sessions' duration."""
        return session_seconds(self.session_duration)

    def _check_role(self) -> None:
        if self.role_arn is None:
            if not _ROLE_NAME.fullmatch(self.role_name or self.name):
                raise ConfigurationError(
                    f"the role name {self.role_name!r} must be 1 to 64 of [A-Za-z0-9_+=,.@-]"
                )
            return
        parse_arn(self.role_arn, kind=ROLE)
        if self.role_name or self.policy_arns or self.require:
            raise ConfigurationError(
                "a role given by role_arn is never changed: role_name, policy_arns and require "
                "are for a role that is made"
            )


def check_name(name: str) -> None:
    """Check the name of a set-up.

    Raises:
        ConfigurationError: It cannot be the name of a trust anchor, role and profile.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"the name {name!r} must be 1 to 64 letters, digits, hyphens and underscores"
        )


def _check_requirement(attribute: str, values: str | Sequence[str]) -> None:
    if not _ATTRIBUTE.fullmatch(attribute):
        raise ConfigurationError(
            f"{attribute!r} is no attribute of a certificate: x509Subject/CN, x509Subject/OU, "
            "x509Issuer/CN, x509SAN/DNS, x509SAN/URI, x509SAN/Name/CN …"
        )
    if not values or not all(_listed(values)):
        raise ConfigurationError(f"require: {attribute} must have a value that is not empty")


def _listed(values: str | Sequence[str]) -> list[str]:
    return [values] if isinstance(values, str) else list(values)


def trust_policy(blueprint: Blueprint, *, account_id: str, anchor: str | Later) -> dict[str, Any]:
    """The role's trust policy: Roles Anywhere, this trust anchor, these certificates.

    The three actions and the condition on the trust anchor are those of UG/trust-model.
    """
    conditions: dict[str, Any] = {
        "ArnEquals": {"aws:SourceArn": anchor},
        "StringEquals": {"aws:SourceAccount": account_id},
    }
    for attribute, values in blueprint.require.items():
        wanted = _listed(values)
        wild = any(letter in value for value in wanted for letter in "*?")
        operator = conditions.setdefault("StringLike" if wild else "StringEquals", {})
        operator[f"aws:PrincipalTag/{attribute}"] = wanted[0] if len(wanted) == 1 else wanted
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "rolesanywhere.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
                "Condition": conditions,
            }
        ],
    }


def read_bundle(source: Source, *, now: datetime) -> list[Certificate]:
    """The CA certificates of a bundle.

    Raises:
        CertificateLoadError: It cannot be read, or holds none.
        CertificateRequirementError: The service would refuse one, or there are too many.
    """
    from rolesanywhere_auth._containers import read_material
    from rolesanywhere_auth._loading import Parts

    parts = Parts(None, read_material, None)
    found, place = parts.certificates(source, role="ca_bundle")
    if len(found) > MAX_ANCHOR_CERTIFICATES:
        raise CertificateRequirementError(
            f"{place.source} holds {len(found)} certificates; a trust anchor takes "
            f"{MAX_ANCHOR_CERTIFICATES}, for the change from one to the next. Leave the CA that "
            "issues the certificates, or its root.",
            source=place.source,
        )
    for certificate in found:
        flaw = _flaw(certificate, now=now)
        if flaw is not None:
            raise CertificateRequirementError(
                f"{place.source}: the certificate {certificate.subject_text} {flaw}",
                source=place.source,
            )
    return found


def _flaw(certificate: Certificate, *, now: datetime) -> str | None:
    if not certificate.is_ca:
        return "is none of a CA (no CA:TRUE). Give the certificate of the CA that issued it."
    if certificate.weak_digest is not None:
        return f"is signed with {certificate.weak_digest}; the service takes SHA-256 or stronger."
    usage = certificate.key_usage
    if not usage or not usage[0] & 0x04:
        return "has no keyUsage keyCertSign, which the service demands of a CA."
    if now > certificate.not_valid_after:
        return f"expired at {certificate.not_valid_after:%Y-%m-%dT%H:%M:%SZ}. Renew the CA."
    return None


def read_policy(text: str, *, source: str) -> dict[str, Any]:
    """A policy document of JSON text.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{source} is no JSON: {error}") from error
    if not isinstance(found, dict) or "Statement" not in found:
        raise ConfigurationError(f"{source} is no policy: it has no Statement")
    return found
