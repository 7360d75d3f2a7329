# SPDX-License-Identifier: Apache-2.0
"""Makes things in the emulator, by requests to the service's own control plane."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.testing.service.wire import Request

if TYPE_CHECKING:
    from rolesanywhere_auth.testing.authority import CertificateAuthority, Leaf
    from rolesanywhere_auth.testing.service.core import Service


class Workshop:
    """Trust anchors, profiles and CRLs of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._anchors: list[tuple[CertificateAuthority, str]] = []
        self._crls: dict[tuple[int, str], str] = {}
        self._role_names: dict[str, int] = {}

    def forget(self) -> None:
        """Forget which authority belongs to which trust anchor, and the names of roles."""
        self._role_names.clear()
        self._anchors.clear()
        self._crls.clear()

    def unused(self, role_name: str) -> str:
        """*role_name*, or with a number behind it where it was given out before."""
        self._role_names[role_name] = count = self._role_names.get(role_name, 0) + 1
        return role_name if count == 1 else f"{role_name}-{count}"

    def trust_anchor(
        self, authority: CertificateAuthority, *, issuer: CertificateAuthority | None = None
    ) -> str:
        """An enabled trust anchor of *authority*'s certificate; its ARN.

        `revoke` knows it for leaves of *authority* and of *issuer*, a CA below.
        """
        data = {"x509CertificateData": authority.certificate_pem}
        source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": data}
        members = {"name": "emulator", "source": source, "enabled": True}
        arn: str = self._call("/trustanchors", members)["trustAnchor"]["trustAnchorArn"]
        known_to = [authority] if issuer in (None, authority) else [authority, issuer]
        self._anchors += [(known, arn) for known in known_to]
        return arn

    def profile(
        self, role_arn: str, *, session_duration: int, accept_role_session_name: bool
    ) -> str:
        """An enabled profile of one role; its ARN."""
        members = {
            "name": "emulator",
            "roleArns": [role_arn],
            "durationSeconds": session_duration,
            "acceptRoleSessionName": accept_role_session_name,
            "enabled": True,
        }
        arn: str = self._call("/profiles", members)["profile"]["profileArn"]
        return arn

    def revoke(self, leaf: Leaf) -> None:
        """Put *leaf* on its CA's CRL, and that into each trust anchor of the CA."""
        issuer = leaf.certificate.issuer
        known = [item for item in self._anchors if item[0].certificate.subject == issuer]
        if not known:
            raise ValueError(
                f"No trust anchor of {issuer.rfc4514_string()!r} was made by set_up() or "
                "create_trust_anchor(); import its CRL with control_plane().import_crl()."
            )
        for authority, anchor_arn in known:
            authority.revoke(leaf)
            self._import_crl(authority, anchor_arn)

    def _import_crl(self, authority: CertificateAuthority, anchor_arn: str) -> None:
        data = base64.b64encode(authority.crl_pem().encode()).decode()
        key = (authority.certificate.serial_number, anchor_arn)
        if key in self._crls:
            self._call(f"/crl/{self._crls[key]}", {"crlData": data}, method="PATCH")
            return
        members = {
            "name": "emulator",
            "crlData": data,
            "trustAnchorArn": anchor_arn,
            "enabled": True,
        }
        self._crls[key] = self._call("/crls", members)["crl"]["crlId"]

    def _call(self, path: str, members: dict[str, Any], *, method: str = "POST") -> dict[str, Any]:
        return call(self._service, path, members, method=method)


def call(
    service: Service,
    path: str,
    members: dict[str, Any],
    *,
    method: str = "POST",
    query: str = "",
) -> dict[str, Any]:
    """One call of the control plane, in this process; the answer's body.

    Raises:
        ValueError: The service refused it; its own words.
    """
    headers = (("Content-Type", "application/json"),)
    request = Request(method, path, query, headers, json.dumps(members).encode())
    answer = service.handle(request, unmetered=True)
    body: dict[str, Any] = json.loads(answer.body)
    if answer.status >= 300:
        raise ValueError(f"The emulator refused {method} {path}: {body['message']}")
    return body
