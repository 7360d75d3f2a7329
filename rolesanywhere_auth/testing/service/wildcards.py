# SPDX-License-Identifier: Apache-2.0
"""Texts of IAM policies with wildcards and policy variables in them.

Sources: IAM User Guide, "IAM policy elements: Variables and tags"
(reference_policies_variables), "Wildcard matching" in "Condition operators"
(reference_policies_elements_condition_operators) and "Using wildcards in resource
ARNs" (reference_policies_elements_resource).

Not `fnmatch`: there ``[`` is special, in IAM it is a letter like any other. Not
`re` either: a policy with many asterisks must not take for ever.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_COLONS_BEFORE_RESOURCE = 5
_ARN_PARTS = 6
_VARIABLE = re.compile(
    r"\$\{(?:(?P<letter>[*?$])|(?P<key>[^${}',]+)(?:, *'(?P<default>[^']*)')?)\}"
)


class Wild(enum.Enum):
    """What an asterisk or a question mark stands for; with ``WITHIN`` no colon is among it."""

    ANY = "*"
    ANY_WITHIN = "*:"
    ONE = "?"
    ONE_WITHIN = "?:"


@dataclass(frozen=True)
class Variable:
    """``${key}`` or ``${key, 'default'}``; the key in lower case, as keys have no case."""

    key: str
    default: str | None = None


Pieces = tuple["str | Wild", ...]
"""A text whose variables have their values."""

Context = Mapping[str, "tuple[str, ...]"]
"""The request's condition keys, in lower case, and their values, of which there is one at least."""


class TemplateError(ValueError):
    """A text of a policy cannot be read; the message says why."""


class SeveralValuesError(ValueError):
    """A variable names a key that has several values in this request."""


@dataclass(frozen=True)
class Template:
    """A text of a policy, split into letters, wildcards and variables."""

    text: str
    parts: tuple[str | Wild | Variable, ...]

    def resolve(self, context: Context) -> Pieces | None:
        """The text with the values of *context* in it; None when a variable has none.

        A value is taken letter by letter: an asterisk in it is no wildcard (IAM's
        guide does not say; this is ours).

        Raises:
            SeveralValuesError: a variable names a key with several values, which IAM
                does not allow.
        """
        pieces: list[str | Wild] = []
        for part in self.parts:
            if not isinstance(part, Variable):
                pieces.append(part)
                continue
            values = context.get(part.key, ())
            if len(values) > 1:
                raise SeveralValuesError(f"${{{part.key}}} has several values in this request")
            value = values[0] if values else part.default
            if value is None:
                return None
            pieces.append(value)
        return tuple(pieces)


def template(text: str, *, variables: bool, wildcards: bool = True) -> Template:
    """Read *text*.

    Args:
        text: as it stands in the policy.
        variables: whether ``${…}`` is special, which it is with Version 2012-10-17.
        wildcards: whether ``*`` and ``?`` are.

    Raises:
        TemplateError: ``${`` does not begin a variable.
    """
    parts: list[str | Wild | Variable] = []
    for piece in _split(text) if variables else (text,):
        if isinstance(piece, Variable) or not wildcards:
            parts.append(piece)
        else:
            parts.extend(_wild(piece))
    return Template(text, tuple(parts))


def resource_template(text: str, *, variables: bool) -> Template:
    """Read *text* as a ``Resource``, where a wildcard stays within its part of the ARN.

    An asterisk at the end of a part "can expand to match beyond the colon
    boundaries" (reference_policies_elements_resource); in the last part, behind the
    fifth colon, every wildcard does. The guide says that a variable cannot stand before
    the fifth colon, and a policy of AWS's own has one there: it can.

    Raises:
        TemplateError: ``${`` does not begin a variable, or there are too few parts and no
            asterisk at the end.
    """
    parts = list(template(text, variables=variables).parts)
    colons = 0
    for index, part in enumerate(parts):
        if colons >= _COLONS_BEFORE_RESOURCE:
            break
        if isinstance(part, str):
            colons += part.count(":")
        elif isinstance(part, Wild):
            parts[index] = _within(part, after=parts[index + 1 : index + 2])
    if colons < _COLONS_BEFORE_RESOURCE and Wild.ANY not in parts[-1:]:
        raise TemplateError("an ARN has six parts")
    return Template(text, tuple(parts))


def _within(wild: Wild, *, after: Sequence[str | Wild | Variable]) -> Wild:
    if wild is Wild.ONE:
        return Wild.ONE_WITHIN
    ends_part = not after or (isinstance(after[0], str) and after[0].startswith(":"))
    return Wild.ANY if ends_part else Wild.ANY_WITHIN


def like(pieces: Sequence[str | Wild], value: str) -> bool:
    """Whether *pieces* match the whole of *value*."""
    reached = {0}
    for piece in pieces:
        reached = set(_step(piece, reached, value))
        if not reached:
            return False
    return len(value) in reached


def arn_like(pieces: Pieces, value: str) -> bool:
    """Whether *pieces* match the ARN *value*, each of the six parts on its own.

    Source: "Amazon Resource Name (ARN) condition operators".
    """
    wanted, found = arn_parts(pieces), value.split(":", _ARN_PARTS - 1)
    return len(found) == _ARN_PARTS == len(wanted) and all(map(like, wanted, found))


def arn_parts(pieces: Sequence[str | Wild | Variable]) -> list[list[str | Wild]]:
    """*pieces* split at colons into six parts at most; the sixth keeps its colons."""
    parts: list[list[str | Wild]] = [[]]
    for piece in pieces:
        if not isinstance(piece, str):
            parts[-1].append(piece)  # type: ignore[arg-type]
            continue
        first, *others = piece.split(":", _ARN_PARTS - len(parts))
        parts[-1].append(first)
        parts.extend([other] for other in others)
    return parts


def _step(piece: str | Wild, reached: set[int], value: str) -> Iterator[int]:
    """The positions in *value* that *piece* leads to from those *reached*."""
    if piece is Wild.ANY:
        yield from range(min(reached), len(value) + 1)
        return
    for start in reached:
        if isinstance(piece, str):
            if value.startswith(piece, start):
                yield start + len(piece)
        elif piece is Wild.ANY_WITHIN:
            colon = value.find(":", start)
            yield from range(start, (len(value) if colon < 0 else colon) + 1)
        elif start < len(value) and (piece is Wild.ONE or value[start] != ":"):
            yield start + 1


def _split(text: str) -> Iterator[str | Variable]:
    position = 0
    while (start := text.find("${", position)) >= 0:
        match = _VARIABLE.match(text, start)
        if match is None:
            raise TemplateError(f"{text!r} has ${{ that begins no policy variable")
        yield text[position:start]
        if match["letter"]:
            # ${*} is a variable that always has the value "*", which is then no wildcard.
            yield Variable("", match["letter"])
        else:
            yield Variable(match["key"].strip().lower(), match["default"])
        position = match.end()
    yield text[position:]


def _wild(text: str) -> Iterator[str | Wild]:
    for piece in re.split(r"([*?])", text):
        if piece:
            yield Wild(piece) if piece in ("*", "?") else piece
