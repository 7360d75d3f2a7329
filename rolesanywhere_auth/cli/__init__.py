# SPDX-License-Identifier: Apache-2.0
"""The command ``rolesanywhere-auth``: one small file for each of its verbs."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from rolesanywhere_auth._version import __version__

_COMMANDS = {
    "certificate": "certificate",
    "credential-process": "credential_process",
    "demo": "demo",
    "doctor": "doctor",
    "emulator": "emulator",
    "read-certificate-data": "read_certificate_data",
    "revoke": "revoke",
    "serve": "serve",
    "setup": "setup",
    "sign-string": "sign_string",
    "teardown": "teardown",
    "update": "update",
    "version": "version",
}
"""Each command and its module."""
_FLAG = r"--[a-z][a-z0-9-]*(?=$|=)|-[A-Za-z]"


class _Parser(argparse.ArgumentParser):
    """Those of commands are of this class, too."""

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, as `fail` does, and end."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see {self.prog} --help)\n")


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The command line, with *command* alone where that is one; loads nothing but argparse."""
    top = _Parser(
        prog="rolesanywhere-auth",
        description="AWS credentials from an X.509 certificate, by IAM Roles Anywhere.",
        allow_abbrev=False,
        formatter_class=formatter,
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    verbs = top.add_subparsers(title="commands", metavar="COMMAND", required=True, prog=top.prog)
    for name in [command] if command in _COMMANDS else _COMMANDS:
        import_module(f"{__name__}.{_COMMANDS[str(name)]}").add_to(verbs)
    return top


def formatter(prog: str) -> argparse.HelpFormatter:
    """argparse's; it would import `shutil` to learn the width, for each flag that is added."""
    columns = os.environ.get("COLUMNS", "")
    return argparse.HelpFormatter(prog, width=(int(columns) if columns.isdecimal() else 80) - 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: By default those of the process.

    Returns:
        The exit status: 0, or 1 after one line about the error on standard error;
        wrong arguments end in 2, after one such line, too, and Ctrl-C in 130.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    first = given[0] if given else "--help"
    known = parser(first)
    if first not in _COMMANDS and first not in {"-h", "--help", "--version"}:
        # argparse would show it, or what stands behind a flag
        known.error(f"the command comes first; it is one of {', '.join(_COMMANDS)}")
    options, unknown = known.parse_known_args(given)
    if unknown:
        known.error(_unrecognized(unknown))
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads it has seen enough, such as `head`; Python would complain at its end too.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return 1
    except KeyboardInterrupt:
        return 130  # as in shells and the AWS CLI
    return status


def _unrecognized(words: Sequence[str]) -> str:
    """The flags among them; no values, as one may be a password, or a PEM with its dashes."""
    flags = [found[0] for word in words if (found := re.match(_FLAG, word))]
    values = len(words) - len(flags)
    named = list(dict.fromkeys(flags))
    if values:
        named.append(f"{values} value{'s' * (values > 1)} (not shown)")
    return f"unrecognized arguments: {', '.join(named)}"


def fail(error: Exception) -> int:
    """Say what went wrong on standard error, in one line."""
    # what a caller in Python would give, by the flag that gives it here
    text = str(error).replace("pass passphrase=…", "give --passphrase-from (prompt: asks for it)")
    print(f"rolesanywhere-auth: {' '.join(text.split())}", file=sys.stderr)
    return 1
