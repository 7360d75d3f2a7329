# SPDX-License-Identifier: Apache-2.0
"""`plan_teardown`: removes what a set-up made, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth.provisioning.blueprint import check_name
from rolesanywhere_auth.provisioning.inventory import Inventory, Role
from rolesanywhere_auth.provisioning.plan import Plan, Step, switch

if TYPE_CHECKING:
    from rolesanywhere_auth.provisioning.admin import Admin


def plan_teardown(name: str, admin: Admin) -> Plan:
    """Look for all that the set-up *name* made, known by its tag; nothing is changed.

    Profiles go first, so that nobody can sign in to what is half removed, and CRLs only when
    their trust anchor is disabled, so that no revoked certificate ever counts again.

    Raises:
        ConfigurationError: *name* cannot be the name of a set-up.
        MissingPermissionError: *admin* may not look.
        ProvisioningError: Any other refusal of AWS.
    """
    check_name(name)
    inventory = Inventory(admin)
    steps: list[Step] = [
        _removal(f"profile {item['name']}", "delete_profile", {"profileId": item["profileId"]},
                 item["profileArn"])
        for item in inventory.made_by(name, "profile")
    ]  # fmt: skip
    roles = inventory.roles_made_by(name)
    for role in roles:
        if role.elsewhere(admin.region) is None:
            steps += _role(role, inventory)
    anchors = inventory.made_by(name, "trustAnchor")
    steps += [
        switch("trustAnchor", item, to="disable", title=f"trust anchor {item['name']}: disable")
        for item in anchors
        if item["enabled"]
    ]
    steps += [
        _removal(f"CRL {item['name']}", "delete_crl", {"crlId": item["crlId"]}, item["crlArn"])
        for item in inventory.made_by(name, "crl")
    ]
    steps += [
        _removal(
            f"trust anchor {item['name']}",
            "delete_trust_anchor",
            {"trustAnchorId": item["trustAnchorId"]},
            item["trustAnchorArn"],
        )
        for item in anchors
    ]
    return Plan(
        title=f"Teardown of {name} in account {admin.account_id}, {admin.region}",
        steps=tuple(steps),
        notes=(*_others(roles, admin.region), *_notes(name, anchors, inventory)),
    )


def _others(roles: list[Role], region: str) -> Iterator[str]:
    for role in roles:
        elsewhere = role.elsewhere(region)
        if elsewhere is not None:
            yield f"the role {role.arn} is of the set-up of this name in {elsewhere}, and stays"


def _notes(name: str, anchors: list[dict[str, Any]], inventory: Inventory) -> Iterator[str]:
    gone = {item["trustAnchorArn"] for item in anchors}
    for item in inventory.all("crl") if gone else []:
        if item["trustAnchorArn"] in gone and inventory.setup_of(item["crlArn"]) != name:
            yield f"the CRL {item['crlArn']} was made by somebody else, and stays"


def _role(role: Role, inventory: Inventory) -> Iterator[Step]:
    for arn in role.policy_arns:
        yield _iam("detach_role_policy", f"role {role.name}: policy {arn}",
                   {"RoleName": role.name, "PolicyArn": arn})  # fmt: skip
    for policy in inventory.inline_policies(role):
        yield _iam("delete_role_policy", f"role {role.name}: its own policy {policy}",
                   {"RoleName": role.name, "PolicyName": policy})  # fmt: skip
    yield _iam("delete_role", f"role {role.name}", {"RoleName": role.name}, role.arn)


def _iam(operation: str, title: str, parameters: dict[str, Any], *details: str) -> Step:
    return Step(
        sign="-",
        title=title,
        service="iam",
        operation=operation,
        parameters=parameters,
        details=details,
    )


def _removal(title: str, operation: str, parameters: dict[str, Any], arn: str) -> Step:
    return Step(
        sign="-",
        title=title,
        service="rolesanywhere",
        operation=operation,
        parameters=parameters,
        details=(arn,),
    )
