# SPDX-License-Identifier: Apache-2.0
"""Find certificates and keys in what a user passes: a path, bytes, or a PEM text.

Only containers are opened here (PEM, DER, PKCS#12); what a certificate or a key
means is for ``certificates.py`` and ``keys/``. Content never gets into an error
text: people do pass a key where a path is expected.
"""

from __future__ import annotations

import binascii
import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple, TypeAlias

from rolesanywhere_auth._der import INTEGER, OCTET_STRING, OID, SEQUENCE, DERError, Reader
from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    PrivateKeyLoadError,
)
from rolesanywhere_auth.secrets import looks_like_content

_SIZE_LIMIT = 4 * 1024 * 1024
_LONGEST_PATH = 255
"""A longer one may be something else by mistake, and is not shown."""
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----[ \t]*\r?\n?(.*?)-----END \1-----", re.DOTALL)
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_SCHEME = r"\s*([A-Za-z][A-Za-z0-9+.-]+):"
_PKCS12 = rb"\x30(?:[\x00-\x80]|[\x81-\x84].{0,4}?)\x02\x01\x03\x30"
_CERTIFICATE_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})

Readable: TypeAlias = "str | bytes | os.PathLike[str]"
"""A path (str or path object), bytes, or a PEM as str."""


class Material:
    """What was read, and how messages name it."""

    __slots__ = ("data", "role", "source")

    def __init__(self, data: bytes, source: str, role: str) -> None:
        self.data = data
        self.source = source
        """A path, or a phrase such as ``"bytes given as certificate"``."""
        self.role = role
        """The parameter it was given as: ``certificate``, ``private_key`` …"""

    def __repr__(self) -> str:
        return f"Material(source={self.source!r}, role={self.role!r})"

    def error(self, text: str) -> CertificateLoadError | PrivateKeyLoadError:
        """The load error that fits the parameter, with the source put before the text."""
        return _load_error(self.role, f"{self.source}: {text}", source=self.source)


class KeyBlock:
    """One private key as it stands in its container."""

    __slots__ = ("data", "label", "pem")

    def __init__(self, label: str, data: bytes, *, pem: bool = False) -> None:
        self.label = label
        """The PEM label, such as ``EC PRIVATE KEY``; also given to keys found as DER."""
        self.data = data
        """The DER; or the PEM block, where the encryption is in PEM headers (RFC 1421)."""
        self.pem = pem

    def __repr__(self) -> str:
        return f"KeyBlock(label={self.label!r}, pem={self.pem})"

    @property
    def encrypted(self) -> bool:
        """Whether a passphrase is needed."""
        return self.pem or self.label == "ENCRYPTED PRIVATE KEY"


class Contents(NamedTuple):
    """Everything found in one ``Material``."""

    material: Material
    certificates: tuple[bytes, ...] = ()
    """DER."""
    keys: tuple[KeyBlock, ...] = ()
    others: tuple[str, ...] = ()
    """PEM labels that are neither, for messages."""


def _load_error(role: str, text: str, *, source: str) -> CertificateLoadError | PrivateKeyLoadError:
    error = PrivateKeyLoadError if role == "private_key" else CertificateLoadError
    return error(text, source=source)


def may_name_store(value: object) -> bool:
    """Whether *value* looks like ``scheme:reference``; `keys.stores.scheme_of` knows better."""
    return isinstance(value, str) and _scheme(value) is not None


def _scheme(text: str) -> re.Match[str] | None:
    return re.match(_SCHEME, text) if ":" in text else None


