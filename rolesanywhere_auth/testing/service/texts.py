# SPDX-License-Identifier: Apache-2.0
"""Every text of a refusal that is decided here, and whose words they are.

``source`` is ``"ours"`` where AWS's own words are not known. Otherwise the words
were quoted from the live service by somebody, or stand in AWS's documentation.
The signature's and the trust model's texts stand beside their checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rolesanywhere_auth.testing.service.wire import Refusal

_ACCESS_DENIED = "AccessDeniedException"
_INVALID = "ValidationException"
_NOT_FOUND = "ResourceNotFoundException"


@dataclass(frozen=True)
class Text:
    """One refusal: status, code, words (with ``{names}`` to fill in), and where they come from."""

    status: int
    code: str
    words: str
    source: str

    def refusal(self, values: Mapping[str, object] | None = None) -> Refusal:
        """The refusal with *values* filled in."""
        return Refusal(self.status, self.code, self.words.format_map(values or {}))


CROSS_ACCOUNT_ROLE = Text(
    403, _ACCESS_DENIED, "Cross-account pass role is not allowed", "the live service; code ours"
)
TRUST_ANCHOR_NOT_FOUND = Text(404, _NOT_FOUND, "Trust anchor {arn} does not exist.", "ours")
PROFILE_NOT_FOUND = Text(404, _NOT_FOUND, "Profile {arn} does not exist.", "ours")
ACCOUNTS_DIFFER = Text(
    400,
    _INVALID,
    "The {what} {arn} has a different account ID than the trust anchor {anchor}.",
    "the live service says 'different account ID' with this status; the rest is ours",
)
REGIONS_DIFFER = Text(
    400, _INVALID, "The {what} is in Region {region}, the trust anchor {anchor} is not.", "ours"
)
TRUST_ANCHOR_DISABLED = Text(
    403, _ACCESS_DENIED, "Trust anchor is disabled", "a user's troubleshooting table"
)
PROFILE_DISABLED = Text(
    403, _ACCESS_DENIED, "Profile is disabled", "a user's troubleshooting table"
)
ROLE_NOT_IN_PROFILE = Text(
    403,
    _ACCESS_DENIED,
    "Requested Role isn't one of those listed in the Profile",
    "the live service",
)
SESSION_NAME_REFUSED = Text(
    403,
    _ACCESS_DENIED,
    "Not authorized to set roleSessionName",
    "the live service; AWS's EKS guide",
)
UNABLE_TO_ASSUME = Text(403, _ACCESS_DENIED, "Unable to assume role for {arn}", "the live service")
DURATION_TOO_LONG = Text(
    403,
    _ACCESS_DENIED,
    "Unable to assume role for {arn}. The requested DurationSeconds exceeds the "
    "MaxSessionDuration set for this role.",
    "the live service; the full stop between the sentences is ours",
)
PACKED_POLICY_TOO_LARGE = Text(
    400,
    "PackedPolicyTooLarge",
    "Packed policy consumes {percent}% of allotted space, please use smaller policy.",
    "STS's code and words for AssumeRole; that CreateSession passes them on is ours",
)
SESSION_POLICY_MALFORMED = Text(
    400,
    "MalformedPolicyDocument",
    "The session policy of the profile cannot be used: {error}",
    "STS's code for AssumeRole; the rest is ours",
)

TEXTS = (
    CROSS_ACCOUNT_ROLE,
    TRUST_ANCHOR_NOT_FOUND,
    PROFILE_NOT_FOUND,
    ACCOUNTS_DIFFER,
    REGIONS_DIFFER,
    TRUST_ANCHOR_DISABLED,
    PROFILE_DISABLED,
    ROLE_NOT_IN_PROFILE,
    SESSION_NAME_REFUSED,
    UNABLE_TO_ASSUME,
    DURATION_TOO_LONG,
    PACKED_POLICY_TOO_LARGE,
    SESSION_POLICY_MALFORMED,
)
"""All of the above, for the documentation."""
