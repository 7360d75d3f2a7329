# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth credential-process``: one sign-in, printed for AWS SDKs and tools."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rolesanywhere_auth import _flags
from rolesanywhere_auth.cli import formatter


def add_to(verbs: Any) -> None:
    """Add the command and its flags, which are named as in ``aws_signing_helper``."""
    command = verbs.add_parser(
        "credential-process",
        help="sign in once and print the credentials as JSON, for credential_process",
        description="Sign in once and print the credentials in the form that the setting "
        "credential_process of AWS SDKs and tools expects. The flags are those of AWS's "
        "aws_signing_helper.",
        allow_abbrev=False,
        formatter_class=formatter,
    )
    command.set_defaults(run=run)
    _flags.add_sign_in_flags(command)
    _flags.add_flags(command, _flags.CACHE)


def run(options: argparse.Namespace) -> int:
    """Sign in and print."""
    from botocore.exceptions import BotoCoreError

    from rolesanywhere_auth import _direct
    from rolesanywhere_auth._flag_values import config_of
    from rolesanywhere_auth.cli import fail
    from rolesanywhere_auth.cli._logging import log_to_stderr

    log_to_stderr(options)
    try:
        found = _direct.create_session(config_of(options))
    except BotoCoreError as error:  # ours are among them
        return fail(error)
    print(json.dumps(found.credential_process()))
    return 0
