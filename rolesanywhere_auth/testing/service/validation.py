"""Checks values against the constraints of botocore's shapes, in AWS's own words.

The service answers a broken constraint with the text that all Smithy services
share, such as ``1 validation error detected: Value '43200' at 'durationSeconds'
failed to satisfy constraint: Member must have value less than or equal to 3600``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sized
from typing import Any

from botocore.model import ListShape, Shape, StructureShape

from rolesanywhere_auth.testing.service.wire import Refusal, invalid


def constraint_failure(value: Any, where: str, rule: str) -> str:
    """One failure, as the Smithy runtime words it."""
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{where}' failed to satisfy constraint: {rule}"


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
        yield from length_failures(shape.metadata, value, where)
        for number, item in enumerate(value, start=1):
            yield from _failures(shape.member, item, f"{where}.{number}.member")
    elif shape.type_name in ("string", "blob"):
        yield from string_failures(shape.metadata, value, where)
    elif shape.type_name in ("integer", "long"):
        yield from number_failures(shape.metadata, value, where)


def _structure(shape: StructureShape, value: Mapping[str, Any], where: str) -> Iterator[str]:
    prefix = f"{where}." if where else ""
    for name in shape.required_members:
        if name not in value:
            yield constraint_failure(None, prefix + name, "Member must not be null")
    for name, item in value.items():
        yield from _failures(shape.members[name], item, prefix + name)


def string_failures(rules: Mapping[str, Any], value: str | bytes, where: str) -> Iterator[str]:
    """Failures of one string or blob by ``min``, ``max``, ``pattern`` and ``enum``."""
    shown = value if isinstance(value, str) else f"{len(value)} bytes"
    yield from _bounds(rules, len(value), shown, where, "length")
    if "enum" in rules and value not in rules["enum"]:
        choices = ", ".join(rules["enum"])
        yield constraint_failure(shown, where, f"Member must satisfy enum value set: [{choices}]")
    # Smithy's patterns are Java's, where \w and \d are ASCII.
    if "pattern" in rules and not re.fullmatch(rules["pattern"], str(value), re.ASCII):
        rule = f"Member must satisfy regular expression pattern: {rules['pattern']}"
        yield constraint_failure(shown, where, rule)


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
