# SPDX-License-Identifier: Apache-2.0
"""PKCS#8 (RFC 5958) taken apart by hand, above all for ML-DSA keys ``cryptography`` cannot load.

RFC 9881 6 knows three forms of an ML-DSA private key: the seed, the expanded key,
and both. ``cryptography`` reads only the first; AWS's own helper reads only the
third. The seed is all that is needed, so it is taken out here, also from within an
encrypted PKCS#8 (PBES2, RFC 8018: PBKDF2 or scrypt with AES-CBC).
"""

from __future__ import annotations

import binascii
import hashlib
import re
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
    "1.2.840.113549.2.12": "sha512_224",
    "1.2.840.113549.2.13": "sha512_256",
}
_AES_CBC = {
    "2.16.840.1.101.3.4.1.2": 16,
    "2.16.840.1.101.3.4.1.22": 24,
    "2.16.840.1.101.3.4.1.42": 32,
}

_AES_192_PEM = rb"(?m)^DEK-Info: *AES-192-CBC, *([0-9A-Fa-f]{32})$([^-]*)"


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


def decrypt(der: bytes, passphrase: bytes) -> bytes | None:
    """The plain PKCS#8 in an encrypted one (PBES2 with AES-CBC).

    Empty if the passphrase is another; None if cipher or key derivation are not known here.
    """
    try:
        key, iv, ciphertext = _read_pbes2(der, passphrase)
    except (ValueError, OverflowError, MemoryError):  # the latter by senseless KDF parameters
        return None
    return _decipher(key, iv, ciphertext)


def decrypt_pem(pem: bytes, passphrase: bytes) -> bytes | None:
    """The plain DER in a PEM encrypted by its headers (RFC 1421); as `decrypt`.

    AES-192-CBC alone: the one AES that ``cryptography`` does not know there.
    """
    headers = re.search(_AES_192_PEM, pem)
    if headers is None:
        return None
    iv = bytes.fromhex(headers[1].decode())
    key = b""
    while len(key) < 24:  # OpenSSL's EVP_BytesToKey, with MD5 and the first half of the IV
        key += hashlib.md5(key[-16:] + passphrase + iv[:8], usedforsecurity=False).digest()
    try:
        return _decipher(key[:24], iv, binascii.a2b_base64(headers[2]))
    except ValueError:  # no base64
        return b""


def _decipher(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """The private key, by AES-CBC; empty if that gives no DER of a key, as by a wrong *key*."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    try:
        decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        unpadder = PKCS7(128).unpadder()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        plain = unpadder.update(padded) + unpadder.finalize()
        outer = Reader(plain)
        outer.enter().integer()
        outer.finish()
    except ValueError:
        return b""
    return plain


def _read_pbes2(der: bytes, passphrase: bytes) -> tuple[bytes, bytes, bytes]:
    """Key, IV and ciphertext."""
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
    return _derive(derivation, passphrase, length), iv, ciphertext


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
