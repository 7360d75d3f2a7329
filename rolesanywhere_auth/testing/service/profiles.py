# SPDX-License-Identifier: Apache-2.0
"""The profile operations of the control plane."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from rolesanywhere_auth.testing.service import attributes, limits, resources, texts
from rolesanywhere_auth.testing.service.resources import Call, Handler
from rolesanywhere_auth.testing.service.state import Profile
from rolesanywhere_auth.testing.service.wire import invalid


def describe(call: Call, profile: Profile) -> dict[str, Any]:
    """The ProfileDetailResponse."""
    return {"profile": resources.detail(call, profile)}


def create(call: Call) -> dict[str, Any]:
    """CreateProfile. Disabled unless ``enabled`` is true; 3,600 seconds unless said otherwise."""
    identifier = call.new_id()
    members = call.members
    _check_roles(call, members["roleArns"])
    place = f"account {call.shelf.account_id}, Region {call.shelf.region}"
    present = call.shelf.all(Profile)
    limits.check_room(present, call.limits.profiles, what=f"profiles in {place}")
    profile = Profile(
        profile_id=identifier,
        profile_arn=call.shelf.arn("profile", identifier),
        name=members["name"],
        role_arns=tuple(members["roleArns"]),
        enabled=members.get("enabled", False),
        created_at=call.now,
        updated_at=call.now,
        created_by=call.caller.arn,
        attribute_mappings=tuple(attributes.default_mappings()),
        duration_seconds=members.get("durationSeconds", 3600),
        accept_role_session_name=members.get("acceptRoleSessionName", False),
        require_instance_properties=members.get("requireInstanceProperties", False),
        session_policy=members.get("sessionPolicy"),
        managed_policy_arns=tuple(members.get("managedPolicyArns", [])),
    )
    return resources.created(call, profile, describe)


def update(call: Call) -> dict[str, Any]:
    """UpdateProfile: each member that the call names replaces the stored one."""
    members = call.members
    profile = call.shelf.find(Profile, members["profileId"])
    _check_roles(call, members.get("roleArns", profile.role_arns))
    profile = replace(
        profile,
        name=members.get("name", profile.name),
        role_arns=tuple(members.get("roleArns", profile.role_arns)),
        session_policy=members.get("sessionPolicy", profile.session_policy),
        managed_policy_arns=tuple(members.get("managedPolicyArns", profile.managed_policy_arns)),
        duration_seconds=members.get("durationSeconds", profile.duration_seconds),
        accept_role_session_name=members.get(
            "acceptRoleSessionName", profile.accept_role_session_name
        ),
    )
    return resources.updated(call, profile, describe)


def put_mapping(call: Call) -> dict[str, Any]:
    """PutAttributeMapping: adds rules to one certificate field (UG/put-attribute-mapping).

    Raises:
        Refusal: ``ValidationException`` for a specifier that cannot stand for anything in
            this field (which ones AWS refuses is not known, nor its text).
    """
    profile = call.shelf.find(Profile, call.members["profileId"])
    field = call.members["certificateField"]
    added = [_shown(rule["specifier"]) for rule in call.members["mappingRules"]]
    for specifier in added:
        attributes.check_specifier(field, specifier)
    rules = dict.fromkeys((*_rules(profile, field), *added))
    return _store_mappings(call, profile, field, tuple(rules))


def delete_mapping(call: Call) -> dict[str, Any]:
    """DeleteAttributeMapping: takes away the named specifiers.

    Ours, since AWS does not say: without specifiers all rules of the field go, and a
    specifier that is not there is a ValidationException.
    """
    profile = call.shelf.find(Profile, call.members["profileId"])
    field = call.members["certificateField"]
    rules = _rules(profile, field)
    gone = [_shown(specifier) for specifier in call.members.get("specifiers", rules)]
    unknown = [specifier for specifier in gone if specifier not in rules]
    if unknown:
        raise invalid(
            f"The profile maps no {', '.join(unknown)} of {field}; "
            f"it maps {', '.join(rules) or 'nothing'}."
        )
    return _store_mappings(call, profile, field, tuple(r for r in rules if r not in gone))


def _rules(profile: Profile, field: str) -> tuple[str, ...]:
    mappings = [m for m in profile.attribute_mappings if m["certificateField"] == field]
    return tuple(rule["specifier"] for mapping in mappings for rule in mapping["mappingRules"])


def _store_mappings(
    call: Call, profile: Profile, field: str, rules: tuple[str, ...]
) -> dict[str, Any]:
    mapped = {m["certificateField"]: m["mappingRules"] for m in profile.attribute_mappings}
    mapped[field] = [{"specifier": rule} for rule in rules]
    mappings = tuple(
        {"certificateField": name, "mappingRules": rules} for name, rules in mapped.items() if rules
    )
    return resources.updated(call, replace(profile, attribute_mappings=mappings), describe)


def _shown(specifier: str) -> str:
    # UG/attribute-mapping: "Name" and "Name/" are stored and shown as "Name/*".
    return "Name/*" if specifier in ("Name", "Name/") else specifier


def enable(call: Call) -> dict[str, Any]:
    """EnableProfile. Like a create it needs ``iam:PassRole`` (service authorization reference)."""
    _check_roles(call, call.shelf.find(Profile, call.members["profileId"]).role_arns)
    return _switch_on(call)


_switch_on = resources.switch(Profile, "profileId", describe, enabled=True)


def _check_roles(call: Call, role_arns: Iterable[str]) -> None:
    """Roles are of the profile's account, and the caller may pass each of them."""
    for arn in role_arns:
        if arn.split(":")[4] != call.shelf.account_id:
            raise texts.CROSS_ACCOUNT_ROLE.refusal()
        call.caller.check("iam:PassRole", arn)


HANDLERS: dict[str, Handler] = {
    "CreateProfile": create,
    "UpdateProfile": update,
    "PutAttributeMapping": put_mapping,
    "DeleteAttributeMapping": delete_mapping,
    "GetProfile": resources.getter(Profile, "profileId", describe),
    "DeleteProfile": resources.deleter(Profile, "profileId", describe),
    "EnableProfile": enable,
    "DisableProfile": resources.switch(Profile, "profileId", describe, enabled=False),
    "ListProfiles": resources.lister(Profile, "profiles", describe),
}
