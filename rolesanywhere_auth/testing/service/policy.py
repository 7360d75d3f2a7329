# SPDX-License-Identifier: Apache-2.0
"""What IAM policies say: trust policies of roles, and policies that give permissions.

The rules are those of the IAM User Guide: "IAM JSON policy elements" (``Principal``,
``NotPrincipal``, ``Action``, ``NotAction``, ``Resource``, ``NotResource``; pages
reference_policies_elements_*) and "Policy evaluation logic"
(reference_policies_evaluation-logic: an explicit deny wins, nothing said means no).
Conditions are in the module `conditions`.

What it does not know it refuses to judge: `UnsupportedPolicyError` names the
element or operator. It never lets a request pass because of something it did
not understand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolesanywhere_auth.testing.service.conditions import (
    Condition,
    PolicyError,
    UnsupportedPolicyError,
    read_conditions,
    request_context,
    strings,
)
from rolesanywhere_auth.testing.service.wildcards import (
    Context,
    SeveralValuesError,
    Template,
    TemplateError,
    like,
    resource_template,
    template,
)

__all__ = ["SERVICE", "Decision", "Layer", "PolicyError", "UnsupportedPolicyError"]
__all__ += ["allows", "check_permissions", "permits", "unrepeated"]

SERVICE = "rolesanywhere.amazonaws.com"

Document = str | Mapping[str, Any]
"""A policy, as JSON text or already parsed."""

_WITH_VARIABLES = "2012-10-17"
_VERSIONS = (_WITH_VARIABLES, "2008-10-17")
_DOCUMENT = {"Version", "Id", "Statement"}
_COMMON = {"Sid", "Effect", "Action", "NotAction", "Condition"}
_TRUST = _COMMON | {"Principal", "NotPrincipal"}
_PERMISSION = _COMMON | {"Resource", "NotResource"}
_PRINCIPAL_TYPES = {"AWS", "Service", "Federated", "CanonicalUser"}


@dataclass(frozen=True)
class Decision:
    """What the policy says; ``reason`` names the statement and conditions that decided.

    ``denied`` says that a statement with Effect Deny decided; not allowed and not
    denied means that nothing allows the request.
    """

    allowed: bool
    reason: str
    denied: bool = False


@dataclass(frozen=True)
class Layer:
    """Policies of one kind: a request needs an allow of one of them.

    ``name`` is for reasons, such as "the session policy".
    """

    name: str
    documents: tuple[Document, ...]


@dataclass(frozen=True)
class _Listed:
    """An element and its Not…: what it lists, and whether it means everything else."""

    element: str
    patterns: tuple[Template, ...]
    inverted: bool


@dataclass(frozen=True)
class _Principal:
    services: tuple[str, ...]
    anyone: bool
    inverted: bool


@dataclass(frozen=True)
class _Statement:
    label: str
    effect: str
    principal: _Principal | None
    actions: _Listed
    resources: _Listed | None
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class _Request:
    action: str
    service: str
    resource: str
    context: Context


def allows(
    document: Document,
    *,
    action: str,
    service: str = SERVICE,
    context: Mapping[str, str | Sequence[str]],
) -> Decision:
    """Decide whether the trust policy *document* lets *service* do *action* in *context*.

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
    statements = _read(document, _TRUST)
    return _decide(statements, _Request(action, service, "", request_context(context)))


def permits(
    layers: Sequence[Layer],
    *,
    action: str,
    resource: str,
    context: Mapping[str, str | Sequence[str]],
) -> Decision:
    """Decide whether policies that give permissions let a principal do *action* on *resource*.

    Every layer must allow it, and no policy of any layer may deny it: the
    intersection of a role's policies, its permissions boundary and the session
    policies ("Policy evaluation logic"; API reference of STS, AssumeRole).

    Args:
        layers: the kinds of policies that count, one at least.
        action: such as ``s3:GetObject``.
        resource: its ARN, or ``*`` for an action that knows no resources.
        context: condition keys and values, as for `allows`.

    Raises:
        PolicyError: A document is malformed.
        UnsupportedPolicyError: One uses something that this evaluator does not know.
        ValueError: There is no layer.
    """
    if not layers:
        raise ValueError("no layer of policies was given, and at least one must allow a request")
    request = _Request(action, "", resource, request_context(context))
    decisions = [_decide(_read_layer(layer), request, of=layer.name) for layer in layers]
    by_deny = [decision for decision in decisions if decision.denied]
    refused = [decision for decision in decisions if not decision.allowed]
    return (by_deny or refused or decisions)[0]


