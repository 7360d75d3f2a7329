# SPDX-License-Identifier: Apache-2.0
"""The ``Condition`` element of IAM policies: every operator, with its modifiers.

Sources, all in the IAM User Guide: "Condition operators"
(reference_policies_elements_condition_operators), "Single-valued vs. multivalued
context keys" (reference_policies_condition-single-vs-multi-valued-context-keys),
"Conditions with multiple context keys or values"
(reference_policies_condition-logic-multiple-context-keys-or-values), and
"Variables and tags" (reference_policies_variables). Where they contradict each
other or are silent, a comment or docstring here says what was chosen.
"""

from __future__ import annotations

import base64
import ipaddress
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from rolesanywhere_auth.testing.service.wildcards import (
    Context,
    Pieces,
    SeveralValuesError,
    Template,
    Variable,
    arn_like,
    arn_parts,
    like,
    template,
)


class PolicyError(ValueError):
    """The document is no valid policy; the message says where and why."""


class UnsupportedPolicyError(PolicyError):
    """The document may be valid, but this evaluator does not know a part of it."""


@dataclass(frozen=True)
class _Operator:
    """One comparison: how the policy's value and the request's are read, and what must hold.

    ``wanted`` is None for operators on text, whose values may have variables.
    """

    matches: Callable[[Any, Any], bool]
    wanted: Callable[[str], Any] | None = None
    found: Callable[[str], Any] = str
    wildcards: bool = False
    negated: bool = False


@dataclass(frozen=True)
class Condition:
    """One operator, one key, and the values that the policy has for it."""

    name: str
    operator: str
    quantifier: str
    if_exists: bool
    key: str
    texts: tuple[str, ...]
    wanted: tuple[Any, ...]

    def holds(self, context: Context) -> bool:
        """Whether the request in *context* meets it.

        Raises:
            UnsupportedPolicyError: the key has several values in this request and the
                operator is neither ``ForAllValues`` nor ``ForAnyValue``; or a variable
                has several.
        """
        values = context.get(self.key.lower(), ())
        if self.operator == "Null":
            return (not values) in self.wanted
        if not values:
            return self._holds_without_key()
        if self.quantifier == "ForAllValues":
            # "… or if the context key value resolves to a null dataset, such as an empty string"
            return values == ("",) or all(self._matches(value, context) for value in values)
        if len(values) > 1 and not self.quantifier:
            raise UnsupportedPolicyError(
                f"{self.name} {self.key}: the key has several values in this request "
                f"({', '.join(values)}), which needs ForAllValues: or ForAnyValue:"
            )
        return any(self._matches(value, context) for value in values)

    def text(self, context: Context) -> str:
        """What it wants and what the request has, for a reason."""
        values = context.get(self.key.lower(), ())
        found = "no such key" if not values else " and ".join(map(repr, values))
        return f"{self.name} {self.key} wants {list(self.texts)}, the request has {found}"

    def _holds_without_key(self) -> bool:
        if self.if_exists or self.quantifier == "ForAllValues":
            return True
        # "If the key does not exist, the condition returns false": ForAnyValue: with a
        # negated operator as well.
        return not self.quantifier and _OPERATORS[self.operator].negated

    def _matches(self, value: str, context: Context) -> bool:
        comparison = _OPERATORS[self.operator]
        try:
            found = comparison.found(value)
        except ValueError:
            # Not a number, date, address …: as unequal as a value can be (ours).
            return comparison.negated
        matched = any(
            wanted is not None and comparison.matches(wanted, found)
            for wanted in self._resolved(context)
        )
        return matched != comparison.negated

    def _resolved(self, context: Context) -> list[Any]:
        # A variable without a value: "there is no equal or like value".
        try:
            return [w.resolve(context) if isinstance(w, Template) else w for w in self.wanted]
        except SeveralValuesError as error:
            raise UnsupportedPolicyError(f"{self.name} {self.key}: {error}") from error


def read_conditions(raw: object, label: str, *, variables: bool) -> tuple[Condition, ...]:
    """The conditions of a ``Condition`` element, all of which must hold.

    Args:
        raw: the element.
        label: where it stands, for messages.
        variables: whether ``${…}`` is special (Version 2012-10-17).

    Raises:
        PolicyError: it is malformed.
        UnsupportedPolicyError: an operator is not known.
    """
    if not isinstance(raw, Mapping):
        raise PolicyError(f"{label}: Condition must be an object of operators")
    found = []
    for name, keys in raw.items():
        quantifier, base, if_exists = _operator_name(name, label)
        if not isinstance(keys, Mapping) or not keys:
            raise PolicyError(f"{label}: {name} must be an object of condition keys")
        for key, value in keys.items():
            where = f"{label}: {name} {key}"
            texts = strings(value, where)
            wanted = tuple(_wanted(base, text, where, variables=variables) for text in texts)
            found.append(Condition(name, base, quantifier, if_exists, key, texts, wanted))
    return tuple(found)


def strings(raw: object, where: str) -> tuple[str, ...]:
    """One value or a list of them, as strings; true and false in lower case as in JSON.

    Raises:
        PolicyError: it is something else, or an empty list.
    """
    values = raw if isinstance(raw, list) else [raw]
    if not values or not all(isinstance(value, (str, bool, int, float)) for value in values):
        raise PolicyError(f"{where} must be a string or a list of strings")
    return tuple(str(v).lower() if isinstance(v, bool) else str(v) for v in values)


def request_context(values: Mapping[str, str | Sequence[str]]) -> Context:
    """*values* with keys in lower case; a key without a value is as good as absent."""
    listed = {k.lower(): (v,) if isinstance(v, str) else tuple(v) for k, v in values.items()}
    return {key: found for key, found in listed.items() if found}


