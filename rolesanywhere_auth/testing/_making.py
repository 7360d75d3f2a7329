# SPDX-License-Identifier: Apache-2.0
"""What `Emulator` makes: roles, trust anchors, and all that a sign-in needs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.testing._clients import check_role_duration, create_role
from rolesanywhere_auth.testing._setup import Setup, least_privilege_trust_policy
from rolesanywhere_auth.testing._workshop import Workshop
from rolesanywhere_auth.testing.authority import CertificateAuthority, Leaf, LeafKeyType
from rolesanywhere_auth.testing.service.directory import MemoryDirectory, Role
from rolesanywhere_auth.testing.service.state import partition_of


class Making:
    """The part of `Emulator` that makes things; it has the rest beside it."""

    region: str
    account_id: str
    _directory: MemoryDirectory | None
    _workshop: Workshop

    if TYPE_CHECKING:

        @property
        def endpoint_url(self) -> str:
            """The service over HTTP."""

        def now(self) -> datetime:
            """The emulator's time."""

        def client(self, service_name: str) -> Any:
            """A client for moto."""

        def _folder(self) -> Path: ...

    def create_role(
        self,
        name: str,
        *,
        trust_policy: Mapping[str, Any] | None = None,
        trust_anchor_arn: str | None = None,
        policy: Mapping[str, Any] | None = None,
        max_session_duration: int = 3600,
    ) -> str:
        """Make an IAM role and return its ARN.

        Args:
            name: The role's name; a path may stand before it.
            trust_policy: Default: Roles Anywhere from *trust_anchor_arn* alone, or from
                any trust anchor of this account and Region.
            trust_anchor_arn: For the default trust policy.
            policy: What the role may do; only moto (``aws=True``) can enforce it.
            max_session_duration: Seconds, 3,600 to 43,200.

        Raises:
            ValueError: *max_session_duration* is out of these bounds.
        """
        check_role_duration(max_session_duration)
        document = trust_policy
        if document is None:
            document = least_privilege_trust_policy(
                region=self.region, account_id=self.account_id, trust_anchor_arn=trust_anchor_arn
            )
        if self._directory is None:
            return create_role(
                self.client("iam"),
                name,
                trust_policy=document,
                policy=policy,
                max_session_duration=max_session_duration,
            )
        arn = f"arn:{partition_of(self.region)}:iam::{self.account_id}:role/{name}"
        self._directory.add(Role(arn, document, max_session_duration))
        return arn

    def set_up(
        self,
        *,
        authority: CertificateAuthority | None = None,
        anchor: CertificateAuthority | None = None,
        common_name: str = "app",
        key_type: LeafKeyType = "ec-p256",
        role_name: str = "app",
        role_arn: str | None = None,
        policy: Mapping[str, Any] | None = None,
        session_duration: int = 3600,
        accept_role_session_name: bool = False,
    ) -> Setup:
        """Make all that a sign-in needs, by the control plane's own API.

        Args:
            authority: Who issues the certificate; a new CA by default.
            anchor: The CA in the trust anchor; *authority* by default. Give the root
                here when *authority* is an intermediate.
            common_name: Of the certificate.
            key_type: Of the certificate's key.
            role_name: Of a new role for this trust anchor; with a number where it is taken.
            role_arn: An existing role, instead of a new one.
            policy: What the new role may do; needs ``aws=True`` to have an effect.
            session_duration: Seconds, of the profile; the role allows as much.
            accept_role_session_name: Whether clients may name their sessions.
        """
        authority = authority or CertificateAuthority(now=self.now)
        anchor_arn = self._workshop.trust_anchor(anchor or authority, issuer=authority)
        role_arn = role_arn or self.create_role(
            self._workshop.unused(role_name),
            trust_anchor_arn=anchor_arn,
            policy=policy,
            max_session_duration=max(session_duration, 3600),
        )
        profile_arn = self._workshop.profile(
            role_arn,
            session_duration=session_duration,
            accept_role_session_name=accept_role_session_name,
        )
        leaf = authority.issue(common_name, key_type=key_type)
        return Setup(
            authority=authority,
            leaf=leaf,
            trust_anchor_arn=anchor_arn,
            profile_arn=profile_arn,
            role_arn=role_arn,
            files=leaf.write_to(tempfile.mkdtemp(dir=self._folder())),
            endpoint_url=self.endpoint_url,
        )

    def create_trust_anchor(self, authority: CertificateAuthority) -> str:
        """Make an enabled trust anchor of *authority*'s certificate and return its ARN."""
        return self._workshop.trust_anchor(authority)

    def revoke(self, leaf: Leaf) -> None:
        """Put *leaf* on its CA's CRL and import that into the CA's trust anchors, enabled.

        Raises:
            ValueError: No trust anchor that this emulator made belongs to the CA.
        """
        self._workshop.revoke(leaf)