def check_permissions(document: Document) -> None:
    """Read *document* as a policy that gives permissions, such as a session policy.

    Raises:
        PolicyError: It is malformed.
        UnsupportedPolicyError: It uses something that this evaluator does not know.
    """
    _read(document, _PERMISSION)


def unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a policy, for a JSON reader, which would take the last of two with one name.

    Raises:
        PolicyError: A name stands twice: a condition would be lost (IAM User Guide,
            troubleshoot_policies, for elements).
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise PolicyError(f"{repeated!r} stands more than once in one object of the policy")
    return found


def _read_layer(layer: Layer) -> list[_Statement]:
    many = len(layer.documents) > 1
    found: list[_Statement] = []
    for number, document in enumerate(layer.documents, start=1):
        found += _read(document, _PERMISSION, prefix=f"policy {number}, " if many else "")
    return found


def _decide(statements: Sequence[_Statement], request: _Request, *, of: str = "") -> Decision:
    judged = [(statement, _objection(statement, request)) for statement in statements]
    whose = f" of {of}" if of else ""
    for effect, verb in (("Deny", "denies"), ("Allow", "allows")):
        for statement, objection in judged:
            if statement.effect == effect and objection is None:
                because = "; ".join(c.text(request.context) for c in statement.conditions)
                reason = f"{statement.label}{whose} {verb} {request.action}"
                reason += f", as {because}" if because else ""
                return Decision(effect == "Allow", reason, denied=effect == "Deny")
    why = "; ".join(f"{s.label}: {o}" for s, o in judged if s.effect == "Allow")
    reason = f"no statement{whose} allows {request.action}" + (f": {why}" if why else "")
    return Decision(allowed=False, reason=reason)


def _objection(statement: _Statement, request: _Request) -> str | None:
    """Why *statement* does not apply, or None if it does."""
    principal = statement.principal
    if principal is not None and not _is_meant(principal, request.service):
        element = "NotPrincipal names" if principal.inverted else "Principal does not name"
        return f"its {element} the service {request.service}"
    if not _lists(statement.actions, request.action.lower(), request.context):
        return f"its {_misses(statement.actions)} {request.action}"
    # All of them, so that a key with several values is noticed whatever stands before it.
    failed = [c for c in statement.conditions if not c.holds(request.context)]
    resources = statement.resources
    if resources is not None and not _lists(resources, request.resource, request.context):
        return f"its {_misses(resources)} {request.resource}"
    return " and ".join(c.text(request.context) for c in failed) or None


def _is_meant(principal: _Principal, service: str) -> bool:
    return (principal.anyone or service in principal.services) != principal.inverted


def _lists(listed: _Listed, value: str, context: Context) -> bool:
    try:
        resolved = [pattern.resolve(context) for pattern in listed.patterns]
    except SeveralValuesError as error:
        raise UnsupportedPolicyError(f"{listed.element}: {error}") from error
    # "… a variable that has no value … will not match any resource"; with NotResource the
    # statement then applies to every resource (reference_policies_variables).
    return any(p is not None and like(p, value) for p in resolved) != listed.inverted


def _misses(listed: _Listed) -> str:
    return f"{listed.element} {'lists' if listed.inverted else 'does not list'}"


# Reading the document


def _read(document: Document, elements: set[str], *, prefix: str = "") -> list[_Statement]:
    if isinstance(document, str):
        try:
            document = json.loads(document, object_pairs_hook=unrepeated)
        except PolicyError:
            raise
        except (ValueError, RecursionError) as error:
            raise PolicyError(f"the policy is not JSON: {error}") from error
    if not isinstance(document, Mapping):
        raise PolicyError("the policy must be a JSON object with a Statement")
    if unknown := set(document) - _DOCUMENT:
        raise PolicyError(f"{', '.join(sorted(unknown))} is no element of a policy")
    version = document.get("Version", _VERSIONS[1])
    if version not in _VERSIONS:
        raise PolicyError(f"Version {version!r} is not one of {', '.join(_VERSIONS)}")
    statements = document.get("Statement")
    if isinstance(statements, Mapping):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise PolicyError("the policy has no Statement (an object or a list of objects)")
    return [
        _statement(raw, f"{prefix}statement {number}", elements, variables=version == _VERSIONS[0])
        for number, raw in enumerate(statements, start=1)
    ]


