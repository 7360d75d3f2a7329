# SPDX-License-Identifier: Apache-2.0
"""The policies around a session: the role's trust policy, and the profile's session policies."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from rolesanywhere_auth.testing.service import attributes, policy, texts
from rolesanywhere_auth.testing.service.directory import Grant, Role
from rolesanywhere_auth.testing.service.state import TrustAnchor
from rolesanywhere_auth.testing.service.wire import Reason, Refusal

_LOGGER = logging.getLogger(__name__)
# The role must let the service do all three, each judged on its own (UG/trust-model).
_ACTIONS = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")
_POLICY_LIMIT = 2048


def check_trust_policy(
    role: Role,
    grant: Grant,
    anchor: TrustAnchor,
    *,
    dropped: Mapping[str, Iterable[str]],
) -> None:
    """The role must trust the service with each of the three actions.

    Raises:
        Refusal: ``AccessDeniedException``, with the certificate's values that could not
            become tags when there are any.
    """
    for action in _ACTIONS:
        context = trust_context(grant, trust_anchor_arn=anchor.trust_anchor_arn, action=action)
        try:
            decision = policy.allows(role.trust_policy, action=action, context=context)
        except policy.PolicyError as error:
            text = f"This emulator cannot judge the trust policy of {role.arn}: {error}"
            raise Refusal(501, "NotImplementedException", text) from error
        _LOGGER.info("%s of %s: %s", action, role.arn, decision.reason)
        if not decision.allowed:
            refusal = texts.UNABLE_TO_ASSUME.refusal({"arn": role.arn})
            sentence = attributes.dropped_text(dropped)
            raise Refusal(
                refusal.status, refusal.code, ". ".join(filter(None, (refusal.message, sentence)))
            ) from Reason(decision.reason)


def check_session_policies(grant: Grant) -> None:
    """The session policy must be one, and with managed policies and tags not too large.

    A part of IAM's language that the emulator does not know is no fault here, as it may
    never have to be judged.

    Raises:
        Refusal: ``MalformedPolicyDocument`` or ``PackedPolicyTooLarge``, as STS says.
    """
    try:
        if grant.session_policy is not None:
            policy.check_permissions(grant.session_policy)
    except policy.UnsupportedPolicyError:
        pass
    except policy.PolicyError as error:
        raise texts.SESSION_POLICY_MALFORMED.refusal({"error": error}) from error
    percent = packed_size(grant)
    if percent > 100:
        raise texts.PACKED_POLICY_TOO_LARGE.refusal({"percent": percent})


def trust_context(grant: Grant, *, trust_anchor_arn: str, action: str) -> dict[str, Any]:
    """The condition keys of a trust policy.

    ``aws:SourceArn``, ``aws:SourceAccount``, ``sts:SourceIdentity`` and
    ``aws:PrincipalTag/x509…`` stand in UG/trust-model. ``aws:RequestTag/…`` and
    ``aws:TagKeys`` are STS's rule for every call that passes session tags;
    nobody wrote whether Roles Anywhere sets them too. The time is in every request.
    """
    now = grant.expiration - timedelta(seconds=grant.duration_seconds)
    context: dict[str, Any] = {
        "aws:CurrentTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws:EpochTime": str(int(now.timestamp())),
        "aws:SourceArn": trust_anchor_arn,
        "aws:SourceAccount": trust_anchor_arn.split(":")[4],
        "aws:TagKeys": list(grant.tags),
    }
    for key, value in grant.tags.items():
        context[f"aws:PrincipalTag/{key}"] = value
        context[f"aws:RequestTag/{key}"] = value
    if action == "sts:AssumeRole":
        context["sts:RoleSessionName"] = grant.session_name
    if action != "sts:TagSession":
        context["sts:SourceIdentity"] = grant.source_identity
    return context


def packed_size(grant: Grant) -> int:
    """The share of the limit that policies and tags take, in percent; it may be over 100.

    STS packs them in a binary form that nobody documents (API reference, AssumeRole,
    PackedPolicySize). Ours: the characters as they are, of 2,048.
    """
    tags = sum(len(key) + len(value) for key, value in grant.tags.items())
    arns = sum(len(arn) for arn in grant.managed_policy_arns)
    used = tags + arns + len(grant.session_policy or "")
    return math.ceil(100 * used / _POLICY_LIMIT)
