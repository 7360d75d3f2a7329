# SPDX-License-Identifier: Apache-2.0
"""The CRL operations of the control plane."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rolesanywhere_auth.testing.service import resources
from rolesanywhere_auth.testing.service.limits import check_room
from rolesanywhere_auth.testing.service.resources import Call, Handler
from rolesanywhere_auth.testing.service.revocation import load_crl
from rolesanywhere_auth.testing.service.state import CRL, TrustAnchor
from rolesanywhere_auth.testing.service.wire import not_found


def describe(call: Call, crl: CRL) -> dict[str, Any]:
    """The CrlDetailResponse."""
    return {"crl": resources.detail(call, crl)}


def import_crl(call: Call) -> dict[str, Any]:
    """ImportCrl. Disabled unless ``enabled`` is true; two for each trust anchor (UG/quotas)."""
    members = call.members
    identifier = call.new_id()
    anchor_arn = members["trustAnchorArn"]
    if ":alias/" in anchor_arn:
        # The model's documentation: an alias ARN here is answered with ResourceNotFoundException.
        raise not_found(f"ImportCrl takes the trust anchor's own ARN, not the alias {anchor_arn}.")
    present = [crl for crl in call.shelf.all(CRL) if crl.trust_anchor_arn == anchor_arn]
    check_room(
        present, call.limits.crls_per_trust_anchor, what=f"CRLs of trust anchor {anchor_arn}"
    )
    crl = CRL(
        crl_id=identifier,
        crl_arn=call.shelf.arn("crl", identifier),
        name=members["name"],
        crl_data=members["crlData"],
        parsed=load_crl(members["crlData"]),
        trust_anchor_arn=call.shelf.find(TrustAnchor, anchor_arn).trust_anchor_arn,
        enabled=members.get("enabled", False),
        created_at=call.now,
        updated_at=call.now,
    )
    return resources.created(call, crl, describe)


def update(call: Call) -> dict[str, Any]:
    """UpdateCrl: name, list and alias."""
    members = call.members
    crl = call.shelf.find(CRL, members["crlId"])
    if "crlData" in members:
        data = members["crlData"]
        crl = replace(crl, crl_data=data, parsed=load_crl(data))
    return resources.updated(call, replace(crl, name=members.get("name", crl.name)), describe)


HANDLERS: dict[str, Handler] = {
    "ImportCrl": import_crl,
    "UpdateCrl": update,
    "GetCrl": resources.getter(CRL, "crlId", describe),
    "DeleteCrl": resources.deleter(CRL, "crlId", describe),
    "EnableCrl": resources.switch(CRL, "crlId", describe, enabled=True),
    "DisableCrl": resources.switch(CRL, "crlId", describe, enabled=False),
    "ListCrls": resources.lister(CRL, "crls", describe),
}
