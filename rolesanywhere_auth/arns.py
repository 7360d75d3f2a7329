# SPDX-License-Identifier: Apache-2.0
"""Amazon Resource Names: parse one, check its kind, check that several fit together."""

from __future__ import annotations

import re
from typing import NamedTuple

from rolesanywhere_auth.errors import ARNError

_ACCOUNT = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")
_PARTITION = re.compile(r"aws(-[a-z]+)*")
_RESOURCE = re.compile(r"[!-~]+")

TRUST_ANCHOR = "trust anchor"
PROFILE = "profile"
ROLE = "role"

_KINDS = {
    TRUST_ANCHOR: ("rolesanywhere", ("trust-anchor/", "alias/trust-anchor/")),
    PROFILE: ("rolesanywhere", ("profile/", "alias/profile/")),
    ROLE: ("iam", ("role/",)),
}


class ARN(NamedTuple):
    """The parts of ``arn:partition:service:region:account-id:resource``."""

    partition: str
    service: str
    region: str
    account_id: str
    resource: str


def parse_arn(text: str, *, kind: str) -> ARN:
    """Split *text* and check that it is the ARN of a *kind* (``"trust anchor"``, ``"role"`` …).

    Raises:
        ARNError: it is not; the message says which part and what is expected.
    """
    service, prefixes = _KINDS[kind]
    example = f"arn:aws:{service}:{'' if kind == ROLE else 'REGION'}:ACCOUNT:{prefixes[0]}…"

    def fault(what: str) -> ARNError:
        return ARNError(f"{what} in the {kind} ARN {text!r}; expected {example}", arn=text)

    if not isinstance(text, str):
        raise ARNError(f"the {kind} ARN must be a string, not {type(text).__name__}")
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn":
        raise fault("not six parts")
    arn = ARN(*parts[1:])
    if not _PARTITION.fullmatch(arn.partition):
        raise fault(f"no such partition {arn.partition!r}")
    if arn.service != service:
        raise fault(f"service {arn.service!r} where {service!r} belongs")
    if kind != ROLE and not _REGION.fullmatch(arn.region):
        raise fault(f"no Region name {arn.region!r}")
    if kind == ROLE and arn.region:
        raise fault(f"the Region {arn.region!r}, where IAM ARNs have none,")
    if not _ACCOUNT.fullmatch(arn.account_id):
        raise fault(f"no 12-digit account id {arn.account_id!r}")
    if not any(arn.resource.startswith(p) and len(arn.resource) > len(p) for p in prefixes):
        raise fault(f"resource {arn.resource!r}, which is no {kind},")
    if not _RESOURCE.fullmatch(arn.resource):
        raise fault("a blank, line end or character that is not ASCII")
    return arn


def check_arns(*, trust_anchor_arn: str, profile_arn: str, role_arn: str) -> ARN:
    """Check that the three fit together; the trust anchor's parts, which name the Region.

    The service takes the trust anchor, the profile and the role of one account,
    and the first two of one Region (AWS IAM Roles Anywhere user guide, "Trust
    model"; CreateSession answers with an error otherwise).

    Raises:
        ARNError: one does not parse, or they differ in account, partition or Region.
    """
    anchor = parse_arn(trust_anchor_arn, kind=TRUST_ANCHOR)
    profile = parse_arn(profile_arn, kind=PROFILE)
    role = parse_arn(role_arn, kind=ROLE)
    if profile.region != anchor.region:
        raise ARNError(
            f"the profile is in {profile.region} and the trust anchor in {anchor.region}: "
            f"both must be in one Region; check {profile_arn!r} and {trust_anchor_arn!r}",
            arn=profile_arn,
        )
    for kind, text, other in ((PROFILE, profile_arn, profile), (ROLE, role_arn, role)):
        for name, mine, its in (
            ("account", anchor.account_id, other.account_id),
            ("partition", anchor.partition, other.partition),
        ):
            if mine != its:
                raise ARNError(
                    f"the {kind} is in {name} {its} and the trust anchor in {name} {mine}: all "
                    f"must be in one {name}; check {text!r} and {trust_anchor_arn!r}",
                    arn=text,
                )
    return anchor
