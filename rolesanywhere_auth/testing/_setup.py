# SPDX-License-Identifier: Apache-2.0
"""What `Emulator.set_up` makes: everything a client needs to sign in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.testing.service.state import partition_of

if TYPE_CHECKING:
    from pathlib import Path

    from rolesanywhere_auth.testing.authority import CertificateAuthority, Leaf, LeafFiles


@dataclass(frozen=True)
class Setup:
    """A trust anchor, a profile and a role in the emulator, and a certificate that fits them.

    The files are in a private temporary directory, which goes when the emulator stops.
    """

    authority: CertificateAuthority
    leaf: Leaf
    trust_anchor_arn: str
    profile_arn: str
    role_arn: str
    files: LeafFiles
    endpoint_url: str

    @property
    def certificate(self) -> Path:
        """The certificate in PEM."""
        return self.files.certificate

    @property
    def private_key(self) -> Path:
        """The private key in PEM, readable by its owner alone."""
        return self.files.private_key

    @property
    def chain(self) -> Path | None:
        """The intermediates in PEM; None when the root issued the certificate."""
        return self.files.chain

    def config_arguments(self) -> dict[str, Any]:
        """The keyword arguments for `rolesanywhere_auth.RolesAnywhereConfig`."""
        return {
            "trust_anchor_arn": self.trust_anchor_arn,
            "profile_arn": self.profile_arn,
            "role_arn": self.role_arn,
            "certificate": self.certificate,
            "private_key": self.private_key,
            "certificate_chain": self.chain,
            "endpoint_url": self.endpoint_url,
            # whatever the environment says, this is loopback
            "proxies": {},
            "use_fips_endpoint": False,
            "use_dualstack_endpoint": False,
        }


def least_privilege_trust_policy(
    *, region: str, account_id: str, trust_anchor_arn: str | None = None
) -> dict[str, Any]:
    """A role's trust policy for Roles Anywhere, bound to one trust anchor.

    Without *trust_anchor_arn* it is bound to all trust anchors of the account in
    the Region (UG/trust-model recommends both condition keys).
    """
    anchors = f"arn:{partition_of(region)}:rolesanywhere:{region}:{account_id}:trust-anchor/*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "rolesanywhere.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
                "Condition": {
                    "ArnLike": {"aws:SourceArn": trust_anchor_arn or anchors},
                    "StringEquals": {"aws:SourceAccount": account_id},
                },
            }
        ],
    }