def _operator_name(name: str, label: str) -> tuple[str, str, bool]:
    quantifier, colon, rest = name.rpartition(":")
    base = rest.removesuffix("IfExists")
    known = quantifier in ("ForAllValues", "ForAnyValue") or not colon
    if name != "Null" and not (known and base in _OPERATORS and base != "Null"):
        raise UnsupportedPolicyError(
            f"{label}: condition operator {name} is not known to this evaluator; "
            "names are case-sensitive here"
        )
    return quantifier, base, base != rest


def _wanted(base: str, text: str, where: str, *, variables: bool) -> Any:
    known = _OPERATORS[base]
    try:
        if known.wanted is not None:
            return known.wanted(text)
        wanted = template(text, variables=variables, wildcards=known.wildcards)
        if base == "Bool" and len(wanted.parts) == 1:
            _boolean(text)
    except ValueError as error:
        raise PolicyError(f"{where}: {error}") from error
    if base.startswith("Arn") and not _may_be_arn(wanted):
        raise UnsupportedPolicyError(f"{where}: {text!r} has not the six parts of an ARN")
    return wanted


def _may_be_arn(wanted: Template) -> bool:
    # A variable may bring colons with it.
    with_variable = any(isinstance(part, Variable) for part in wanted.parts)
    return with_variable or len(arn_parts(wanted.parts)) == 6


# Reading values; each raises ValueError


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f'{text!r} must be "true" or "false"')
    return text.lower() == "true"


def _number(text: str) -> Decimal:
    if not re.fullmatch(r"[+-]?\d+(\.\d+)?", text, re.ASCII):
        raise ValueError(f"{text!r} is not an integer or decimal number")
    return Decimal(text)


_DATE = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)"
    r"(T(?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)(\.(?P<fraction>\d+))?)?"
    r"(?P<zone>Z|[+-]\d\d:\d\d))?)?)?",
    re.ASCII,
)


def _date(text: str) -> datetime:
    """A date of W3C's profile of ISO 8601, or seconds since 1970; four digits are a year."""
    match = _DATE.fullmatch(text)
    try:
        if match is not None:
            return _calendar_date(match)
        if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
            return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=float(text))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no date: {error}") from error
    raise ValueError(f"{text!r} is neither a date such as 2030-01-31T12:00:00Z nor epoch seconds")


def _calendar_date(match: re.Match[str]) -> datetime:
    zone = match["zone"] or "Z"
    sign = -1 if zone[0] == "-" else 1
    hours, minutes = (0, 0) if zone == "Z" else map(int, zone[1:].split(":"))
    moment = datetime(
        int(match["year"]),
        int(match["month"] or 1),
        int(match["day"] or 1),
        int(match["hour"] or 0),
        int(match["minute"] or 0),
        int(match["second"] or 0),
        int((match["fraction"] or "0")[:6].ljust(6, "0")),
        tzinfo=timezone.utc,
    )
    return moment - sign * timedelta(hours=hours, minutes=minutes)


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"{text!r} is not base64: {error}") from error


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> _Network:
    # Bits behind the prefix are let pass: IAM's guide does not say that they must be zero.
    return ipaddress.ip_network(text, strict=False)


# Comparing


def _in_network(wanted: _Network, found: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return found in wanted


def _equal_text(wanted: Pieces, found: str) -> bool:
    return "".join(map(str, wanted)) == found


def _equal_without_case(wanted: Pieces, found: str) -> bool:
    return "".join(map(str, wanted)).casefold() == found.casefold()


def _equal_boolean(wanted: Pieces, found: str) -> bool:
    return "".join(map(str, wanted)).lower() == found


def _ordered(name: str, read: Callable[[str], Any]) -> dict[str, _Operator]:
    """Equals, LessThan and the others of *name*; the request's value is on the left."""
    comparisons: dict[str, Callable[[Any, Any], bool]] = {
        "Equals": operator.eq,
        "LessThan": operator.gt,
        "LessThanEquals": operator.ge,
        "GreaterThan": operator.lt,
        "GreaterThanEquals": operator.le,
    }
    found = {name + suffix: _Operator(c, read, read) for suffix, c in comparisons.items()}
    return found | {f"{name}NotEquals": _Operator(operator.eq, read, read, negated=True)}


def _pair(name: str, negated: str, like_this: _Operator) -> dict[str, _Operator]:
    inverse = _Operator(
        like_this.matches,
        like_this.wanted,
        like_this.found,
        like_this.wildcards,
        negated=True,
    )
    return {name: like_this, negated: inverse}


_OPERATORS: dict[str, _Operator] = {
    **_pair("StringEquals", "StringNotEquals", _Operator(_equal_text)),
    **_pair("StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", _Operator(_equal_without_case)),
    **_pair("StringLike", "StringNotLike", _Operator(like, wildcards=True)),
    # "The ArnEquals and ArnLike condition operators behave identically."
    **_pair("ArnEquals", "ArnNotEquals", _Operator(arn_like, wildcards=True)),
    **_pair("ArnLike", "ArnNotLike", _Operator(arn_like, wildcards=True)),
    **_ordered("Numeric", _number),
    **_ordered("Date", _date),
    # The operators' page says that Bool takes variables, the variables' page that it does
    # not: it does here.
    "Bool": _Operator(_equal_boolean, found=lambda text: str(_boolean(text)).lower()),
    "BinaryEquals": _Operator(operator.eq, _binary, _binary),
    **_pair(
        "IpAddress",
        "NotIpAddress",
        _Operator(_in_network, _network, ipaddress.ip_address),
    ),
    "Null": _Operator(operator.eq, _boolean),
}
