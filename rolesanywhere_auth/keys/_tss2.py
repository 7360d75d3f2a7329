# SPDX-License-Identifier: Apache-2.0
"""TSS2 key files: a private key that a TPM wrapped, and that only this TPM can unwrap.

The format is "ASN.1 Specification for TPM 2.0 Key Files" (draft-bottomley-tpm2-keys), as its
writers have it: ``tpm2_encodeobject``, tpm2-openssl, tpm2-tss-engine, tpm2-pytss and others.
"""

from __future__ import annotations

from typing import NamedTuple

from rolesanywhere_auth._der import (
    BOOLEAN,
    INTEGER,
    OCTET_STRING,
    DERError,
    Reader,
    context,
)
from rolesanywhere_auth.errors import PrivateKeyLoadError, UnsupportedKeyError

_LOADABLE = "2.23.133.10.1.3"
_OTHERS = {
    "2.23.133.10.1.4": (
        "a key to be imported into a TPM, not yet one of this TPM. Import it (tpm2_import), and "
        "write what that gives as a file (tpm2_encodeobject)."
    ),
    "2.23.133.10.1.5": "data sealed by a TPM, which is no key.",
}


class TSS2Key(NamedTuple):
    """The content of one file."""

    public: bytes
    """TPM2B_PUBLIC."""
    private: bytes
    """TPM2B_PRIVATE: encrypted by the TPM for itself."""
    parent: int
    """A persistent handle, or a hierarchy: then the parent is the primary key that every
    writer makes there from the same template."""
    rsa_parent: bool = False
    """Whether that template is RSA's, and not that of EC."""
    policy: tuple[tuple[int, bytes], ...] = ()
    """TPM command code and parameters of each step."""


def parse_tss2(der: bytes, *, source: str) -> TSS2Key:
    """Read the DER of a key file.

    ``emptyAuth`` is passed over: ``tpm2_encodeobject`` 5.4 writes the opposite.

    Raises:
        PrivateKeyLoadError: it is damaged.
        UnsupportedKeyError: it is of a kind that must be imported first, or no key.
    """
    try:
        reader = Reader(der).enter()
        kind = reader.oid()
        if kind != _LOADABLE:
            what = _OTHERS.get(kind, f"of a kind that is not known here ({kind}).")
            raise UnsupportedKeyError(f"{source}: {what}", source=source)
        return _loadable(reader)
    except DERError as error:
        raise PrivateKeyLoadError(
            f"{source}: the TSS2 PRIVATE KEY block is damaged: {error}. Write the file anew.",
            source=source,
        ) from error


def _loadable(reader: Reader) -> TSS2Key:
    fields: dict[int, Reader] = {}
    while reader.peek() != INTEGER:
        number = (reader.peek() or 0) & 0x1F
        fields[number] = reader.enter(context(number))
    # Some writers take the handle for a signed number.
    parent = int.from_bytes(reader.read(INTEGER), "big") & 0xFFFFFFFF
    public, private = reader.read(OCTET_STRING), reader.read(OCTET_STRING)
    steps = fields[1].enter() if 1 in fields else None
    policy = []
    while steps:
        step = steps.enter()
        code = int.from_bytes(step.enter(context(0)).read(INTEGER), "big")
        policy.append((code, step.enter(context(1)).read(OCTET_STRING)))
    # TRUE is 0x01 in the wild, which is BER.
    rsa_parent = 5 in fields and any(fields[5].read(BOOLEAN))
    return TSS2Key(public, private, parent, rsa_parent=rsa_parent, policy=tuple(policy))
