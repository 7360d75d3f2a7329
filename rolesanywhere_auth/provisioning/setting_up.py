# SPDX-License-Identifier: Apache-2.0
"""`plan_setup`: what it takes from what is there to what a `Blueprint` wants."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rolesanywhere_auth.arns import check_arns
from rolesanywhere_auth.provisioning._anchor import plan_anchor
from rolesanywhere_auth.provisioning._draft import Draft
from rolesanywhere_auth.provisioning._profile import plan_profile
from rolesanywhere_auth.provisioning._role import plan_role
from rolesanywhere_auth.provisioning.plan import PROFILE, ROLE, TRUST_ANCHOR, Plan

if TYPE_CHECKING:
    from rolesanywhere_auth.provisioning.admin import Admin
    from rolesanywhere_auth.provisioning.blueprint import Blueprint


def plan_setup(blueprint: Blueprint, admin: Admin, *, now: datetime) -> Plan:
    """Look at what is there and plan the rest; nothing is changed.

    What this set-up made earlier, known by its tag, is brought in line with *blueprint*. Of
    the rest, what is just as wanted is adopted as it is, and never changed.

    Args:
        blueprint: What is wanted.
        admin: With whose permissions to look.
        now: The time, aware.

    Raises:
        CertificateError: The CA bundle is of no use.
        ResourceConflictError: Something that is not ours stands in the way.
        MissingPermissionError: *admin* may not look.
        ProvisioningError: Any other refusal of AWS.
    """
    draft = Draft(blueprint, admin)
    anchor = plan_anchor(draft, now=now)
    plan_profile(draft, plan_role(draft, anchor))
    if {TRUST_ANCHOR, PROFILE, ROLE} <= draft.known.keys():
        check_arns(**draft.known)
    if not blueprint.require and blueprint.role_arn is None:
        draft.notes.append(
            "every certificate of this CA may take the role; require=, or --require, narrows that"
        )
    return Plan(
        title=f"Set-up {blueprint.name} in account {admin.account_id}, {admin.region}",
        steps=tuple(draft.steps),
        known=draft.known,
        kept=tuple(draft.kept),
        notes=tuple(draft.notes),
    )
