# SPDX-License-Identifier: Apache-2.0
"""Certificate policies (RFC 5280, sections 6.1.2 to 6.1.5) for `trust`.

Nobody asks for a policy, so policies matter only where a CA asks for one
(``requireExplicitPolicy``). Policy mappings are not followed: where a policy is
required, a path with mappings is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import CertificatePoliciesOID, ExtensionOID, ObjectIdentifier

from rolesanywhere_auth.testing.service.extensions import extension_of
from rolesanywhere_auth.testing.service.names import is_self_issued

POLICY_MAPPINGS = ObjectIdentifier("2.5.29.33")
UNDERSTOOD = frozenset(
    {
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.INHIBIT_ANY_POLICY,
        POLICY_MAPPINGS,
    }
)
"""The extensions that this module sees to."""
_ANY = CertificatePoliciesOID.ANY_POLICY


class PolicyError(Exception):
    """A CA requires a certificate policy, and the path has none in common."""


def check_policies(path: Sequence[x509.Certificate]) -> None:
    """Hold the policies of *path*, from the leaf to the anchor, against what its CAs require.

    The anchor's own policy extensions do not count (RFC 5280, section 6.1.1).

    Raises:
        PolicyError: A required policy is missing, or mapped.
    """
    explicit = inhibit_any = len(path)  # certificates until it holds; len(path) is never
    valid = {_ANY}
    mapped = False
    for certificate in reversed(path[:-1]):
        last, counted = certificate is path[0], not is_self_issued(certificate)
        any_counts = inhibit_any > 0 or not (last or counted)
        valid = _narrowed(valid, certificate, any_counts=any_counts)
        if explicit and (counted or last):
            explicit -= 1
        if inhibit_any and counted:
            inhibit_any -= 1
        constraints = extension_of(certificate, x509.PolicyConstraints)
        required = None if constraints is None else constraints.require_explicit_policy
        if required is not None and (not last or required == 0):
            explicit = min(explicit, required)
        inhibited = extension_of(certificate, x509.InhibitAnyPolicy)
        if inhibited is not None:
            inhibit_any = min(inhibit_any, inhibited.skip_certs)
        mapped = mapped or any(e.oid == POLICY_MAPPINGS for e in certificate.extensions)
    if explicit == 0 and (mapped or not valid):
        raise PolicyError(
            "a CA requires an explicit certificate policy, and "
            + ("the path maps policies" if mapped else "the path has none in common")
        )


def _narrowed(
    valid: set[ObjectIdentifier], certificate: x509.Certificate, *, any_counts: bool
) -> set[ObjectIdentifier]:
    """RFC 5280, 6.1.3 (d) and (e): what is left of *valid* below *certificate*."""
    policies = extension_of(certificate, x509.CertificatePolicies)
    if policies is None:
        return set()
    named = {policy.policy_identifier for policy in policies}
    left = {policy for policy in named - {_ANY} if policy in valid or _ANY in valid}
    return left | valid if _ANY in named and any_counts else left
