# SPDX-License-Identifier: Apache-2.0
"""PKCS#8 (RFC 5958) taken apart by hand, above all for ML-DSA keys ``cryptography`` cannot load.

RFC 9881 6 knows three forms of an ML-DSA private key: the seed, the expanded key,
and both. ``cryptography`` reads only the first; AWS's own helper reads only the
third. The seed is all that is needed, so it is taken out here, also from within an
encrypted PKCS#8 (PBES2, RFC 8018: PBKDF2 or scrypt with AES-CBC).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from rolesanywhere_auth._der import INTEGER, OCTET_STRING, OID, SEQUENCE, DERError, Reader, context
from rolesanywhere_auth.errors import UnsupportedKeyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import mldsa

    MLDSAPrivateKey = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey

_MLDSA = {
    "2.16.840.1.101.3.4.3.17": "44",
    "2.16.840.1.101.3.4.3.18": "65",
    "2.16.840.1.101.3.4.3.19": "87",
}
_SEED_LENGTH = 32
_SEED_TAG = context(0, constructed=False)

_PBES2 = "1.2.840.113549.1.5.13"
_PBKDF2 = "1.2.840.113549.1.5.12"
_SCRYPT = "1.3.6.1.4.1.11591.4.11"
_HMAC_SHA1 = "1.2.840.113549.2.7"
_HMAC = {
    _HMAC_SHA1: "sha1",
    "1.2.840.113549.2.8": "sha224",
    "1.2.840.113549.2.9": "sha256",
    "1.2.840.113549.2.10": "sha384",
    "1.2.840.113549.2.11": "sha512",
}
_AES_CBC = {
    "2.16.840.1.101.3.4.1.2": 16,
    "2.16.840.1.101.3.4.1.22": 24,
    "2.16.840.1.101.3.4.1.42": 32,
}


class PrivateKeyInfo:
    """A plain PKCS#8."""

    __slots__ = ("algorithm", "curve", "key")

    def __init__(self, algorithm: str, key: bytes, *, curve: str | None = None) -> None:
        self.algorithm = algorithm
        """OID."""
        self.curve = curve
        """OID that stands in the algorithm's parameters, if one does."""
        self.key = key


def read_private_key_info(der: bytes) -> PrivateKeyInfo:
    """Take a plain PKCS#8 apart.

    Raises:
        DERError: It is none.
    """
    outer = Reader(der)
    reader = outer.enter()
    outer.finish()
    if reader.integer() not in (0, 1):
        raise DERError("this is not a PKCS#8 of version 1 or 2")
    parameters = reader.enter()
    algorithm = parameters.oid()
    curve = parameters.oid() if parameters.peek() == OID else None
    return PrivateKeyInfo(algorithm, reader.read(OCTET_STRING), curve=curve)


def mldsa_private_key(info: PrivateKeyInfo, *, source: str) -> MLDSAPrivateKey | None:
    """The ML-DSA key in it, or ``None`` if it holds a key of another kind.

    The expanded half is not looked at: the key is made from the seed, and has to
    fit the certificate.

    Raises:
        UnsupportedKeyError: The seed is missing, or ``cryptography`` is too old.
        DERError: The key does not have a form of RFC 9881.
    """
    level = _MLDSA.get(info.algorithm)
    if level is None:
        return None
    seed = _seed(info.key)
    if seed is None:
        raise UnsupportedKeyError(
            f"{source}: an ML-DSA-{level} key in expanded form, without its seed, which cannot be "
            "loaded. Write it anew with the seed (OpenSSL 3.5: openssl pkey -provparam "
            "ml-dsa.output_formats=seed-only), or make a new key.",
            source=source,
        )
    return _from_seed(level, seed, source=source)


def _seed(key: bytes) -> bytes | None:
    reader = Reader(key)
    if reader.peek() == OCTET_STRING:
        return None
    if reader.peek() == SEQUENCE:
        both = reader.enter()
        seed = both.read(OCTET_STRING)
        both.read(OCTET_STRING)
        both.finish()
    else:
        seed = reader.read(_SEED_TAG)
    reader.finish()
    if len(seed) != _SEED_LENGTH:
        raise DERError("the ML-DSA seed does not have 32 bytes")
    return seed


def _from_seed(level: str, seed: bytes, *, source: str) -> MLDSAPrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        from cryptography.hazmat.primitives.asymmetric import mldsa

        if level == "44":
            return mldsa.MLDSA44PrivateKey.from_seed_bytes(seed)
        if level == "65":
            return mldsa.MLDSA65PrivateKey.from_seed_bytes(seed)
        return mldsa.MLDSA87PrivateKey.from_seed_bytes(seed)
    except (ImportError, UnsupportedAlgorithm) as error:
        raise too_old_for_mldsa(level, source=source) from error


def too_old_for_mldsa(level: str, *, source: str) -> UnsupportedKeyError:
    """The error for ML-DSA where ``cryptography`` does not offer it."""
    return UnsupportedKeyError(
        f"{source}: an ML-DSA-{level} key, which needs cryptography 49 or newer (built with "
        "OpenSSL 3.5 or newer, as its wheels are): pip install -U 'cryptography>=49'.",
        source=source,
    )


def decrypt(der: bytes, passphrase: bytes) -> bytes:
    """Decrypt an encrypted PKCS#8 (PBES2 with AES-CBC).

    Raises:
        DERError: It is not PBES2 with a cipher and key derivation known here.
        ValueError: The passphrase is wrong; by chance a wrong one gives rubbish instead.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    outer = Reader(der)
    reader = outer.enter()
    outer.finish()
    scheme = reader.enter()
    if scheme.oid() != _PBES2:
        raise DERError("this is not PBES2")
    parameters = scheme.enter()
    derivation, encryption = parameters.enter(), parameters.enter()
    ciphertext = reader.read(OCTET_STRING)
    reader.finish()
    length = _AES_CBC.get(encryption.oid())
    if length is None:
        raise DERError("this PBES2 cipher is not AES-CBC")
    iv = encryption.read(OCTET_STRING)
    cipher = Cipher(algorithms.AES(_derive(derivation, passphrase, length)), modes.CBC(iv))
    decryptor = cipher.decryptor()
    unpadder = PKCS7(128).unpadder()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def _derive(reader: Reader, passphrase: bytes, length: int) -> bytes:
    function = reader.oid()
    parameters = reader.enter()
    salt = parameters.read(OCTET_STRING)
    if function == _PBKDF2:
        iterations = parameters.integer()
        parameters.skip(INTEGER)  # the key length, which the cipher gives already
        prf = parameters.enter().oid() if parameters else _HMAC_SHA1
        digest = _HMAC.get(prf)
        if digest is None:
            raise DERError("this PBKDF2 uses an unknown pseudo-random function")
        return hashlib.pbkdf2_hmac(digest, passphrase, salt, iterations, length)
    if function == _SCRYPT:
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

        n, r, p = parameters.integer(), parameters.integer(), parameters.integer()
        return Scrypt(salt=salt, length=length, n=n, r=r, p=p).derive(passphrase)
    raise DERError("this PBES2 key derivation is neither PBKDF2 nor scrypt")
