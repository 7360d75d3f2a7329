# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth teardown``: removes what ``setup`` made, and nothing else."""

from __future__ import annotations

import argparse
from typing import Any

from rolesanywhere_auth.cli import _administration


def add_to(verbs: Any) -> None:
    """Add the command."""
    command = verbs.add_parser(
        "teardown",
        help="remove what setup made",
        description="Removes the trust anchor, role, profile and CRLs that `setup` and `revoke` "
        "made, which have the tag rolesanywhere-auth:setup with this name, and nothing else. "
        "Files, such as those of a development CA, stay.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    command.add_argument("name", metavar="NAME", help="the set-up's name")
    _administration.add_flags(command)


def run(options: argparse.Namespace) -> int:
    """Plan, ask, remove; 0, or 1 if it could not be done."""
    from botocore.exceptions import BotoCoreError

    from rolesanywhere_auth.cli import fail
    from rolesanywhere_auth.provisioning.tearing_down import plan_teardown

    try:
        admin = _administration.admin_of(options)
        _administration.carry_out(plan_teardown(options.name, admin), admin, options)
    except BotoCoreError as error:  # ours are among them
        return fail(error)
    return 0
