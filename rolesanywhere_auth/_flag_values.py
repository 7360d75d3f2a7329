# SPDX-License-Identifier: Apache-2.0
"""What the flags say, as the library takes it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

from rolesanywhere_auth._flags import check_flags

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
    found = _certificate(options)
    if not found:
        raise ConfigurationError("--certificate is missing: give the file of the certificate")
    return found, reference(options, "private_key") or None


def key_source(options: argparse.Namespace) -> str:
    """Where the private key is: ``--private-key``, else with the certificate.

    Raises:
        ConfigurationError: The flags contradict each other, or name no key.
    """
    from rolesanywhere_auth.errors import ConfigurationError

    check_flags(options)
    found = reference(options, "private_key") or _certificate(options)
    if not found:
        raise ConfigurationError("--private-key is missing: give the file of the private key")
    return found


def _certificate(options: argparse.Namespace) -> str:
    """What the flags name, else the operating system's store; or nothing."""
    # Told of no file at all, the helper looks into the store.
    implied = sys.platform in _WITH_STORES and not getattr(options, "private_key", None)
    return named_certificate(options) or (_in_store(options) if implied else "")


def named_certificate(options: argparse.Namespace) -> str:
    """What ``--certificate`` says, or the flags for the operating system's store; or nothing.

    Raises:
        ConfigurationError: The selector makes no sense.
    """
    found = reference(options, "certificate")
    if found:
        of_store = _newest(options) and found.lower().startswith("store:")
        return _with_query(found, "newest=true") if of_store else found
    if options.cert_selector or options.system_store_name or _newest(options):
        return _in_store(options)
    return ""


def _newest(options: argparse.Namespace) -> bool:
    return bool(getattr(options, "use_latest_expiring_certificate", False))


def _in_store(options: argparse.Namespace) -> str:
    from rolesanywhere_auth.keys._selectors import parse_cert_selector, reference_of

    criteria = parse_cert_selector(options.cert_selector) if options.cert_selector else {}
    if _newest(options):
        criteria["newest"] = "true"
    return reference_of(criteria, place=_place(options.system_store_name))


_WITH_STORES = ("win32", "darwin")


def _place(store_name: str | None) -> str:
    """The current user's store of that name; macOS has no such names, and they are ignored."""
    if not store_name or sys.platform == "darwin":
        return ""
    return f"CurrentUser/{quote(store_name, safe=' ')}"


def reference(options: argparse.Namespace, name: str) -> str:
    """The path or reference that the flag *name* gives, with ``--pkcs11-lib``; or nothing."""
    return _with_module(getattr(options, name, None) or "", options.pkcs11_lib)


def _with_module(reference: str, module: str | None) -> str:
    """A ``pkcs11:`` URI with its module (RFC 7512, 2.4), unless it names one itself."""
    named = "?module-" in reference or "&module-" in reference
    if not module or named or not reference.lower().startswith("pkcs11:"):
        return reference
    return _with_query(reference, f"module-path={quote(module)}")


def _with_query(reference: str, piece: str) -> str:
    """*reference* with *piece* behind its question mark, where that is not there yet."""
    if piece in reference.lower().partition("?")[2].split("&"):
        return reference
    return f"{reference}{'&' if '?' in reference else '?'}{piece}"


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
