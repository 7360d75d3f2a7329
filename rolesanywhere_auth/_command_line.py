# SPDX-License-Identifier: Apache-2.0
"""``credential_process = aws_signing_helper credential-process …``, read instead of run.

The flags are those of our own command, `_flags`: what that can serve, this can.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from botocore.compat import compat_shell_split

from rolesanywhere_auth._flag_values import config_of
from rolesanywhere_auth._flags import CACHE, DEBUG, SIGN_IN, add_flags, add_sign_in_flags
from rolesanywhere_auth._texts import located
from rolesanywhere_auth.errors import ConfigurationError

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig

VERB = "credential-process"
_PROGRAMS = frozenset({"aws_signing_helper", "rolesanywhere-auth"})
_PYTHON = re.compile(r"python[0-9.]*w?")
_SWITCHES = frozenset(flag.name for flag in (*SIGN_IN, *DEBUG) if not flag.metavar)


class _Parser(argparse.ArgumentParser):
    """Raises where the parser of a command ends the process."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(message)

    def print_help(self, file: object = None) -> NoReturn:  # noqa: ARG002
        raise ConfigurationError("--help asks for no credentials")


def arguments_of(command_line: str) -> list[str] | None:
    """What follows ``credential-process`` in a command of the helper or of ours.

    None if it is another program or verb.

    Raises:
        ConfigurationError: The quotes do not pair.
    """
    try:
        words = compat_shell_split(command_line)
    except ValueError as error:
        raise ConfigurationError(
            f"the command cannot be split: {error}; quote as a shell does"
        ) from None
    names = [re.split(r"[/\\]", word)[-1].removesuffix(".exe") for word in words[:1]]
    if names and _PYTHON.fullmatch(names[0]) and words[1:3] == ["-m", "rolesanywhere_auth"]:
        names, words = ["rolesanywhere-auth"], words[2:]
    if not names or names[0] not in _PROGRAMS or words[1:2] != [VERB]:
        return None
    return list(words[2:])


def parse(command_line: str, *, where: str) -> RolesAnywhereConfig:
    """The configuration that *command_line* describes.

    Args:
        command_line: Quoted as botocore expects it of a ``credential_process``.
        where: How messages name it.

    Raises:
        ConfigurationError: It is another command, or has flags that cannot be served here.
    """
    try:
        arguments = arguments_of(command_line)
        if arguments is None:
            raise ConfigurationError(
                "it does not begin with `aws_signing_helper credential-process` (or "
                "`rolesanywhere-auth credential-process`); leave other commands to botocore"
            )
        return _config(arguments)
    except ConfigurationError as error:
        raise located(error, where=where) from None


def _config(arguments: Sequence[str]) -> RolesAnywhereConfig:
    parser = _Parser(prog=f"aws_signing_helper {VERB}", allow_abbrev=False)
    add_sign_in_flags(parser)
    add_flags(parser, CACHE)
    options, unknown = parser.parse_known_args(_plain(arguments))
    if unknown:
        raise ConfigurationError(_cannot(unknown))
    return config_of(options)


def _plain(arguments: Sequence[str]) -> list[str]:
    """*arguments* without what only Go's flags understand."""
    plain: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or word == "--cache":  # ours, with a value or without
            plain.append(word)
        elif flag in _SWITCHES:  # a word behind it is none of its own
            plain.append(f"{flag}={value if equals else 'true'}")
        else:
            given = value if equals else next(words, None)
            # an empty value is the helper's default, and means none
            plain += [flag] if given is None else [f"{flag}={given}"] if given else []
    return plain


def _cannot(unknown: Sequence[str]) -> str:
    """No values: one may be a password."""
    flags = sorted({word.partition("=")[0] for word in unknown if word.startswith("-")})
    if not flags:
        return f"{len(unknown)} words belong to no flag (not shown); quote values with blanks"
    return (
        f"{', '.join(flags)} cannot be served in this process; use the profile as it is, so that "
        "botocore runs the command"
    )
