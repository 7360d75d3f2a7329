"""The command ``rolesanywhere-auth``: one small file for each of its verbs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rolesanywhere_auth._version import __version__


def parser() -> argparse.ArgumentParser:
    """The whole command line; loads nothing but argparse."""
    from rolesanywhere_auth.cli import credential_process, demo

    top = argparse.ArgumentParser(
        prog="rolesanywhere-auth",
        description="AWS credentials from an X.509 certificate, by IAM Roles Anywhere.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    verbs = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (credential_process, demo):
        module.add_to(verbs)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: By default those of the process.

    Returns:
        The exit status: 0, or 1 after one line about the error on standard error;
        wrong arguments end in 2, as usual.
    """
    options = parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def fail(error: Exception) -> int:
    """Say what went wrong on standard error, in one line."""
    print(f"rolesanywhere-auth: {' '.join(str(error).split())}", file=sys.stderr)
    return 1
