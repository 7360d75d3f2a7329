# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth doctor``: why a sign-in fails, or will."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth import _flags
from rolesanywhere_auth.cli import formatter

if TYPE_CHECKING:
    import boto3

    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.diagnosis import Diagnosis

_ARNS = ("trust_anchor_arn", "profile_arn", "role_arn")
_CERTIFICATE = (
    "certificate",
    "cert_selector",
    "system_store_name",
    "use_latest_expiring_certificate",
)
_SETTINGS = {
    **{name: name for name in (*_ARNS, "session_duration", "role_session_name", "region")},
    "endpoint": "endpoint_url",
    "intermediates": "certificate_chain",
}
"""Flags that are taken as they are, and the arguments of a configuration that they are."""


def add_to(verbs: Any) -> None:
    """Add the command and its flags."""
    command = verbs.add_parser(
        "doctor",
        help="check every step of a sign-in, and say what is wrong and what to do",
        description="Check every step of a sign-in, and make one. The set-up is what the flags "
        "of credential-process say, else a profile's block, else the environment; flags go over "
        "the other two. Exits with 0 if all is well, 1 if a check failed, 2 if the arguments "
        "are wrong.",
        allow_abbrev=False,
        formatter_class=formatter,
    )
    command.set_defaults(run=run)
    command.add_argument(
        "--profile",
        metavar="NAME",
        help="of the AWS config file, with a block rolesanywhere, or with a credential_process "
        "that signs in; by default AWS_PROFILE and the variables ROLESANYWHERE_…",
    )
    command.add_argument(
        "--as",
        dest="administrator",
        metavar="PROFILE",
        help="a profile that may read trust anchors, profiles, CRLs and the role: they are "
        "checked too",
    )
    command.add_argument("--format", choices=("text", "json"), default="text")
    command.add_argument(
        "--strict", action="store_true", help="exit with 1 if there are warnings, too"
    )
    command.add_argument(
        "--expiry-days",
        type=float,
        default=30,
        metavar="DAYS",
        help="warn of certificates that have fewer left; by default 30",
    )
    _flags.add_sign_in_flags(command, required=False)
    command.set_defaults(session_duration=None)


def run(options: argparse.Namespace) -> int:
    """Examine and print."""
    from rolesanywhere_auth import diagnosis
    from rolesanywhere_auth.cli._logging import log_to_stderr

    # What the library would warn of, the report says.
    log_to_stderr(options, level=logging.CRITICAL)
    if options.debug:
        # Their DEBUG logs hold keys and tokens of the administrator.
        for name in ("boto3", "botocore", "urllib3"):
            logging.getLogger(name).setLevel(logging.INFO)
    origin, make = _configuration(options)
    with warnings.catch_warnings():
        # of urllib3, about verify=False, which the report says
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
        found = diagnosis.run(
            make,
            origin=origin,
            administrator=_administrator(options.administrator),
            expiry_days=options.expiry_days,
        )
    _print(found, options.format)
    return int(not found.ok or bool(options.strict and found.warnings))


def _print(found: Diagnosis, form: str) -> None:
    if form == "json":
        print(json.dumps(found.as_dict(), indent=2))
        return
    # https://no-color.org: set and not empty
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(found.text(colour=colour))


def _administrator(profile: str | None) -> Callable[[], boto3.Session] | None:
    if profile is None:
        return None

    def make() -> boto3.Session:
        import boto3

        return boto3.Session(profile_name=profile)

    return make


# The set-up


def _configuration(
    options: argparse.Namespace,
) -> tuple[str, Callable[[], RolesAnywhereConfig]]:
    """Where it is described, and what reads it."""
    given = vars(options)
    certificate = any(map(given.get, _CERTIFICATE))
    if options.profile is None and certificate and all(map(given.get, _ARNS)):
        return "the flags", functools.partial(_from_flags, options)
    origin = f"the profile {options.profile}" if options.profile else "profile and environment"
    return origin, functools.partial(_over, options)


def _from_flags(options: argparse.Namespace) -> RolesAnywhereConfig:
    from rolesanywhere_auth._flag_values import config_of

    if options.session_duration is None:
        options.session_duration = 3600
    return config_of(options)


def _over(options: argparse.Namespace) -> RolesAnywhereConfig:
    """A profile or the environment, and the flags over them.

    Raises:
        ConfigurationError: There is none, or something in it cannot work.
    """
    from rolesanywhere_auth._flag_values import named_certificate, passphrase_of, reference

    _flags.check_flags(options)
    base = _described(options.profile)
    given = vars(options)
    changes: dict[str, Any] = {
        argument: given[flag] for flag, argument in _SETTINGS.items() if given[flag]
    }
    certificate = named_certificate(options)
    if certificate:
        changes["certificate"] = certificate
    if options.private_key:
        changes["private_key"] = reference(options, "private_key")
    elif certificate.startswith("store:"):
        changes["private_key"] = None  # it is there as well
    passphrase = passphrase_of(options)
    if passphrase is not None:
        changes["passphrase"] = passphrase
    if options.no_verify_ssl:
        changes["verify"] = False
    if "trust_anchor_arn" in changes:
        changes.setdefault("region", None)
    return replace(base, **changes)


def _described(profile: str | None) -> RolesAnywhereConfig:
    from rolesanywhere_auth import profiles
    from rolesanywhere_auth._command_line import arguments_of
    from rolesanywhere_auth.settings import Settings

    found = profiles.find_profile(Settings(), profile)
    process = found.values.get("credential_process")
    if found.block is None and isinstance(process, str) and arguments_of(process) is not None:
        return profiles.from_credential_process(profile, command_line=None)
    return profiles.from_profile(profile, environ=os.environ)
