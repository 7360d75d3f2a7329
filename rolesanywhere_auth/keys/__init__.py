# SPDX-License-Identifier: Apache-2.0
"""Private keys: what one must be able to do, and which kinds the service accepts.

Each module here knows one place where a key may live; ``files.py`` is the first.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from rolesanywhere_auth.errors import SigningError, UnsupportedKeyError
from rolesanywhere_auth.forking import local_work

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.mldsa import (
        MLDSA44PublicKey,
        MLDSA65PublicKey,
        MLDSA87PublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey: TypeAlias = (
        RSAPublicKey
        | EllipticCurvePublicKey
        | MLDSA44PublicKey
        | MLDSA65PublicKey
        | MLDSA87PublicKey
    )

logger = logging.getLogger("rolesanywhere_auth.keys")

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_ACCEPTED = "The service accepts RSA, EC keys (here P-256, P-384, P-521) and ML-DSA-44/65/87"
_WEAK_RSA_BITS = 2048


@runtime_checkable
class Signer(Protocol):
    """A private key, wherever it lives."""

    def public_key(self) -> PublicKey:
        """The public half, as ``cryptography`` has it: RSA, EC or ML-DSA."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Sign ``data``.

        RSA: PKCS#1 v1.5 with SHA-256. EC: ECDSA with SHA-256 whatever the curve,
        in DER. ML-DSA: the pure form with an empty context.

        Raises:
            SigningError: The key refused.
        """
        ...


class ProvedSigner:
    """A signer whose first signature is checked with its public key.

    The service would only say "Invalid signature": to a key store that has another key
    under this name, or that signs in another form.

    Args:
        signer: What signs.
        source: How messages name it.
    """

    __slots__ = ("_proved", "signer", "source")

    def __init__(self, signer: Signer, *, source: str) -> None:
        self.signer = signer
        self.source = source
        self._proved = False

    def public_key(self) -> PublicKey:
        """The public half."""
        return self.signer.public_key()

    def sign(self, data: bytes) -> bytes:
        """Sign, as `Signer.sign` says.

        Raises:
            SigningError: the signer refused, or what it gave is no signature of this key.
        """
        signature = self.signer.sign(data)
        if not self._proved:
            check_signature(self.public_key(), signature, data, source=self.source)
            self._proved = True
        return signature

    def __repr__(self) -> str:
        return f"<ProvedSigner {self.signer!r}>"


def check_signature(public_key: PublicKey, signature: bytes, data: bytes, *, source: str) -> None:
    """Check a signature in the form that `Signer.sign` promises.

    Raises:
        SigningError: it is none of *data* by this key, in this form.
    """
    with local_work():
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
        from cryptography.hazmat.primitives.hashes import SHA256

        from rolesanywhere_auth.keys.files import SHA256ECDSA

    try:
        with local_work():
            if isinstance(public_key, rsa.RSAPublicKey):
                public_key.verify(signature, data, padding.PKCS1v15(), SHA256())
            elif isinstance(public_key, ec.EllipticCurvePublicKey):
                public_key.verify(signature, data, SHA256ECDSA())
            else:
                public_key.verify(signature, data)
    except (InvalidSignature, TypeError, ValueError) as error:
        raise SigningError(
            f"{source}: the signature does not fit the public key. The key store may have another "
            "key under this name; a signer of your own must give PKCS#1 v1.5 with SHA-256 for "
            "RSA, DER of ECDSA with SHA-256 for EC, pure ML-DSA without context.",
            source=source,
        ) from error


def describe_public_key(public_key: object, *, source: str) -> str:
    """The kind of key, such as ``"RSA 2048"``, ``"P-256"`` or ``"ML-DSA-65"``.

    Raises:
        UnsupportedKeyError: The service has no signing algorithm for it.
    """
    with local_work():
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(public_key, rsa.RSAPublicKey):
        return f"RSA {public_key.key_size}"
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        curve = public_key.curve.name
        if curve in _CURVES:
            return _CURVES[curve]
        raise unsupported_key(f"an EC key on the curve {curve}", source=source)
    name = type(public_key).__name__
    if name in ("MLDSA44PublicKey", "MLDSA65PublicKey", "MLDSA87PublicKey"):
        return f"ML-DSA-{name[5:7]}"
    raise unsupported_key(f"a key of the kind {name.removesuffix('PublicKey')}", source=source)


def check_signer(signer: Signer, *, source: str) -> str:
    """Check that the service has an algorithm for this key; warn of a short RSA key.

    AWS states no minimum for RSA; 2048 bits is the least NIST SP 800-131A allows.

    Returns:
        The kind of key, as ``describe_public_key`` gives it.

    Raises:
        UnsupportedKeyError: The service has no signing algorithm for it.
    """
    kind = describe_public_key(signer.public_key(), source=source)
    family, _, size = kind.partition(" ")
    if family == "RSA" and int(size) < _WEAK_RSA_BITS:
        logger.warning(
            "%s: an RSA key of %s bits. Have one of %d bits or more certified.",
            source,
            size,
            _WEAK_RSA_BITS,
        )
    return kind


def unsupported_key(what: str, *, source: str) -> UnsupportedKeyError:
    """The error for a key the service has no signing algorithm for."""
    return UnsupportedKeyError(
        f"{source}: {what}. {_ACCEPTED}. Have a key of such a kind certified.", source=source
    )
