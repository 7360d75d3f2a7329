# SPDX-License-Identifier: Apache-2.0
"""Open PKCS#12 files (RFC 7292). Apart, because it needs ``cryptography.x509``.

``cryptography`` checks every RSA key it finds in a PKCS#12, which takes 40 to
500 ms and cannot be switched off there. So the key is cut out first, still
encrypted, and loaded the way keys in other files are; ``cryptography`` opens the
rest. Where the file is not built as usual, ``cryptography`` gets it whole.
"""

from __future__ import annotations

import logging

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509 import InvalidVersion

from rolesanywhere_auth._der import OCTET_STRING, SEQUENCE, DERError, Reader, context, encode
from rolesanywhere_auth.errors import PassphraseError
from rolesanywhere_auth.keys import unsupported_key
from rolesanywhere_auth.keys._pkcs8 import decrypt

logger = logging.getLogger("rolesanywhere_auth.certificates")

_DATA = "1.2.840.113549.1.7.1"
_DATA_OID = bytes.fromhex("06092a864886f70d010701")
_VERSION_3 = bytes.fromhex("020103")
_KEY_BAGS = {
    "1.2.840.113549.1.12.10.1.1": "PRIVATE KEY",
    "1.2.840.113549.1.12.10.1.2": "ENCRYPTED PRIVATE KEY",
}

LabelledKey = tuple[str, bytes]
"""A PEM label, and the DER that would stand under it."""


def open_pkcs12(
    data: bytes, passphrase: bytes | None, *, source: str
) -> tuple[list[bytes], list[LabelledKey]]:
    """The certificates (DER) and the keys of a PKCS#12 file; keys may be encrypted still.

    Raises:
        PassphraseError: It does not open with this passphrase, nor without one.
        UnsupportedKeyError: It holds a key of an unknown kind.
    """
    rest, keys = _cut_out_keys(data)
    bundle = _load(rest, passphrase, source=source) if passphrase else None
    if bundle is None:
        bundle, keys = _open_without(data, rest, keys, source=source)
        if bundle is None:
            raise PassphraseError(f"{source}: {_CLOSED[bool(passphrase)]}", source=source)
        if passphrase:
            logger.debug("%s has no passphrase; the one given is not needed.", source)
    found = [bundle.cert, *bundle.additional_certs]
    certificates = [each.certificate.public_bytes(Encoding.DER) for each in found if each]
    if bundle.key is not None:
        plain = bundle.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        keys = [("PRIVATE KEY", plain)]
    return certificates, keys


_CLOSED = (
    "this PKCS#12 file needs a passphrase, and none was given: pass passphrase=…",
    (
        "the passphrase does not open this PKCS#12 file (or the file is damaged, or encrypted in "
        "a way that cannot be read here)."
    ),
)


def _open_without(
    data: bytes, rest: bytes, keys: list[LabelledKey], *, source: str
) -> tuple[pkcs12.PKCS12KeyAndCertificates | None, list[LabelledKey]]:
    """The bundle and its plain keys, if these are not encrypted, or with the empty passphrase."""
    opened = [
        ("PRIVATE KEY", plain)
        for label, der in keys
        if (plain := der if label == "PRIVATE KEY" else decrypt(der, b""))
    ]
    bundle = _load(rest, b"", source=source) if len(opened) == len(keys) else None
    return (bundle, opened) if bundle else (_load(data, None, source=source), [])


def _cut_out_keys(data: bytes) -> tuple[bytes, list[LabelledKey]]:
    """The file without its keys and without its MAC, and the keys; or the file as it is."""
    keys: list[LabelledKey] = []
    try:
        outer = Reader(data)
        pfx = outer.enter()
        outer.finish()
        pfx.integer()
        safes = Reader(_content(pfx.enter())).enter()
        kept = b""
        while safes:
            kept += _without_keys(safes.raw(SEQUENCE), keys)
    except DERError:  # BER, as some tools write it, or signed instead of authenticated
        return data, []
    if not keys:
        return data, []
    return encode(SEQUENCE, _VERSION_3 + _data(encode(SEQUENCE, kept))), keys


def _without_keys(safe: bytes, keys: list[LabelledKey]) -> bytes:
    info = Reader(safe).enter()
    if info.oid() != _DATA:
        return safe
    bags = Reader(_content(Reader(safe).enter())).enter()
    kept = b""
    while bags:
        bag = bags.raw(SEQUENCE)
        fields = Reader(bag).enter()
        label = _KEY_BAGS.get(fields.oid())
        if label is None:
            kept += bag
        else:
            keys.append((label, fields.enter(context(0)).raw(SEQUENCE)))
    return _data(encode(SEQUENCE, kept))


def _content(info: Reader) -> bytes:
    if info.oid() != _DATA:
        raise DERError("this PKCS#12 is protected by a public key")
    return info.enter(context(0)).read(OCTET_STRING)


def _data(content: bytes) -> bytes:
    return encode(SEQUENCE, _DATA_OID + encode(context(0), encode(OCTET_STRING, content)))


def _load(
    data: bytes, passphrase: bytes | None, *, source: str
) -> pkcs12.PKCS12KeyAndCertificates | None:
    try:
        return pkcs12.load_pkcs12(data, passphrase)
    except UnsupportedAlgorithm as error:
        raise unsupported_key(f"a key of an unknown kind ({error})", source=source) from error
    except (ValueError, InternalError, InvalidVersion):
        return None
