# SPDX-License-Identifier: Apache-2.0
"""The parameters of CreateSession, from the query string or the JSON body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from rolesanywhere_auth.testing.service import validation
from rolesanywhere_auth.testing.service.model import json_object
from rolesanywhere_auth.testing.service.wire import Refusal, Request

# CreateSession is in no service model. The ARN patterns are those that botocore's model has
# for the same things; the other limits are AWS's documentation of CreateSession and of STS.
_ARN_RULES: dict[str, dict[str, Any]] = {
    "trustAnchorArn": {
        "min": 1,
        "max": 1011,
        "pattern": r"arn:aws(-[^:]+)?:rolesanywhere:[a-z0-9-]+:\d{12}:trust-anchor/[^/:]+",
    },
    "profileArn": {
        "min": 1,
        "max": 1011,
        "pattern": r"arn:aws(-[^:]+)?:rolesanywhere:[a-z0-9-]+:\d{12}:profile/[^/:]+",
    },
    "roleArn": {"min": 1, "max": 1011, "pattern": r"arn:aws(-[^:]+)?:iam::\d{12}:role/.+"},
}
_DURATION_RULES = {"min": 900, "max": 43200}
_PROPERTY_RULES = {"min": 1, "max": 200}
_PROPERTIES_MAXIMUM = 50
ROLE_SESSION_NAME_RULES = {"min": 2, "max": 64, "pattern": r"[\w+=,.@-]*"}


@dataclass(frozen=True)
class Parameters:
    """What a CreateSession call asks for; the duration in seconds."""

    trust_anchor_arn: str
    profile_arn: str
    role_arn: str
    duration_seconds: int | None = None
    role_session_name: str | None = None
    instance_properties: dict[str, str] = field(default_factory=dict)

    def as_sent(self) -> dict[str, Any]:
        """The parameters by their names on the wire, without those that were not given."""
        members = {
            "trustAnchorArn": self.trust_anchor_arn,
            "profileArn": self.profile_arn,
            "roleArn": self.role_arn,
            "durationSeconds": self.duration_seconds,
            "roleSessionName": self.role_session_name,
            "instanceProperties": self.instance_properties or None,
        }
        return {name: value for name, value in members.items() if value is not None}


def read_parameters(request: Request) -> Parameters:
    """The parameters of *request*; where query and body differ the query wins (ours).

    Raises:
        Refusal: ``ValidationException`` for a missing or malformed parameter,
            ``SerializationException`` for a body or a type that cannot be read.
    """
    query = dict(parse_qsl(request.query, keep_blank_values=True))
    values = {**json_object(request.body), **query}
    duration = _duration(values.get("durationSeconds"))
    properties = _mapping(values.get("instanceProperties"))
    strings = {name: _string(name, values.get(name)) for name in (*_ARN_RULES, "roleSessionName")}
    failures = list(_failures(strings, duration, properties))
    if failures:
        raise validation.refusal(failures)
    return Parameters(
        trust_anchor_arn=strings["trustAnchorArn"] or "",
        profile_arn=strings["profileArn"] or "",
        role_arn=strings["roleArn"] or "",
        duration_seconds=duration,
        role_session_name=strings["roleSessionName"],
        instance_properties=properties,
    )


def _failures(
    strings: Mapping[str, str | None], duration: int | None, properties: Mapping[str, str]
) -> Iterator[str]:
    for name, rules in _ARN_RULES.items():
        value = strings[name]
        if value is None:
            yield validation.constraint_failure(None, name, "Member must not be null")
        else:
            yield from validation.string_failures(rules, value, name)
    if duration is not None:
        yield from validation.number_failures(_DURATION_RULES, duration, "durationSeconds")
    yield from validation.length_failures(
        {"max": _PROPERTIES_MAXIMUM}, properties, "instanceProperties"
    )
    for which, texts in (("Map keys", properties.keys()), ("Map value", properties.values())):
        if any(any(validation.string_failures(_PROPERTY_RULES, text, "")) for text in texts):
            yield validation.members_failure(
                _PROPERTY_RULES, properties, "instanceProperties", which=which
            )


def _unreadable(name: str, wanted: str) -> Refusal:
    return Refusal(400, "SerializationException", f"The parameter '{name}' must be {wanted}.")


def _string(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _unreadable(name, "a string")
    return value


def _duration(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise _unreadable("durationSeconds", "a whole number of seconds")


def _mapping(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return value
    raise _unreadable("instanceProperties", "an object of strings")
