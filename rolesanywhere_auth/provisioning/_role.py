# SPDX-License-Identifier: Apache-2.0
"""The role's part of `plan_setup`."""

from __future__ import annotations

from typing import Any

from rolesanywhere_auth.errors import ProvisioningError, ResourceConflictError
from rolesanywhere_auth.provisioning._draft import Draft, change, differences, known
from rolesanywhere_auth.provisioning.blueprint import PATH, TAG, trust_policy
from rolesanywhere_auth.provisioning.inventory import Role, normal
from rolesanywhere_auth.provisioning.plan import ROLE, Document, Later, Step


def plan_role(draft: Draft, anchor: str | Later) -> str | Later:
    """Keep, adopt, change or make the role; its ARN."""
    wanted = draft.blueprint
    if wanted.role_arn is not None:
        return _given_role(draft, wanted.role_arn)
    name = wanted.role_name or wanted.name
    policy = trust_policy(wanted, account_id=draft.account_id, anchor=anchor)
    duration = max(3600, wanted.seconds)
    role = draft.inventory.role(name)
    if role is None:
        return _new_role(draft, name, policy, duration)
    if role.setup == wanted.name:
        elsewhere = role.elsewhere(draft.region)
        if elsewhere is not None:
            raise ResourceConflictError(
                f"the role {role.arn} is of the set-up {wanted.name} in {elsewhere}, which would "
                f"be cut off. Give the set-up in {draft.region} a name of its own",
                arns=(role.arn,),
            )
        return _own_role(draft, role, policy, duration)
    if role.setup is None and _is_as_wanted(draft, role, policy, duration):
        return draft.keep(ROLE, role.arn, "adopt role")
    whose = f"of the set-up {role.setup}" if role.setup else "not made by this set-up"
    raise ResourceConflictError(
        f"the role {role.arn} is there, {whose}, and not as wanted. Choose another name "
        "(role_name=, --role-name), or use it as it is (role_arn=, --role-arn).",
        arns=(role.arn,),
    )


def _given_role(draft: Draft, arn: str) -> str:
    if not draft.inventory.has_role(arn):
        raise ProvisioningError(
            f"there is no role {arn} in account {draft.account_id}: a profile takes roles of its "
            "own account, by their full ARNs. Look with: aws iam list-roles"
        )
    draft.notes.append("the role is not changed: see that its trust policy fits the trust anchor")
    return draft.keep(ROLE, arn, "adopt role")


def _is_as_wanted(draft: Draft, role: Role, policy: Any, duration: int) -> bool:
    return (
        normal(role.trust_policy) == normal(policy)
        and set(draft.blueprint.policy_arns) == set(role.policy_arns)
        and role.max_session_duration >= duration
    )


def _new_role(draft: Draft, name: str, policy: Any, duration: int) -> Later:
    conditions = policy["Statement"][0]["Condition"]
    draft.steps.append(
        Step(
            sign="+",
            title=f"role {name}",
            service="iam",
            operation="create_role",
            parameters={
                "RoleName": name,
                "Path": PATH,
                "AssumeRolePolicyDocument": Document(policy),
                "MaxSessionDuration": duration,
                "Tags": [{"Key": TAG, "Value": draft.blueprint.name}],
            },
            details=(
                "trusts rolesanywhere.amazonaws.com if",
                *(
                    f"  {key} {'matches' if operator == 'StringLike' else 'is'} {_text(value)}"
                    for operator, tests in conditions.items()
                    for key, value in tests.items()
                ),
            ),
            brings=(ROLE, "Role", "Arn"),
        )
    )
    for arn in draft.blueprint.policy_arns:
        draft.steps.append(_attachment("attach_role_policy", name, arn))
    if not draft.blueprint.policy_arns:
        draft.notes.append(
            "the role has no policies, so sessions may do nothing yet (policy_arns=, --policy-arn)"
        )
    return Later(ROLE)


def _text(value: Any) -> str:
    if isinstance(value, Later):
        return "the new trust anchor's"
    return value if isinstance(value, str) else " or ".join(map(str, value))


def _own_role(draft: Draft, role: Role, policy: Any, duration: int) -> str:
    before = len(draft.steps)
    if normal(role.trust_policy) != normal(policy):
        draft.steps.append(
            change(
                f"role {role.name}: trust policy",
                "update_assume_role_policy",
                {"RoleName": role.name, "PolicyDocument": Document(policy)},
                tuple(differences("trust policy", role.trust_policy, policy)),
                service="iam",
            )
        )
    if role.max_session_duration != duration:
        draft.steps.append(
            change(
                f"role {role.name}: maximum session duration",
                "update_role",
                {"RoleName": role.name, "MaxSessionDuration": duration},
                (f"{role.max_session_duration} -> {duration} seconds",),
                service="iam",
            )
        )
    wanted = draft.blueprint.policy_arns
    for arn in role.policy_arns:
        if arn not in wanted:
            draft.steps.append(_attachment("detach_role_policy", role.name, arn))
    for arn in wanted:
        if arn not in role.policy_arns:
            draft.steps.append(_attachment("attach_role_policy", role.name, arn))
    return known(draft, ROLE, role.arn, before, "role")


def _attachment(operation: str, role: str, arn: str) -> Step:
    adds = operation.startswith("attach")
    return Step(
        sign="+" if adds else "-",
        title=f"role {role}: policy {arn}",
        service="iam",
        operation=operation,
        parameters={"RoleName": role, "PolicyArn": arn},
    )