def read_material(value: object, *, role: str) -> Material:
    """Read what was given as a parameter.

    Args:
        value: ``Readable``. Bytes are content. A str with ``-----BEGIN`` in it is content, any
            other a path, in which ``~`` is expanded.
        role: The parameter's name.

    Raises:
        ConfigurationError: It names a key store (``pkcs11:…``), or is of no such type.
        CertificateLoadError, PrivateKeyLoadError: The file cannot be read.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Material(bytes(value), source=f"bytes given as {role}", role=role)
    if isinstance(value, str) and "-----BEGIN" in value:
        return Material(value.encode("utf-8"), source=f"PEM text given as {role}", role=role)
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise ConfigurationError(
            f"{role} must be a path, bytes or a PEM text, not {type(value).__name__}."
        )
    return _read_file(path, role=role)


def _read_file(text: str, *, role: str) -> Material:
    if not text:
        raise ConfigurationError(f"{role} is empty. Give the path of a file, bytes or a PEM text.")
    if looks_like_content(text):
        raise ConfigurationError(
            f"{role} is taken for a path, but looks like the content of a key or certificate "
            f"({len(text)} characters, not shown). Pass a PEM as str with its -----BEGIN line, "
            "or as bytes; pass DER as bytes."
        )
    path = _path(text, role=role)
    source = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        if len(source) > _LONGEST_PATH:
            source = f"a path of {len(source)} characters"
            if isinstance(error, OSError):
                error.filename = source  # a traceback shows the cause as well
        raise _load_error(
            role,
            f"Cannot read {source}, given as {role}: {reason}. "
            "Check the path, and that this process may read the file.",
            source=source,
        ) from error
    material = Material(data, source=source, role=role)
    if len(data) > _SIZE_LIMIT:
        raise material.error(f"larger than {_SIZE_LIMIT} bytes; this is no certificate or key.")
    return material


def _path(text: str, *, role: str) -> Path:
    """The path meant; refuses references to key stores without showing them: they hold PINs."""
    scheme = _scheme(text)
    try:
        path = Path(text).expanduser()
    except (RuntimeError, ValueError) as error:
        raise _load_error(
            role,
            f"{role} is no usable path: {str(error).rstrip('.')}. Give it without '~'.",
            source=f"path given as {role}",
        ) from error
    if scheme is None:
        return path
    with contextlib.suppress(OSError):  # such as a name that is too long
        if path.exists():
            return path
    raise ConfigurationError(
        f"{role} begins with '{scheme[1]}:', which is no file, and no key store that can be "
        "opened here (a configuration takes pkcs11:, tpm:, handle:, store:, spiffe:, and what "
        "installed packages register). For a key kept elsewhere pass, as private_key, an object "
        "with public_key() and sign(data)."
    )


def open_contents(material: Material, *, passphrase: bytes | None) -> Contents:
    """Find the certificates and keys in PEM, DER or PKCS#12.

    Args:
        material: What was read.
        passphrase: Opens PKCS#12. Keys in PEM and DER stay encrypted here.

    Raises:
        CertificateLoadError, PrivateKeyLoadError: The bytes are nothing of the kind.
        PassphraseError: The PKCS#12 file needs a passphrase, or another one.
    """
    data = _to_bytes(material.data)
    kind = _sniff(data)
    if kind is None and b"-----BEGIN " in data:
        return _open_pem(data, material)
    if kind == "PKCS12":
        from rolesanywhere_auth._pkcs12 import open_pkcs12

        certificates, keys = open_pkcs12(data, passphrase, source=material.source)
        blocks = tuple(KeyBlock(label, der) for label, der in keys)
        return Contents(material, tuple(certificates), blocks)
    if kind == "CERTIFICATE":
        return Contents(material, (data,))
    if kind == "PKCS7":
        raise material.error(_HINTS["PKCS7"])
    if kind is not None:
        return Contents(material, (), (KeyBlock(kind, data),))
    if not data.strip():
        raise material.error("is empty.")
    label = "PRIVATE KEY" if material.role == "private_key" else "CERTIFICATE"
    raise material.error(
        "neither PEM nor DER nor PKCS#12. PEM begins with a line such as "
        f"'-----BEGIN {label}-----'; see whether the file is complete."
    )


def _to_bytes(data: bytes) -> bytes:
    """PowerShell's ``>`` writes UTF-16: undo that, and drop a byte order mark."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace").encode("ascii", "replace")
    return data[3:] if data[:3] == b"\xef\xbb\xbf" else data


