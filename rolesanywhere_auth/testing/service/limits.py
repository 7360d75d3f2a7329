# SPDX-License-Identifier: Apache-2.0
"""How many resources one account may have in one Region (UG/quotas).

The service models no error for a quota, and nobody has quoted one: that it is a
``ValidationException``, and its words, are ours. Two quotas are held elsewhere: the
certificates of a trust anchor by `trust.load_anchor_bundle`, the roles of a profile
by botocore's model.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

from rolesanywhere_auth.testing.service.wire import invalid


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The quotas of one account in one Region; AWS raises the first two on request.

    Raises:
        ValueError: One of them is negative.
    """

    trust_anchors: int = 50
    profiles: int = 250
    crls_per_trust_anchor: int = 2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f"Limits: {name} must be 0 or more, not {value}")


def check_room(present: Sized, limit: int, *, what: str) -> None:
    """Refuse one more of *what* where *present* has *limit* of them.

    Raises:
        Refusal: ``ValidationException``.
    """
    if len(present) >= limit:
        raise invalid(f"There are {len(present)} {what} already; the quota is {limit}.")
