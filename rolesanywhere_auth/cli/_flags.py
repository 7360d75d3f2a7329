# SPDX-License-Identifier: Apache-2.0
"""The flags of AWS's ``aws_signing_helper`` 1.8, and what they mean here.

One table for all commands: a flag is passed on, has no effect because nothing needs it
any more, or is refused with what to write instead. To switch a refused one on, say in
`Flag` what it is for instead of ``refused``, and use it in `_config.config_of`.
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
    refused: str = ""
    """What to write instead, as the end of a sentence."""


_NO_STORE = (
    "the operating system's stores are named by a reference here: write --certificate store:, with "
    "criteria behind a question mark, such as 'store:?subject-includes=CN=app&newest=true'"
)

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
        "a certificate of the operating system's store",
        "TEXT",
        refused=_NO_STORE,
    ),
    Flag("--system-store-name", "a certificate store of Windows", "NAME", refused=_NO_STORE),
    Flag("--pkcs11-lib", "the module of pkcs11: references that name none", "FILE"),
)
INTERMEDIATES = (Flag("--intermediates", "file with intermediate certificates", "FILE"),)
KEY = (
    Flag("--private-key", "file or reference, if the key is not in --certificate", "FILE"),
    Flag(
        "--use-latest-expiring-certificate", "of several certificates in a store", refused=_NO_STORE
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


def add_flags(
    command: argparse.ArgumentParser, *groups: tuple[Flag, ...], required: tuple[str, ...] = ()
) -> None:
    """Add flags to a command; those *required* must be there."""
    for flag in (flag for group in groups for flag in group):
        more: dict[str, object] = {}
        if not flag.metavar:
            # Go's flags take --switch=false too
            more = {"nargs": "?", "const": True, "type": _switch}
        elif isinstance(flag.default, int):
            more = {"type": int}
        command.add_argument(
            flag.name,
            default=flag.default if flag.metavar else False,
            metavar=flag.metavar or "true|false",
            choices=flag.choices or None,
            help=argparse.SUPPRESS if flag.refused else flag.help.replace("%", "%%"),
            required=flag.name in required,
            **more,  # type: ignore[arg-type]
        )


def _switch(text: str) -> bool:
    values = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from None


def check_flags(options: argparse.Namespace) -> None:
    """Refuse what cannot be served, and what contradicts itself.

    Raises:
        ConfigurationError: in one line, with what to write instead.
    """
    from rolesanywhere_auth.errors import ConfigurationError

    for one, other in EXCLUSIVE:
        if _given(options, one) and _given(options, other):
            raise ConfigurationError(f"give {one} or {other}, not both")
    for flag in (*CERTIFICATE, *KEY):
        if flag.refused and _given(options, flag.name):
            raise ConfigurationError(f"{flag.name}: {flag.refused}")


def _given(options: argparse.Namespace, name: str) -> bool:
    return bool(getattr(options, name[2:].replace("-", "_"), None))
