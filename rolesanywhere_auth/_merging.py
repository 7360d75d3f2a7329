# SPDX-License-Identifier: Apache-2.0
"""Credentials into the text of a shared credentials file, every other byte left as it was.

The file is read as botocore reads it, which is as `configparser` does: what an indentation, a
comment within a value, or a second section of the same name means is decided there. Within a
section the missing ones of the three credential lines are put before the next one that is
there, else at its end; that is where AWS's ``aws_signing_helper`` has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from configparser import RawConfigParser
from itertools import pairwise
from typing import Literal, NamedTuple

from rolesanywhere_auth.errors import ConfigurationError

WRITTEN = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
"""The lines of a profile's credentials."""
ALSO = {"aws_security_token": "aws_session_token"}
"""Older names, which botocore prefers where they are there; by what they are the name of."""

_INDENT = re.compile(r"\s*")
_UNUSABLE = re.compile(r"[\[\]\x00-\x1f\x7f-\x9f\u2028\u2029]|^\s|\s$|^$")


class _Line(NamedTuple):
    """One line, by the meaning that it has for `configparser`."""

    text: str
    """With its end."""
    kind: Literal["nothing", "header", "option", "more", "stray"]
    """``more`` goes on with the option above; ``stray`` is what it refuses."""
    name: str = ""
    """Of the section, or of the option."""

    @property
    def indent(self) -> str:
        match = _INDENT.match(self.text.rstrip("\r\n"))
        assert match is not None
        return match[0]

    @property
    def end(self) -> str:
        return self.text[len(self.text.rstrip("\r\n")) :]


def merged(content: bytes, profile: str, values: Mapping[str, str]) -> bytes:
    """*content* with *values* as the credentials of *profile*.

    Args:
        content: Of the file; nothing, if there is none.
        profile: Its section is made at the end, if there is none. Of several with the same
            name, which botocore refuses, the first one is used.
        values: By the names in `WRITTEN`.

    Raises:
        ConfigurationError: *profile* cannot be the name of a section.
    """
    check_profile(profile)
    # bytes.splitlines() ends lines where a file opened as text does; str.splitlines() at more
    texts = [line.decode("utf-8", "surrogateescape") for line in content.splitlines(keepends=True)]
    lines = _understood(texts)
    bounds = _section(lines, profile)
    if bounds is None:
        result = [*texts, *_new_section(texts, profile, values)]
    else:
        start, end = bounds
        result = [*texts[:start], *_filled(lines[start:end], lines[end:], values), *texts[end:]]
    return _joined(result).encode("utf-8", "surrogateescape")


def check_profile(profile: str) -> None:
    """Check that *profile* can be the name of a section.

    Raises:
        ConfigurationError: it cannot.
    """
    if _UNUSABLE.search(profile):
        raise ConfigurationError(
            f"{profile!r} cannot be the name of a profile: it must not be empty, begin or end with "
            "a space, or hold brackets or control characters"
        )


def sections(content: bytes, profile: str) -> int:
    """How many sections of *content* have this name; more than one is an error for botocore."""
    texts = [line.decode("utf-8", "surrogateescape") for line in content.splitlines(keepends=True)]
    return sum(line.kind == "header" and line.name == profile for line in _understood(texts))


def _understood(texts: Sequence[str]) -> list[_Line]:
    """As the method ``_read`` of `configparser` goes through them, whose patterns these are."""
    found: list[_Line] = []
    level, within, option = 0, False, False
    for text in texts:
        value = text.strip()
        if not value or value[0] in "#;":
            found.append(_Line(text, "nothing"))
            continue
        indent = len(text) - len(text.lstrip())
        if option and indent > level:
            found.append(_Line(text, "more"))
            continue
        level = indent
        header = RawConfigParser.SECTCRE.match(value)
        if header:
            within, option = True, False
            found.append(_Line(text, "header", header["header"]))
            continue
        match = RawConfigParser.OPTCRE.match(value) if within else None
        if match is None:
            found.append(_Line(text, "stray"))
            continue
        option = True
        found.append(_Line(text, "option", match["option"].rstrip().lower()))
    return found


def _joined(texts: Sequence[str]) -> str:
    """One text, in which a CR and an empty line's LF that came together are still two ends."""
    return "".join(
        above + "\n" if above.endswith("\r") and below.startswith("\n") else above
        for above, below in pairwise([*texts, ""])
    )


def _section(lines: Sequence[_Line], profile: str) -> tuple[int, int] | None:
    """From the header to before the next one, of the first section of this name."""
    headers = [number for number, line in enumerate(lines) if line.kind == "header"]
    for number, after in pairwise([*headers, len(lines)]):
        if lines[number].name == profile:
            return number, after
    return None


def _new_section(texts: Sequence[str], profile: str, values: Mapping[str, str]) -> list[str]:
    end = _line_end(texts) or "\n"
    unfinished = bool(texts) and not texts[-1].endswith(("\n", "\r"))
    rows = [f"[{profile}]", *(f"{name} = {values[name]}" for name in WRITTEN)]
    return [end] * unfinished + [f"{row}{end}" for row in rows]


def _line_end(texts: Sequence[str]) -> str:
    """That of the last line that has one."""
    return next((end for text in reversed(texts) if (end := _Line(text, "stray").end)), "")


def _filled(lines: Sequence[_Line], below: Sequence[_Line], values: Mapping[str, str]) -> list[str]:
    """The section with its credential lines replaced, and the missing ones put in."""
    end = _line_end([line.text for line in (*lines, *below)]) or "\n"
    present = {line.name for line in lines}
    missing = [name for name in WRITTEN if name not in present]
    last = max(number for number, line in enumerate(lines) if line.kind != "nothing")
    result: list[str] = []
    own = False  # whether the line above is of a credential's value
    for number, line in enumerate(lines):
        if line.kind == "option":
            name = ALSO.get(line.name, line.name)
            own = name in values
            for before in _due(missing, line.name):
                result.append(f"{line.indent}{before} = {values[before]}{end}")
                missing.remove(before)
            result.append(_replaced(line, values[name]) if own else line.text)
        elif not (line.kind == "more" and own):
            result.append(line.text)
        if number == last and missing:
            if not _Line(result[-1], "stray").end:
                result[-1] += end
            indent = _indent(lines, below)
            result += [f"{indent}{name} = {values[name]}{end}" for name in missing]
    return result


def _due(missing: Sequence[str], present: str) -> list[str]:
    """Those of *missing* that stand before the line *present*."""
    if present not in WRITTEN:
        return []
    return [name for name in missing if WRITTEN.index(name) < WRITTEN.index(present)]


def _replaced(line: _Line, value: str) -> str:
    """The line with another value: name, sign, blanks and end stay."""
    bare = line.text[: len(line.text) - len(line.end)]
    match = re.match(r"(\s*[^=:]*[=:])([^\S\r\n]*)", bare)
    assert match is not None
    blank = match[2] if match.end() < len(bare) else match[2] or " "
    return f"{match[1]}{blank}{value}{line.end}"


def _indent(lines: Sequence[_Line], below: Sequence[_Line]) -> str:
    """What makes a new line at the end of the section one of its own.

    Deeper than the option above it would go on with that one's value; and a next header
    that stands deeper than the new line would go on with its value.
    """
    if any(line.kind == "option" for line in lines):
        return [line for line in lines if line.kind in ("option", "stray")][-1].indent
    return below[0].indent if below else ""
