# SPDX-License-Identifier: Apache-2.0
"""What `setup`, `teardown` and `revoke` share: whose permissions, the plan, the question."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rolesanywhere_auth.provisioning.admin import Admin
    from rolesanywhere_auth.provisioning.plan import Plan


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add the flags of every command that changes something at AWS."""
    how = command.add_argument_group("how")
    only = how.add_mutually_exclusive_group()
    only.add_argument("--dry-run", action="store_true", help="print the plan, and change nothing")
    only.add_argument("--yes", action="store_true", help="do not ask")
    who = command.add_argument_group("with whose permissions, and where")
    who.add_argument(
        "--as",
        dest="administrator",
        metavar="PROFILE",
        help="a profile of the AWS config; by default the credentials of the environment, as in "
        "the AWS CLI",
    )
    who.add_argument("--region", help="of trust anchor and profile; by default the profile's")
    for name, what in (
        ("--endpoint", "Roles Anywhere"),
        ("--iam-endpoint", "IAM"),
        ("--sts-endpoint", "STS"),
    ):
        who.add_argument(name, metavar="URL", help=f"of {what}; by default by botocore's rules")


def admin_of(options: argparse.Namespace) -> Admin:
    """Who makes the calls.

    Raises:
        ConfigurationError: There is no such profile, or no Region.
    """
    from rolesanywhere_auth.provisioning.admin import Admin

    return Admin.from_profile(
        options.administrator,
        region=options.region,
        endpoint_url=options.endpoint,
        iam_endpoint_url=options.iam_endpoint,
        sts_endpoint_url=options.sts_endpoint,
    )


def carry_out(
    plan: Plan,
    admin: Admin,
    options: argparse.Namespace,
    *,
    before: Callable[[], object] | None = None,
    again: Callable[[], Plan] | None = None,
) -> dict[str, str] | None:
    """Show the plan, ask, and apply it.

    Args:
        plan: What to do.
        admin: With whose permissions.
        options: Of `add_flags`.
        before: What to do first, on this machine; counts as a reason to ask.
        again: Makes the plan once more, after the question: what somebody else did meanwhile
            must not be undone.

    Returns:
        What `apply` returns; None after a dry run.

    Raises:
        ConfigurationError: Nobody can be asked, or said no, or the plan is another by now.
        ProvisioningError: A call was refused.
    """
    from rolesanywhere_auth.provisioning.plan import apply

    if options.dry_run:
        print(plan)
        return None
    print(plan, file=sys.stderr)
    if plan or before is not None:
        _ask(options, plan, again)
    if before is not None:
        before()
    return apply(
        plan, admin, on_step=lambda step: print(f"{step.sign} {step.title}", file=sys.stderr)
    )


def _ask(options: argparse.Namespace, plan: Plan, again: Callable[[], Plan] | None) -> None:
    from rolesanywhere_auth.errors import ConfigurationError

    if options.yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "nothing was changed: standard input is no terminal, so nobody can be asked. Give "
            "--yes to go ahead, or --dry-run to see the plan alone"
        )
    print("Go ahead? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise ConfigurationError("nothing was changed, as you said")
    if again is not None and str(again()) != str(plan):
        raise ConfigurationError(
            "nothing was changed: while you were asked, somebody else changed what the plan is "
            "about. Run the command again, to see the new plan"
        )
