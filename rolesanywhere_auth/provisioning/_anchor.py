# SPDX-License-Identifier: Apache-2.0
"""The trust anchor's part of `plan_setup`."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.errors import ProvisioningError, ResourceConflictError
from rolesanywhere_auth.provisioning._draft import Draft, change, known
from rolesanywhere_auth.provisioning.blueprint import Blueprint, read_bundle
from rolesanywhere_auth.provisioning.plan import TRUST_ANCHOR, Later, Step, switch

if TYPE_CHECKING:
    from rolesanywhere_auth.certificates import Certificate


def plan_anchor(draft: Draft, *, now: datetime) -> str | Later:
    """Keep, adopt, change or make the trust anchor; its ARN."""
    wanted = draft.blueprint
    if wanted.trust_anchor_arn is not None:
        return _given_anchor(draft, wanted.trust_anchor_arn)
    source, trusts = _source(wanted, now=now)
    mine = draft.mine("trustAnchor", "trust anchor")
    if mine is not None:
        return _own_anchor(draft, mine, source, trusts)
    for other in draft.inventory.all("trustAnchor"):
        if _identity(other["source"]) == _identity(source):
            # A CRL belongs to one trust anchor: a second one for the same CA would still take
            # what the first refuses. Only another set-up's, which goes with it, is none for us.
            if draft.inventory.setup_of(other["trustAnchorArn"]) is None:
                return _adopted_anchor(draft, other)
            draft.notes.append(
                f"{other['trustAnchorArn']} of another set-up trusts the same CA: a certificate "
                "must be revoked for both"
            )
    draft.steps.append(
        Step(
            sign="+",
            title=f"trust anchor {wanted.name}",
            service="rolesanywhere",
            operation="create_trust_anchor",
            parameters={
                "name": wanted.name,
                "source": source,
                "enabled": True,
                "tags": draft.tags,
            },
            details=tuple(f"trusts {each}" for each in trusts),
            brings=(TRUST_ANCHOR, "trustAnchor", "trustAnchorArn"),
        )
    )
    return Later(TRUST_ANCHOR)


def _given_anchor(draft: Draft, arn: str) -> str:
    found = [a for a in draft.inventory.all("trustAnchor") if a["trustAnchorArn"] == arn]
    if not found:
        raise ProvisioningError(
            f"there is no trust anchor {arn} in this account and Region; look with: "
            "aws rolesanywhere list-trust-anchors"
        )
    return _adopted_anchor(draft, found[0])


def _adopted_anchor(draft: Draft, anchor: dict[str, Any]) -> str:
    arn: str = anchor["trustAnchorArn"]
    if not anchor["enabled"]:
        raise ResourceConflictError(
            f"the trust anchor {arn} trusts this CA, but is disabled, and not ours to enable. "
            "Enable or delete it: aws rolesanywhere enable-trust-anchor --trust-anchor-id "
            f"{arn.rpartition('/')[2]}",
            arns=(arn,),
        )
    return draft.keep(TRUST_ANCHOR, arn, "adopt trust anchor")


def _own_anchor(
    draft: Draft, anchor: dict[str, Any], source: dict[str, Any], trusts: list[str]
) -> str:
    before = len(draft.steps)
    if _identity(anchor["source"]) != _identity(source):
        details = (
            *(f"- trusts {each}" for each in _trusts(anchor["source"])),
            *(f"+ trusts {each}" for each in trusts),
        )
        draft.steps.append(
            change(
                f"trust anchor {draft.blueprint.name}: the CA",
                "update_trust_anchor",
                {"trustAnchorId": anchor["trustAnchorId"], "source": source},
                details,
            )
        )
    if not anchor["enabled"]:
        title = f"trust anchor {draft.blueprint.name}: enable"
        draft.steps.append(switch("trustAnchor", anchor, to="enable", title=title))
    return known(draft, TRUST_ANCHOR, anchor["trustAnchorArn"], before, "trust anchor")


def _source(blueprint: Blueprint, *, now: datetime) -> tuple[dict[str, Any], list[str]]:
    """The source of the trust anchor as the API has it, and for people."""
    if blueprint.acm_pca_arn is not None:
        source: dict[str, Any] = {
            "sourceType": "AWS_ACM_PCA",
            "sourceData": {"acmPcaArn": blueprint.acm_pca_arn},
        }
        return source, [blueprint.acm_pca_arn]
    assert blueprint.ca_bundle is not None
    certificates = read_bundle(blueprint.ca_bundle, now=now)
    pem = "".join(_pem(certificate.der) for certificate in certificates)
    source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": pem}}
    return source, [_described(certificate) for certificate in certificates]


def _pem(der: bytes) -> str:
    body = base64.encodebytes(der).decode().replace("\n", "")
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def _described(certificate: Certificate) -> str:
    digest = hashlib.sha256(certificate.der).hexdigest()
    return (
        f"{certificate.subject_text}, until {certificate.not_valid_after:%Y-%m-%d}, "
        f"SHA-256 {digest[:16]}…"
    )


def bundle_of(source: dict[str, Any]) -> list[Certificate]:
    """The certificates in a trust anchor's source; none where it is another kind."""
    from rolesanywhere_auth._containers import read_material
    from rolesanywhere_auth._loading import Parts

    text = source.get("sourceData", {}).get("x509CertificateData")
    if not text:
        return []
    return Parts(None, read_material, None).certificates(text.encode(), role="trust anchor")[0]


def _trusts(source: dict[str, Any]) -> list[str]:
    certificates = bundle_of(source)
    if certificates:
        return [_described(certificate) for certificate in certificates]
    return [json.dumps(source.get("sourceData"))]


def _identity(source: dict[str, Any]) -> object:
    """Equal for two sources that trust the same."""
    certificates = bundle_of(source)
    if certificates:
        return frozenset(certificate.der for certificate in certificates)
    return (source.get("sourceType"), json.dumps(source.get("sourceData"), sort_keys=True))
