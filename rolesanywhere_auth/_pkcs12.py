"""Open PKCS#12 files. Apart, because it needs ``cryptography.x509``."""

from __future__ import annotations

import logging

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from rolesanywhere_auth.errors import CertificateLoadError, PassphraseError

logger = logging.getLogger("rolesanywhere_auth.certificates")


def open_pkcs12(
    data: bytes, passphrase: bytes | None, *, source: str
) -> tuple[tuple[bytes, ...], bytes | None]:
    """The certificates (DER) and the key (PKCS#8 DER, plain) of a PKCS#12 file.

    Raises:
        PassphraseError: It does not open with this passphrase, nor without one.
        CertificateLoadError: It is encrypted or built in a way that cannot be read.
    """
    bundle = _load(data, passphrase, source=source)
    found = [bundle.cert, *bundle.additional_certs]
    certificates = tuple(
        entry.certificate.public_bytes(Encoding.DER) for entry in found if entry is not None
    )
    if bundle.key is None:
        return certificates, None
    return certificates, bundle.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _load(data: bytes, passphrase: bytes | None, *, source: str) -> pkcs12.PKCS12KeyAndCertificates:
    attempts = [None] if passphrase is None else [passphrase, None]
    for attempt in attempts:
        try:
            bundle = pkcs12.load_pkcs12(data, attempt)
        except UnsupportedAlgorithm as error:
            raise CertificateLoadError(
                f"{source}: encrypted in a way that cannot be read here. Write it anew: "
                "openssl pkcs12 -in OLD -nodes | openssl pkcs12 -export -out NEW.",
                source=source,
            ) from error
        except ValueError:
            continue
        if attempt is not passphrase:
            logger.debug("%s has no passphrase; the one given is not needed.", source)
        return bundle
    if passphrase is None:
        text = "this PKCS#12 file needs a passphrase, and none was given: pass passphrase=…"
    else:
        text = "the passphrase does not open this PKCS#12 file (or the file is damaged)."
    raise PassphraseError(f"{source}: {text}", source=source)
