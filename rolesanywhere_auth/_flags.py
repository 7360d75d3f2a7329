# SPDX-License-Identifier: Apache-2.0
"""The flags of AWS's ``aws_signing_helper`` 1.8, and what they mean here.

One table for all commands, and for a ``credential_process`` that is read instead of run: a flag
is passed on by `_flag_values`, or has no effect because nothing needs it any more.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple


class Flag(NamedTuple):
    """One flag."""

    name: str
    help: str
    metavar: str = ""
    """Of its value; a flag without one is a switch."""
    default: str | int | None = None
    choices: tuple[str, ...] = ()
    value_optional: bool = False
    """Whether it may stand alone, which is True then."""


ROLE = (
    Flag("--trust-anchor-arn", "the trust anchor whose CA issued the certificate", "ARN"),
    Flag("--profile-arn", "the profile that lists the role", "ARN"),
    Flag("--role-arn", "the role to take", "ARN"),
    Flag("--session-duration", "900 to 43200; by default 3600", "SECONDS", 3600),
    Flag("--role-session-name", "where the profile takes one", "NAME"),
    Flag("--region", "by default the trust anchor's", "REGION"),
    Flag("--endpoint", "by default by botocore's rules", "URL"),
    Flag("--no-verify-ssl", "do not verify the endpoint's certificate"),
    Flag("--with-proxy", "no effect: proxies of the environment are used"),
)
CERTIFICATE = (
    Flag(
        "--certificate",
        "PEM, DER or PKCS#12, also with chain and key; or a key store: pkcs11:, store:, spiffe:",
        "FILE",
    ),
    Flag(
        "--cert-selector",
        "a certificate of the operating system's store, such as Key=x509Subject,Value=CN=app; "
        "file:// and the path of a JSON file; or store: with --certificate",
        "TEXT",
    ),
    Flag(
        "--system-store-name",
        "the current user's certificate store on Windows, by default MY; ignored elsewhere",
        "NAME",
    ),
    Flag("--pkcs11-lib", "the module of pkcs11: references that name none", "FILE"),
)
INTERMEDIATES = (Flag("--intermediates", "file with intermediate certificates", "FILE"),)
KEY = (
    Flag("--private-key", "file or reference, if the key is not in --certificate", "FILE"),
    Flag(
        "--use-latest-expiring-certificate",
        "of several certificates that fit in the operating system's store",
    ),
    Flag("--no-tpm-key-password", "no effect: a key without a password needs none"),
    Flag("--reuse-pin", "no effect: one PIN serves login and signature"),
)
SECRETS = (
    Flag(
        "--passphrase-from",
        "where the passphrase or PIN is: env:NAME, file:/path, "
        "credential:NAME (systemd), fd:N, keyring:service/user, prompt:",
        "REFERENCE",
    ),
    Flag("--passphrase-file", "holds the passphrase or PIN", "FILE"),
    Flag(
        "--pkcs8-password",
        "the passphrase itself: other users can see it in the process list; "
        "better --passphrase-from",
        "TEXT",
    ),
    Flag("--tpm-key-password", "the same for a key in a TPM", "TEXT"),
)
CACHE = (
    Flag(
        "--cache",
        "share sessions between calls, in memory or in FOLDER; needs the extra cache",
        "FOLDER",
        value_optional=True,
    ),
)
DEBUG = (Flag("--debug", "log to standard error; no secrets"),)

EXCLUSIVE = (
    ("--certificate", "--cert-selector"),
    ("--certificate", "--system-store-name"),
    ("--private-key", "--cert-selector"),
    ("--private-key", "--system-store-name"),
    ("--private-key", "--use-latest-expiring-certificate"),
    ("--pkcs8-password", "--tpm-key-password"),
    ("--no-tpm-key-password", "--tpm-key-password"),
    ("--passphrase-from", "--passphrase-file"),
    ("--passphrase-from", "--pkcs8-password"),
    ("--passphrase-from", "--tpm-key-password"),
    ("--passphrase-file", "--pkcs8-password"),
    ("--passphrase-file", "--tpm-key-password"),
)
"""Pairs of which one at most makes sense."""


SIGN_IN = (*ROLE, *CERTIFICATE, *INTERMEDIATES, *KEY, *SECRETS)
"""What describes a sign-in."""
NEEDED = ("--trust-anchor-arn", "--profile-arn", "--role-arn")
"""Those of them that every sign-in has."""


def add_sign_in_flags(command: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add what every command that signs in takes.

    Args:
        command: Where to.
        required: Whether a sign-in can be described by nothing else.
    """
    add_flags(command, SIGN_IN, DEBUG, required=NEEDED if required else ())


def add_flags(
    command: argparse.ArgumentParser, *groups: tuple[Flag, ...], required: tuple[str, ...] = ()
) -> None:
    """Add flags to a command; those *required* must be there."""
    for flag in (flag for group in groups for flag in group):
        more: dict[str, object] = {}
        if not flag.metavar:
            # Go's flags take --switch=false too
            more = {"nargs": "?", "const": True, "type": _switch}
        elif flag.value_optional:
            more = {"nargs": "?", "const": True}
        elif isinstance(flag.default, int):
            more = {"type": int}
        command.add_argument(
            flag.name,
            default=flag.default if flag.metavar else False,
            metavar=flag.metavar or "true|false",
            choices=flag.choices or None,
            help=flag.help.replace("%", "%%"),
            required=flag.name in required,
            **more,  # type: ignore[arg-type]
        )


def _switch(text: str) -> bool:
    values = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError("it is neither true nor false") from None


def check_flags(options: argparse.Namespace) -> None:
    """Refuse what contradicts itself.

    Raises:
        ConfigurationError: in one line, which names both flags.
    """
    from rolesanywhere_auth.errors import ConfigurationError

    for one, other in EXCLUSIVE:
        if _given(options, one) and _given(options, other):
            raise ConfigurationError(f"give {one} or {other}, not both")


def check_complete(options: argparse.Namespace) -> bool:
    """Whether the flags describe a sign-in; False if none of them is there.

    Raises:
        ConfigurationError: They describe half of one.
    """
    from rolesanywhere_auth.errors import ConfigurationError

    given = [flag.name for flag in SIGN_IN if _given(options, flag.name, default=flag.default)]
    missing = [name for name in NEEDED if name not in given]
    if given and missing:
        raise ConfigurationError(f"with {given[0]}, {' and '.join(missing)} must be given as well")
    return bool(given)


def _given(options: argparse.Namespace, name: str, *, default: object = None) -> bool:
    value = getattr(options, name[2:].replace("-", "_"), None)
    return bool(value) and value != default
