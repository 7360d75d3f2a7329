# SPDX-License-Identifier: Apache-2.0
"""``rolesanywhere-auth read-certificate-data``: what a certificate says that signing in needs."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from rolesanywhere_auth import _flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rolesanywhere_auth.keys.stores import KeyStore
    from rolesanywhere_auth.secrets import Passphrase

_KEY_TYPES = {
    "1.2.840.113549.1.1.1": "RSA",
    "1.2.840.10045.2.1": "EC",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}


def add_to(verbs: Any) -> None:
    """Add the command and its flags, which are named as in ``aws_signing_helper``."""
    command = verbs.add_parser(
        "read-certificate-data",
        help="show a certificate's key type and serial number as JSON, or a key store's "
        "certificates",
        description="Of a file, print the first certificate's key type, serial number (decimal) "
        "and DER as JSON; of a key store, list the certificates.",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    _flags.add_flags(command, _flags.CERTIFICATE, _flags.SECRETS, _flags.DEBUG)


def run(options: argparse.Namespace) -> int:
    """Read and print."""
    from botocore.exceptions import BotoCoreError

    from rolesanywhere_auth._flag_values import passphrase_of, sources
    from rolesanywhere_auth.cli import fail
    from rolesanywhere_auth.cli._logging import log_to_stderr
    from rolesanywhere_auth.keys.stores import open_store, scheme_of

    log_to_stderr(options)
    try:
        source, _ = sources(options)
        passphrase = passphrase_of(options)
        if scheme_of(source) is None:
            text = _as_json(source, passphrase)
        else:
            text = listed(_certificates(open_store(source, passphrase=passphrase)))
    except BotoCoreError as error:  # ours are among them
        return fail(error)
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0


def _certificates(store: KeyStore) -> Sequence[bytes]:
    """Of the operating system's store all that fit: people look here for how to tell them apart."""
    from rolesanywhere_auth.keys.os_store import OSStore

    return store.matching() if isinstance(store, OSStore) else store.certificates()


def _as_json(source: str, passphrase: Passphrase | None) -> str:
    from rolesanywhere_auth._containers import open_contents, read_material
    from rolesanywhere_auth.certificates import Certificate
    from rolesanywhere_auth.errors import CertificateLoadError
    from rolesanywhere_auth.secrets import reveal

    material = read_material(source, role="certificate")
    contents = open_contents(material, passphrase=reveal(passphrase))
    if not contents.certificates:
        raise CertificateLoadError(
            f"{material.source}: holds no certificate. A certificate file has a line "
            "'-----BEGIN CERTIFICATE-----'.",
            source=material.source,
        )
    found = Certificate.from_der(contents.certificates[0], source=material.source)
    key_type = _KEY_TYPES.get(found.public_key_algorithm, "")
    families = (
        [key_type]
        if key_type.startswith("ML")
        else [f"{key_type}SHA{bits}" for bits in (256, 384, 512)]
    )
    return json.dumps(
        {
            "keyType": key_type,
            "certificateData": found.encoded,
            "serialNumber": str(found.serial_number),
            "supportedAlgorithms": families,
        },
        separators=(",", ":"),
    )


def listed(certificates: Sequence[bytes]) -> str:
    """The certificates as text, for people; names by RFC 4514."""
    import hashlib

    from rolesanywhere_auth.certificates import Certificate

    if not certificates:
        return "No matching identities\n"
    rows = ["Matching identities\n"]
    for number, der in enumerate(certificates, start=1):
        each = Certificate.from_der(der, source="a certificate of the store")
        rows.append(
            f"{number}) Hex Fingerprint: {hashlib.sha1(der, usedforsecurity=False).hexdigest()}\n"
            f"Subject: {each.subject_text}\n"
            f"Issuer: {each.issuer_text}\n"
            f"Serial Number: {each.serial_number:X}\n\n"
        )
    return "".join(rows)
