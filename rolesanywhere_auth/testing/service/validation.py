# SPDX-License-Identifier: Apache-2.0
"""Checks values against the constraints of botocore's shapes, in AWS's own words.

The service answers a broken constraint with the text that all Smithy services
share, such as ``1 validation error detected: Value '43200' at 'durationSeconds'
failed to satisfy constraint: Member must have value less than or equal to 3600``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sized
from typing import Any

from botocore.model import ListShape, Shape, StructureShape

from rolesanywhere_auth.testing.service.wire import Refusal, invalid


def constraint_failure(value: Any, where: str, rule: str, *, sensitive: bool = False) -> str:
    """One failure, as the Smithy runtime words it; a sensitive value is not shown."""
    shown = "" if sensitive else " null" if value is None else f" '{_shown(value)}'"
    return f"Value{shown} at '{where}' failed to satisfy constraint: {rule}"


def refusal(failures: list[str]) -> Refusal:
    """All *failures* in one ``ValidationException``."""
    plural = "" if len(failures) == 1 else "s"
    return invalid(f"{len(failures)} validation error{plural} detected: {'; '.join(failures)}")


def check(shape: Shape, value: Any) -> None:
    """Check *value* against *shape* and all shapes below it.

    Raises:
        Refusal: ``ValidationException`` that lists each broken constraint.
    """
    failures = list(_failures(shape, value, ""))
    if failures:
        raise refusal(failures)


def _failures(shape: Shape, value: Any, where: str) -> Iterator[str]:
    if isinstance(shape, StructureShape):
        yield from _structure(shape, value, where)
    elif isinstance(shape, ListShape):
        yield from _list(shape, value, where)
    elif shape.type_name in ("string", "blob"):
        yield from string_failures(shape.metadata, value, where)
    elif shape.type_name in ("integer", "long"):
        yield from number_failures(shape.metadata, value, where)


def _structure(shape: StructureShape, value: Mapping[str, Any], where: str) -> Iterator[str]:
    prefix = f"{where}." if where else ""
    for name in shape.required_members:
        if name not in value:
            sensitive = shape.members[name].metadata.get("sensitive", False)
            rule = "Member must not be null"
            yield constraint_failure(None, prefix + name, rule, sensitive=sensitive)
    for name, item in value.items():
        yield from _failures(shape.members[name], item, prefix + name)


def _list(shape: ListShape, value: list[Any], where: str) -> Iterator[str]:
    yield from length_failures(shape.metadata, value, where)
    if isinstance(shape.member, StructureShape):
        for number, item in enumerate(value, start=1):
            yield from _failures(shape.member, item, f"{where}.{number}.member")
    elif any(any(string_failures(shape.member.metadata, item, where)) for item in value):
        yield members_failure(shape.member.metadata, value, where)


def members_failure(
    rules: Mapping[str, Any], value: Any, where: str, *, which: str = "Member"
) -> str:
    """One failure for a list of strings, or for the keys or values of a map.

    It lists every rule for *which* (``Member``, ``Map keys``, ``Map value``), broken or
    not, and does not say which entry breaks them.
    """
    texts = ", ".join(text for text, _ in _string_rules(rules))
    rule = f"{which} must satisfy constraint: [{texts}]"
    return constraint_failure(value, where, rule, sensitive=rules.get("sensitive", False))


def _shown(value: Any) -> str:
    """*value* as Java prints it: ``[a, b]``, ``{k=v}``, ``true``; bytes by their number."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={_shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return str(value)


def string_failures(rules: Mapping[str, Any], value: str | bytes, where: str) -> Iterator[str]:
    """Failures of one string or blob by ``min``, ``max``, ``pattern`` and ``enum``."""
    for text, is_broken in _string_rules(rules):
        if is_broken(value):
            yield constraint_failure(value, where, text, sensitive=rules.get("sensitive", False))


def _string_rules(
    rules: Mapping[str, Any],
) -> Iterator[tuple[str, Callable[[str | bytes], bool]]]:
    """Each rule for a string: its words, and whether a value breaks it."""
    if "max" in rules:
        text = f"Member must have length less than or equal to {rules['max']}"
        yield text, lambda value: len(value) > rules["max"]
    if "min" in rules:
        text = f"Member must have length greater than or equal to {rules['min']}"
        yield text, lambda value: len(value) < rules["min"]
    if "pattern" in rules:
        text = f"Member must satisfy regular expression pattern: {rules['pattern']}"
        # Smithy's patterns are Java's, where \w and \d are ASCII.
        yield text, lambda value: not re.fullmatch(rules["pattern"], str(value), re.ASCII)
    if "enum" in rules:
        text = f"Member must satisfy enum value set: [{', '.join(rules['enum'])}]"
        yield text, lambda value: value not in rules["enum"]


def length_failures(rules: Mapping[str, Any], value: Sized, where: str) -> Iterator[str]:
    """Failures of the number of entries in a list or map by ``min`` and ``max``."""
    yield from _bounds(rules, len(value), value, where, "length")


def number_failures(rules: Mapping[str, Any], value: int, where: str) -> Iterator[str]:
    """Failures of one number by ``min`` and ``max``."""
    yield from _bounds(rules, value, value, where, "value")


def _bounds(
    rules: Mapping[str, Any], size: int, shown: Any, where: str, what: str
) -> Iterator[str]:
    if "max" in rules and size > rules["max"]:
        rule = f"Member must have {what} less than or equal to {rules['max']}"
        yield constraint_failure(shown, where, rule)
    if "min" in rules and size < rules["min"]:
        rule = f"Member must have {what} greater than or equal to {rules['min']}"
        yield constraint_failure(shown, where, rule)
