"""Whether a role's trust policy lets IAM Roles Anywhere act on the role.

An evaluator of IAM policies, as small as trust policies allow. The rules are
those of the IAM User Guide, "IAM JSON policy elements": ``Principal``,
``Action``, ``Condition`` and "Condition operators", and "Policy evaluation
logic" (an explicit deny wins, nothing said means no).

What it does not know it refuses to judge: `UnsupportedPolicyError` names the
element or operator. It never lets a request pass because of something it did
not understand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SERVICE = "rolesanywhere.amazonaws.com"

_VERSIONS = ("2012-10-17", "2008-10-17")
_ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Condition"}
_LATER = {"NotPrincipal", "NotAction"}
_PRINCIPAL_TYPES = {"AWS", "Service", "Federated", "CanonicalUser"}


class PolicyError(ValueError):
    """The document is no valid trust policy; the message says where and why."""


class UnsupportedPolicyError(PolicyError):
    """The document may be valid, but this evaluator does not know a part of it."""


@dataclass(frozen=True)
class Decision:
    """What the policy says; ``reason`` names the statement or condition that decided."""

    allowed: bool
    reason: str


@dataclass(frozen=True)
class _Condition:
    operator: str
    key: str
    wanted: tuple[str, ...]
    if_exists: bool


@dataclass(frozen=True)
class _Statement:
    label: str
    effect: str
    services: tuple[str, ...]
    anyone: bool
    actions: tuple[str, ...]
    conditions: tuple[_Condition, ...]


def allows(
    document: str | Mapping[str, Any],
    *,
    action: str,
    service: str = SERVICE,
    context: Mapping[str, str | Sequence[str]],
) -> Decision:
    """Decide whether *document* lets *service* do *action* in *context*.

    The whole document is read before anything is decided, so that an unknown
    operator is noticed in a statement that would not have applied as well.

    Args:
        document: The trust policy, as JSON text or already parsed.
        action: One action, such as ``sts:TagSession``. Ask for each action on
            its own: they may be allowed by different statements.
        service: The service principal that asks.
        context: Condition keys and values; keys in any case. An absent key is
            left out, not set to the empty string.

    Raises:
        PolicyError: The document is malformed.
        UnsupportedPolicyError: It uses something that this evaluator does not know.
    """
    statements = _statements(document)
    values = {key.lower(): value for key, value in context.items()}
    judged = [(s, _objection(s, action, service, values)) for s in statements]
    for effect in ("Deny", "Allow"):
        for statement, objection in judged:
            if statement.effect == effect and objection is None:
                verb = "denies" if effect == "Deny" else "allows"
                reason = f"{statement.label} {verb} {action}"
                return Decision(allowed=effect == "Allow", reason=reason)
    why = "; ".join(f"{s.label}: {o}" for s, o in judged if s.effect == "Allow")
    return Decision(
        allowed=False, reason=f"no statement allows {action}" + (f": {why}" if why else "")
    )


def _objection(
    statement: _Statement,
    action: str,
    service: str,
    values: Mapping[str, str | Sequence[str]],
) -> str | None:
    """Why *statement* does not apply, or None if it does."""
    if not statement.anyone and service not in statement.services:
        return f"its Principal does not name the service {service}"
    if not any(_like(pattern.lower(), action.lower()) for pattern in statement.actions):
        return f"its Action does not list {action}"
    for condition in statement.conditions:
        value = _single(condition.key, values.get(condition.key.lower()))
        if not _holds(condition, value):
            name = condition.operator + ("IfExists" if condition.if_exists else "")
            found = "no such key" if value is None else repr(value)
            return f"{name} {condition.key} wants {list(condition.wanted)}, the request has {found}"
    return None


# Conditions


def _like(pattern: str, value: str) -> bool:
    # Not fnmatch: there "[" is special, in IAM it is a letter like any other.
    parts = {"*": ".*", "?": "."}
    regex = "".join(parts.get(letter) or re.escape(letter) for letter in pattern)
    return re.fullmatch(regex, value, re.DOTALL) is not None


def _arn_like(pattern: str, value: str) -> bool:
    # "Each of the six colon-delimited components of the ARN is checked separately".
    wanted, found = pattern.split(":", 5), value.split(":", 5)
    return len(found) == 6 and all(map(_like, wanted, found))


_POSITIVE: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.casefold() == value.casefold(),
    "StringLike": _like,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
}
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def _holds(condition: _Condition, value: str | None) -> bool:
    operator = condition.operator
    if operator == "Null":
        return str(value is None).lower() in (text.lower() for text in condition.wanted)
    if value is None:
        # A negated operator is true for a key that the request does not have.
        return condition.if_exists or operator in _NEGATED
    matches = _POSITIVE[_NEGATED.get(operator, operator)]
    found = any(matches(wanted, value) for wanted in condition.wanted)
    return found != (operator in _NEGATED)


def _single(key: str, value: str | Sequence[str] | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if len(value) > 1:
        raise UnsupportedPolicyError(
            f"condition key {key} has several values in this request, which needs "
            "ForAllValues or ForAnyValue; this evaluator knows neither"
        )
    return value[0] if value else None


# Reading the document


def _statements(document: str | Mapping[str, Any]) -> tuple[_Statement, ...]:
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError as error:
            raise PolicyError(f"the trust policy is not JSON: {error}") from error
    if not isinstance(document, Mapping):
        raise PolicyError("the trust policy must be a JSON object with a Statement")
    if document.get("Version", _VERSIONS[1]) not in _VERSIONS:
        raise PolicyError(f"Version {document['Version']!r} is not one of {', '.join(_VERSIONS)}")
    statements = document.get("Statement")
    if isinstance(statements, Mapping):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise PolicyError("the trust policy has no Statement (an object or a list of objects)")
    return tuple(_statement(raw, number) for number, raw in enumerate(statements, start=1))


def _statement(raw: object, number: int) -> _Statement:
    label = f"statement {number}"
    if not isinstance(raw, Mapping):
        raise PolicyError(f"{label} is not a JSON object")
    if raw.get("Sid"):
        label += f" ({raw['Sid']})"
    for name in raw:
        if name in _LATER:
            raise UnsupportedPolicyError(f"{label}: {name} is not supported by this evaluator")
        if name not in _ELEMENTS:
            raise PolicyError(f"{label}: {name} is no element of a trust policy's statement")
    if raw.get("Effect") not in ("Allow", "Deny"):
        raise PolicyError(f"{label}: Effect must be Allow or Deny, not {raw.get('Effect')!r}")
    services, anyone = _principal(raw.get("Principal"), label)
    actions = _strings(raw.get("Action"), f"{label}: Action")
    conditions = _conditions(raw.get("Condition", {}), label)
    return _Statement(label, raw["Effect"], services, anyone, actions, conditions)


def _principal(raw: object, label: str) -> tuple[tuple[str, ...], bool]:
    """The services that *raw* names, and whether it names everyone."""
    if raw == "*":
        return (), True
    if not isinstance(raw, Mapping) or not raw:
        raise PolicyError(f'{label}: Principal must be "*" or an object such as {{"Service": …}}')
    if unknown := set(raw) - _PRINCIPAL_TYPES:
        raise PolicyError(f"{label}: Principal has no type {', '.join(sorted(unknown))}")
    names = {kind: _strings(value, f"{label}: Principal {kind}") for kind, value in raw.items()}
    services = names.get("Service", ())
    for name in services:
        if "*" in name:
            raise UnsupportedPolicyError(f"{label}: wildcard in Principal Service {name!r}")
    # {"AWS": "*"} and "*" are equivalent (IAM User Guide, "Principal": all principals).
    return services, "*" in names.get("AWS", ())


def _conditions(raw: object, label: str) -> tuple[_Condition, ...]:
    if not isinstance(raw, Mapping):
        raise PolicyError(f"{label}: Condition must be an object of operators")
    found = []
    for operator, keys in raw.items():
        name = operator.removesuffix("IfExists")
        if name not in _POSITIVE and name not in _NEGATED and operator != "Null":
            raise UnsupportedPolicyError(
                f"{label}: condition operator {operator} is not supported by this evaluator"
            )
        if not isinstance(keys, Mapping) or not keys:
            raise PolicyError(f"{label}: {operator} must be an object of condition keys")
        for key, value in keys.items():
            wanted = _wanted(name, value, f"{label}: {operator} {key}")
            found.append(_Condition(name, key, wanted, operator != name))
    return tuple(found)


def _wanted(operator: str, raw: object, where: str) -> tuple[str, ...]:
    values = _strings(raw, where)
    for value in values:
        if "${" in value:
            raise UnsupportedPolicyError(f"{where}: policy variable in {value!r} is not supported")
        if operator.startswith("Arn") and value.count(":") < 5:
            raise UnsupportedPolicyError(f"{where}: {value!r} has not the six parts of an ARN")
        if operator in ("Null", "Bool") and value.lower() not in ("true", "false"):
            raise PolicyError(f'{where}: {value!r} must be "true" or "false"')
    return values


def _strings(raw: object, where: str) -> tuple[str, ...]:
    """One value or a list of them, as strings; true and false in lower case as in JSON."""
    values = raw if isinstance(raw, list) else [raw]
    if not values or not all(isinstance(value, (str, bool, int, float)) for value in values):
        raise PolicyError(f"{where} must be a string or a list of strings")
    return tuple(str(v).lower() if isinstance(v, bool) else str(v) for v in values)
