# SPDX-License-Identifier: Apache-2.0
"""The profile's part of `plan_setup`."""

from __future__ import annotations

import json
from typing import Any

from rolesanywhere_auth.provisioning._draft import Draft, change, differences, known, plain
from rolesanywhere_auth.provisioning.blueprint import Blueprint
from rolesanywhere_auth.provisioning.inventory import normal
from rolesanywhere_auth.provisioning.plan import PROFILE, Document, Later, Step, switch


def plan_profile(draft: Draft, role: str | Later) -> None:
    """Keep, adopt, change, replace or make the profile of *role*."""
    wanted = _profile_members(draft.blueprint, role)
    mine = draft.mine("profile", "profile")
    if mine is not None and not (mine.get("sessionPolicy") and "sessionPolicy" not in wanted):
        _own_profile(draft, mine, wanted)
        return
    if mine is not None:
        # UpdateProfile takes no empty session policy: the only way to be rid of one.
        draft.notes.append("the profile is replaced to drop its session policy: its ARN changes")
        draft.steps.append(
            Step(
                sign="-",
                title=f"profile {mine['name']}",
                service="rolesanywhere",
                operation="delete_profile",
                parameters={"profileId": mine["profileId"]},
                details=tuple(differences("session policy", _parsed(mine["sessionPolicy"]), None)),
            )
        )
    else:
        for other in draft.inventory.all("profile"):
            if (
                other["enabled"]
                and not _different(other, wanted)
                and ("sessionPolicy" in wanted or not other.get("sessionPolicy"))
                and draft.inventory.setup_of(other["profileArn"]) is None
            ):
                draft.keep(PROFILE, other["profileArn"], "adopt profile")
                return
    draft.steps.append(
        Step(
            sign="+",
            title=f"profile {draft.blueprint.name}",
            service="rolesanywhere",
            operation="create_profile",
            parameters={**wanted, "enabled": True, "tags": draft.tags},
            details=_profile_details(draft.blueprint),
            brings=(PROFILE, "profile", "profileArn"),
        )
    )


def _profile_members(blueprint: Blueprint, role: str | Later) -> dict[str, Any]:
    members: dict[str, Any] = {
        "name": blueprint.name,
        "roleArns": [role],
        "durationSeconds": blueprint.seconds,
        "acceptRoleSessionName": blueprint.accept_role_session_name,
        "managedPolicyArns": list(blueprint.session_policy_arns),
    }
    if blueprint.session_policy is not None:
        members["sessionPolicy"] = Document(blueprint.session_policy)
    return members


def _profile_details(blueprint: Blueprint) -> tuple[str, ...]:
    details = [f"sessions of {blueprint.seconds} seconds"]
    if blueprint.session_policy is not None:
        details.append(f"session policy {json.dumps(blueprint.session_policy)}")
    details += [f"session policy {arn}" for arn in blueprint.session_policy_arns]
    if blueprint.accept_role_session_name:
        details.append("clients may name their sessions")
    return tuple(details)


def _own_profile(draft: Draft, mine: dict[str, Any], wanted: dict[str, Any]) -> None:
    before = len(draft.steps)
    different = _different(mine, wanted)
    if different:
        details = [
            line
            for name in different
            for line in differences(name, _parsed(mine.get(name)), wanted[name])
        ]
        draft.steps.append(
            change(
                f"profile {draft.blueprint.name}",
                "update_profile",
                {"profileId": mine["profileId"], **{name: wanted[name] for name in different}},
                tuple(details),
            )
        )
    if not mine["enabled"]:
        title = f"profile {draft.blueprint.name}: enable"
        draft.steps.append(switch("profile", mine, to="enable", title=title))
    known(draft, PROFILE, mine["profileArn"], before, "profile")


def _different(profile: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """The members in which the profile is not as wanted."""
    return [
        name
        for name, value in wanted.items()
        if normal(_parsed(profile.get(name))) != normal(plain(value))
        and not (not value and not profile.get(name))
    ]


def _parsed(value: Any) -> Any:
    """A session policy as what its JSON means; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
