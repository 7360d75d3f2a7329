# SPDX-License-Identifier: Apache-2.0
"""Who makes a control-plane call, and what they may do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rolesanywhere_auth.testing.service.state import CRL, Profile, Shelf, Subject, TrustAnchor


def _anything(_action: str, _resource: str) -> None:
    """Everything is allowed."""


@dataclass(frozen=True)
class Caller:
    """Who signed a control-plane call.

    Attributes:
        arn: The user or the assumed role.
        check: Takes an IAM action and the ARN that it is about, or ``*``, and raises a
            `Refusal` where the caller may not do that. By default everything is allowed.
    """

    arn: str
    check: Callable[[str, str], None] = _anything


# The service authorization reference has what each operation acts on: a resource for
# those that name one, nothing (that is, "*") for those that create or list.
_NAMED = {"crlId": CRL, "profileId": Profile, "subjectId": Subject, "trustAnchorId": TrustAnchor}


def resource_of(members: Mapping[str, Any], shelf: Shelf) -> str:
    """The ARN that a call with *members* acts on, or ``*``.

    An alias ARN gives the ARN of what it stands for: IAM knows no aliases (the model's
    documentation of ``aliasArn``).
    """
    for member, kind in _NAMED.items():
        if member in members:
            return shelf.arn_by(kind, members[member]) or str(members[member])
    return str(members.get("resourceArn", "*"))
