# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth certificate``: a certificate of a development CA."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta, timezone
from typing import Any

_KEY_TYPES = ("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096")


def add_to(verbs: Any) -> None:
    """Add the command."""
    command = verbs.add_parser(
        "certificate",
        help="issue a certificate of a development CA",
        description="Makes a key and issues a certificate for it that can sign in, with the CA in "
        "FOLDER; a CA is made there if there is none. For development: the keys lie in files "
        "that their owner alone can read, and nothing else protects them. Nothing is overwritten.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    command.add_argument("folder", metavar="FOLDER", help="of ca.pem and ca.key")
    command.add_argument("common_name", metavar="NAME", help="CN of the subject")
    command.add_argument(
        "--file-name", metavar="NAME", help="of NAME.pem and NAME.key; by default the CN"
    )
    command.add_argument("--organization", metavar="O", help="O of the subject")
    for flag, metavar, what in (
        ("--organizational-unit", "OU", "OU of the subject"),
        ("--dns-name", "HOST", "subject alternative name"),
        ("--uri", "URI", "subject alternative name"),
    ):
        command.add_argument(
            flag, action="append", default=[], metavar=metavar, help=f"{what}; may be repeated"
        )
    command.add_argument(
        "--key-type", choices=_KEY_TYPES, default="ec-p256", help="by default ec-p256"
    )
    command.add_argument(
        "--days", type=days, default=timedelta(days=90), metavar="N", help="by default 90"
    )


def days(text: str) -> timedelta:
    """A number of days above 0."""
    try:
        found = timedelta(days=float(text))
    except (ValueError, OverflowError):
        found = timedelta(0)
    if not timedelta(0) < found < timedelta(days=36525):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days above 0")
    return found


def run(options: argparse.Namespace) -> int:
    """Issue it and print the paths; 0, or 1 if it could not be done."""
    from rolesanywhere_auth.cli import fail
    from rolesanywhere_auth.errors import RolesAnywhereError
    from rolesanywhere_auth.provisioning.authority import issue_leaf, make_development_ca

    now = datetime.now(timezone.utc)
    try:
        files = issue_leaf(
            make_development_ca(options.folder, now=now),
            options.folder,
            common_name=options.common_name,
            now=now,
            file_name=options.file_name,
            organization=options.organization,
            organizational_units=options.organizational_unit,
            dns_names=options.dns_name,
            uris=options.uri,
            key_type=options.key_type,
            lifetime=options.days,
        )
    except (RolesAnywhereError, OSError, ValueError) as error:
        return fail(error)
    print(files.certificate)
    print(files.private_key)
    return 0