def _statement(raw: object, label: str, elements: set[str], *, variables: bool) -> _Statement:
    if not isinstance(raw, Mapping):
        raise PolicyError(f"{label} is not a JSON object")
    if raw.get("Sid"):
        label += f" ({raw['Sid']})"
    if unknown := set(raw) - elements:
        kind = "a trust policy" if elements is _TRUST else "an identity or session policy"
        names = ", ".join(sorted(unknown))
        raise PolicyError(f"{label}: {names} is no element of {kind}'s statement")
    if raw.get("Effect") not in ("Allow", "Deny"):
        raise PolicyError(f"{label}: Effect must be Allow or Deny, not {raw.get('Effect')!r}")
    conditions = read_conditions(raw.get("Condition", {}), label, variables=variables)
    return _Statement(
        label,
        raw["Effect"],
        _principal(raw, label) if elements is _TRUST else None,
        _actions(raw, label),
        None if elements is _TRUST else _resources(raw, label, variables=variables),
        conditions,
    )


def _one_of(raw: Mapping[str, Any], name: str, label: str) -> str:
    """*name* or its Not…, whichever is there."""
    present = [element for element in (name, f"Not{name}") if element in raw]
    if len(present) != 1:
        how = "both" if present else "neither"
        raise PolicyError(f"{label} needs one of {name} and Not{name} and has {how}")
    return present[0]


def _actions(raw: Mapping[str, Any], label: str) -> _Listed:
    element = _one_of(raw, "Action", label)
    names = strings(raw[element], f"{label}: {element}")
    for name in names:
        if name != "*" and ":" not in name:
            raise PolicyError(f"{label}: {element} {name!r} has no service before a colon")
    # "Actions are case-insensitive" (reference_policies_elements_action); no variables.
    patterns = tuple(template(name.lower(), variables=False) for name in names)
    return _Listed(element, patterns, element == "NotAction")


def _resources(raw: Mapping[str, Any], label: str, *, variables: bool) -> _Listed:
    element = _one_of(raw, "Resource", label)
    patterns = []
    for text in strings(raw[element], f"{label}: {element}"):
        if text[:1] not in ("*", "?") and not text.startswith("arn:"):
            raise PolicyError(f'{label}: {element} {text!r} is neither an ARN nor "*"')
        try:
            patterns.append(resource_template(text, variables=variables))
        except TemplateError as error:
            raise PolicyError(f"{label}: {element} {text!r}: {error}") from error
    return _Listed(element, tuple(patterns), element == "NotResource")


def _principal(raw: Mapping[str, Any], label: str) -> _Principal:
    element = _one_of(raw, "Principal", label)
    inverted = element == "NotPrincipal"
    if inverted and raw["Effect"] == "Allow":
        # reference_policies_elements_notprincipal: "Using it with "Effect":"Allow" is not
        # supported". It also says that trust policies cannot have it; a Deny is judged here.
        raise PolicyError(f"{label}: NotPrincipal goes with Effect Deny only")
    value = raw[element]
    if value == "*":
        return _Principal((), anyone=True, inverted=inverted)
    if not isinstance(value, Mapping) or not value:
        raise PolicyError(f'{label}: {element} must be "*" or an object such as {{"Service": …}}')
    if unknown := set(value) - _PRINCIPAL_TYPES:
        raise PolicyError(f"{label}: {element} has no type {', '.join(sorted(unknown))}")
    return _Principal(*_named(value, f"{label}: {element}"), inverted)


def _named(value: Mapping[str, Any], where: str) -> tuple[tuple[str, ...], bool]:
    """The services that a principal names, and whether it names everyone."""
    names = {kind: strings(listed, f"{where} {kind}") for kind, listed in value.items()}
    for name in names.get("Service", ()):
        if "*" in name:
            raise UnsupportedPolicyError(f"{where}: wildcard in Service {name!r}")
    # {"AWS": "*"} and "*" are equivalent (reference_policies_elements_principal).
    return names.get("Service", ()), "*" in names.get("AWS", ())
