"""``rolesanywhere-auth credential-process``: one sign-in, printed for AWS SDKs and tools."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.secrets import Passphrase


def add_to(verbs: Any) -> None:
    """Add the command and its flags, which are named as in ``aws_signing_helper``."""
    command = verbs.add_parser(
        "credential-process",
        help="sign in once and print the credentials as JSON, for credential_process",
        description="Sign in once and print the credentials in the form that the setting "
        "credential_process of AWS SDKs and tools expects. The flags are those of AWS's "
        "aws_signing_helper for certificates and keys in files.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    for name, what in (
        ("--trust-anchor-arn", "the trust anchor whose CA issued the certificate"),
        ("--profile-arn", "the profile that lists the role"),
        ("--role-arn", "the role to take"),
        (
            "--certificate",
            "PEM, DER or PKCS#12, also with chain and key; or a key store: spiffe:",
        ),
    ):
        command.add_argument(name, required=True, help=what, metavar=_kind(name))
    command.add_argument("--private-key", metavar="FILE", help="if not in --certificate")
    command.add_argument("--intermediates", metavar="FILE", help="intermediate certificates")
    command.add_argument(
        "--passphrase-file", metavar="FILE", help="holds the passphrase of the private key"
    )
    command.add_argument(
        "--pkcs8-password",
        metavar="TEXT",
        help="the passphrase itself: other users can see it in the process list; "
        "better --passphrase-from",
    )
    command.add_argument(
        "--passphrase-from",
        metavar="REFERENCE",
        help="where the passphrase or PIN is: env:NAME, file:/path, credential:NAME (systemd), "
        "fd:N, keyring:service/user, prompt:",
    )
    command.add_argument(
        "--session-duration", type=int, default=3600, metavar="SECONDS", help="900 to 43200"
    )
    command.add_argument("--role-session-name", metavar="NAME", help="where the profile takes one")
    command.add_argument("--region", help="by default the trust anchor's")
    command.add_argument("--endpoint", metavar="URL", help="by default by botocore's rules")
    command.add_argument(
        "--no-verify-ssl", action="store_true", help="do not verify the endpoint's certificate"
    )
    command.add_argument(
        "--with-proxy", action="store_true", help="no effect: proxies of the environment are used"
    )
    command.add_argument(
        "--cache",
        nargs="?",
        const=True,
        metavar="FOLDER",
        help="share sessions between calls, in memory or in FOLDER; needs the extra cache",
    )
    command.add_argument("--debug", action="store_true", help="log to standard error; no secrets")


def _kind(flag: str) -> str:
    return "ARN" if flag.endswith("arn") else "FILE"


def config_of(options: argparse.Namespace) -> RolesAnywhereConfig:
    """The configuration that the flags describe.

    Raises:
        ConfigurationError: They contradict each other, or a value cannot work.
    """
    from rolesanywhere_auth.config import RolesAnywhereConfig

    return RolesAnywhereConfig(
        trust_anchor_arn=options.trust_anchor_arn,
        profile_arn=options.profile_arn,
        role_arn=options.role_arn,
        certificate=options.certificate,
        private_key=options.private_key,
        certificate_chain=options.intermediates,
        passphrase=_passphrase(options),
        session_duration=options.session_duration,
        role_session_name=options.role_session_name,
        region=options.region,
        endpoint_url=options.endpoint,
        verify=False if options.no_verify_ssl else None,
        cache=options.cache,
    )


def _passphrase(options: argparse.Namespace) -> Passphrase | None:
    from rolesanywhere_auth.errors import ConfigurationError
    from rolesanywhere_auth.secrets import SecretReference, from_text

    given: list[Passphrase] = []
    if options.pkcs8_password is not None:
        given.append(options.pkcs8_password)
    if options.passphrase_file is not None:
        given.append(SecretReference(f"file:{options.passphrase_file}", name="--passphrase-file"))
    if options.passphrase_from is not None:
        given.append(from_text(options.passphrase_from, name="--passphrase-from"))
    if len(given) > 1:
        raise ConfigurationError(
            "give one of --passphrase-from, --passphrase-file and --pkcs8-password, not two"
        )
    return given[0] if given else None


def run(options: argparse.Namespace) -> int:
    """Sign in and print."""
    from botocore.exceptions import BotoCoreError

    from rolesanywhere_auth.cli import fail
    from rolesanywhere_auth.credentials import create_session

    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if options.debug else logging.WARNING,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
    try:
        found = create_session(config_of(options))
    except BotoCoreError as error:  # ours are among them
        return fail(error)
    print(json.dumps(found.credential_process()))
    return 0