_HINTS = {
    "PKCS7": (
        "a PKCS#7 bundle. Turn it into PEM: "
        "openssl pkcs7 -print_certs -in FILE -out chain.pem (add -inform DER for .p7b)."
    ),
    "CERTIFICATE REQUEST": (
        "a certificate request (CSR), not a certificate: have a CA sign it, and pass its answer."
    ),
}
_HINTS["CMS"] = _HINTS["PKCS7"]
_HINTS["NEW CERTIFICATE REQUEST"] = _HINTS["CERTIFICATE REQUEST"]


def hint(contents: Contents) -> str | None:
    """What to do with the other things found, if that is known."""
    return next((_HINTS[label] for label in contents.others if label in _HINTS), None)


def _open_pem(data: bytes, material: Material) -> Contents:
    certificates: list[bytes] = []
    keys: list[KeyBlock] = []
    others: list[str] = []
    blocks = list(_BLOCK.finditer(data))
    if len(blocks) != data.count(b"-----BEGIN "):
        raise material.error(
            "a PEM block lacks its -----END line. The file is cut short or mixed up."
        )
    for match in blocks:
        label = match[1].decode("ascii")
        if label in _CERTIFICATE_LABELS:
            der = _unarmor(match[2], label, material)
            certificates.append(_first_element(der) if label == "TRUSTED CERTIFICATE" else der)
        elif label.endswith("PRIVATE KEY"):
            keys.append(_key_block(label, match[2], material))
        else:
            others.append(label)
    return Contents(material, tuple(certificates), tuple(keys), tuple(others))


def _key_block(label: str, body: bytes, material: Material) -> KeyBlock:
    if b"Proc-Type:" not in body:
        return KeyBlock(label, _unarmor(body, label, material))
    lines = [line.strip() for line in body.strip().splitlines()]
    armored = b"\n".join(
        (b"-----BEGIN %b-----" % label.encode(), *lines, b"-----END %b-----\n" % label.encode())
    )
    return KeyBlock(label, armored, pem=True)


def _unarmor(body: bytes, label: str, material: Material) -> bytes:
    text = b"".join(body.split())
    if len(text) % 4 or _BASE64.fullmatch(text) is None:
        if b"\\n" in text:
            raise material.error(
                f"the {label} block has its line ends written out as \\n, as environment variables "
                "and JSON do. Put line ends in their place."
            )
        raise material.error(f"the {label} block is not base64. The file seems damaged.")
    return binascii.a2b_base64(text)


def _first_element(der: bytes) -> bytes:
    """``TRUSTED CERTIFICATE`` of OpenSSL is a certificate with its own data behind it."""
    try:
        return Reader(der).raw(SEQUENCE)
    except DERError:
        return der


def _sniff(data: bytes) -> str | None:
    """What kind of DER this is, by its first elements; PEM labels, ``PKCS12``, ``PKCS7``."""
    # PKCS#12 may be BER with indefinite lengths, which the strict reader refuses.
    if data[:1] == b"\x30" and re.match(_PKCS12, data, re.DOTALL):
        return "PKCS12"
    try:
        outer = Reader(data)
        inside = outer.enter()
        first = inside.peek()
        if first == SEQUENCE:
            inside.enter()
            return {SEQUENCE: "CERTIFICATE", OCTET_STRING: "ENCRYPTED PRIVATE KEY"}.get(
                inside.peek() or 0
            )
        if first == OID:
            return "PKCS7"
        inside.integer()
        return {
            SEQUENCE: "PRIVATE KEY",
            INTEGER: "RSA PRIVATE KEY",
            OCTET_STRING: "EC PRIVATE KEY",
        }.get(inside.peek() or 0)
    except DERError:
        return None
