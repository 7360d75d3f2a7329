"""What the flags say, as the library takes it."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

from rolesanywhere_auth.cli._flags import check_flags

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.secrets import Passphrase


def config_of(options: argparse.Namespace) -> RolesAnywhereConfig:
    """The configuration that the flags describe.

    Raises:
        ConfigurationError: They contradict each other, or a value cannot work.
    """
    from rolesanywhere_auth.config import RolesAnywhereConfig

    certificate, private_key = sources(options)
    return RolesAnywhereConfig(
        trust_anchor_arn=options.trust_anchor_arn,
        profile_arn=options.profile_arn,
        role_arn=options.role_arn,
        certificate=certificate,
        private_key=private_key,
        certificate_chain=options.intermediates or None,
        passphrase=passphrase_of(options),
        session_duration=options.session_duration,
        role_session_name=options.role_session_name or None,
        region=options.region or None,
        endpoint_url=options.endpoint or None,
        verify=False if options.no_verify_ssl else None,
        cache=getattr(options, "cache", None),
    )


def sources(options: argparse.Namespace) -> tuple[str, str | None]:
    """Certificate and private key: paths or references.

    Raises:
        ConfigurationError: The flags contradict each other, or name no certificate.
    """
    from rolesanywhere_auth.errors import ConfigurationError

    check_flags(options)
    if not options.certificate:
        raise ConfigurationError("--certificate is missing: give the file of the certificate")
    return reference(options, "certificate"), reference(options, "private_key") or None


def key_source(options: argparse.Namespace) -> str:
    """Where the private key is: ``--private-key``, else ``--certificate``.

    Raises:
        ConfigurationError: The flags contradict each other, or name no key.
    """
    from rolesanywhere_auth.errors import ConfigurationError

    check_flags(options)
    found = reference(options, "private_key") or reference(options, "certificate")
    if not found:
        raise ConfigurationError("--private-key is missing: give the file of the private key")
    return found


def reference(options: argparse.Namespace, name: str) -> str:
    """The path or reference that the flag *name* gives, with ``--pkcs11-lib``; or nothing."""
    return _with_module(getattr(options, name, None) or "", options.pkcs11_lib)


def _with_module(reference: str, module: str | None) -> str:
    """A ``pkcs11:`` URI with its module (RFC 7512, 2.4), unless it names one itself."""
    named = "?module-" in reference or "&module-" in reference
    if not module or named or not reference.lower().startswith("pkcs11:"):
        return reference
    return f"{reference}{'&' if '?' in reference else '?'}module-path={quote(module)}"


def passphrase_of(options: argparse.Namespace) -> Passphrase | None:
    """The passphrase or PIN, or where it is.

    Raises:
        ConfigurationError: A reference makes no sense.
    """
    text: str | None = options.pkcs8_password or options.tpm_key_password
    if text or not (options.passphrase_file or options.passphrase_from):
        return text or None
    from rolesanywhere_auth.secrets import SecretReference, from_text

    if options.passphrase_file:
        return SecretReference(f"file:{options.passphrase_file}", name="--passphrase-file")
    return from_text(options.passphrase_from, name="--passphrase-from")


def log_to_stderr(options: argparse.Namespace, *, level: int = logging.WARNING) -> None:
    """Let this process's log go to standard error."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if options.debug else level,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
