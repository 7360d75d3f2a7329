# SPDX-License-Identifier: Apache-2.0
"""The macOS Keychain: identities, which are certificates with their keys.

``store:`` looks through the keychains of the search list and the tokens that are plugged in (smart
cards by CryptoTokenKit). The keychain is told not to ask its user: a key that needs that refuses.

Never seen on a real macOS: tested against functions that do what Apple's headers say.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Generator
from contextlib import closing

from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    PrivateKeyLoadError,
    SigningError,
)
from rolesanywhere_auth.forking import Guard
from rolesanywhere_auth.keys import _macos_api as api
from rolesanywhere_auth.keys._macos_api import API, KeychainError
from rolesanywhere_auth.keys.os_store import Contents, Key

_RSA = "kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA256"
_ECDSA = "kSecKeyAlgorithmECDSASignatureDigestX962SHA256"
_ALL = {"kSecReturnRef": "kCFBooleanTrue", "kSecMatchLimit": "kSecMatchLimitAll"}
_IDENTITIES = {"kSecClass": "kSecClassIdentity", **_ALL}
_TOKENS = {**_IDENTITIES, "kSecAttrAccessGroup": "kSecAttrAccessGroupToken"}
_CERTIFICATES = {"kSecClass": "kSecClassCertificate", **_ALL}
_NO_TOKENS = frozenset(
    {api.ERR_SEC_MISSING_ENTITLEMENT, api.ERR_SEC_NOT_AVAILABLE, api.ERR_SEC_PARAM}
)
"""What may be said to a program that is not signed for tokens, and by old versions."""


def parse_place(place: str, *, reference: str) -> str:
    """The place in its plain form: there is but one.

    Raises:
        ConfigurationError: another one is named.
    """
    if place.strip("/").lower() not in ("", "keychain"):
        raise ConfigurationError(
            f"{reference}: there is no place {place!r}. On macOS write store: alone, and the "
            "criteria behind a question mark."
        )
    return "Keychain"


class KeychainSystem:
    """The macOS Keychain. A ``System``."""

    def __init__(self, libraries: API) -> None:
        self._api = libraries
        self.guard = Guard()
        self.abandoned: deque[tuple[int, Key]] = deque()

    def contents(self, place: str) -> Contents:
        """The certificates; raises as ``System.contents`` does."""
        try:
            with self._api.silent():
                with closing(self._identities()) as found:
                    identities = [self._api.certificate_of(each) for each in found]
                with closing(self._api.matching(_CERTIFICATES)) as found:
                    others = [self._api.der(each) for each in found]
        except KeychainError as error:
            raise CertificateLoadError(
                f"store:{place}: macOS cannot read the keychains: {error}", source=f"store:{place}"
            ) from error
        return Contents(identities, others)

    def open_key(self, place: str, certificate: bytes, *, elliptic: bool, source: str) -> Key:
        """The key; raises as ``System.open_key`` does."""
        try:
            with self._api.silent(), closing(self._identities()) as identities:
                for identity in identities:
                    if self._api.certificate_of(identity) == certificate:
                        key = self._api.private_key_of(identity)
                        return KeychainKey(self._api, key, elliptic=elliptic, source=source)
        except KeychainError as error:
            raise PrivateKeyLoadError(
                f"{source}: macOS does not give the private key: {error}", source=source
            ) from error
        raise PrivateKeyLoadError(
            f"{source}: the certificate is no longer in {place}, or its key is not.",
            source=source,
        )

    def _identities(self) -> Generator[int, None, None]:
        yield from self._api.matching(_IDENTITIES)
        try:
            yield from self._api.matching(_TOKENS)
        except KeychainError as error:
            if error.status not in _NO_TOKENS:
                raise


class KeychainKey:
    """A SecKey. A ``Key``."""

    def __init__(self, libraries: API, key: int, *, elliptic: bool, source: str) -> None:
        self._api = libraries
        self._key = key
        self._algorithm = _ECDSA if elliptic else _RSA
        self._source = source

    def sign(self, digest: bytes) -> bytes:
        """Sign; raises as ``Key.sign`` does. Of EC keys macOS gives DER already."""
        try:
            with self._api.silent():
                return self._api.signature(self._key, self._algorithm, digest)
        except KeychainError as error:
            raise SigningError(
                f"{self._source}: macOS does not sign: {error}", source=self._source
            ) from error

    def close(self) -> None:
        """Give the key back."""
        self._api.cf.CFRelease(self._key)


@functools.cache
def system() -> KeychainSystem:
    """This process's, its frameworks loaded when it is first asked for."""
    return KeychainSystem(API())
