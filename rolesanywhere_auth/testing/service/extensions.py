# SPDX-License-Identifier: Apache-2.0
"""One extension of a certificate or CRL."""

from __future__ import annotations

from typing import TypeVar

from cryptography import x509

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def extension_of(
    signed: x509.Certificate | x509.CertificateRevocationList | x509.RevokedCertificate,
    kind: type[_Extension],
) -> _Extension | None:
    """The extension of this *kind*, or None."""
    try:
        return signed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
