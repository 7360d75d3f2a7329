# SPDX-License-Identifier: Apache-2.0
"""The functions of macOS that the Keychain's identities take, for ctypes.

Signatures: the headers of CoreFoundation and Security (SecItem.h, SecIdentity.h, SecKey.h,
SecBase.h). Every object is a ``c_void_p``; what a function with Create or Copy in its name gives
is the caller's to release, and nothing else is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int32, c_long, c_ubyte, c_uint32, c_void_p
from typing import Any

REF = c_void_p
STATUS = c_int32
"""OSStatus."""
INDEX = c_long
"""CFIndex."""
BOOLEAN = c_ubyte

UTF8 = 0x08000100
SUCCESS = 0
ERR_SEC_PARAM = -50
ERR_SEC_NOT_AVAILABLE = -25291
ERR_SEC_ITEM_NOT_FOUND = -25300
ERR_SEC_INTERACTION_NOT_ALLOWED = -25308
ERR_SEC_MISSING_ENTITLEMENT = -34018

_FOLDER = "/System/Library/Frameworks"
_FUNCTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "CoreFoundation": {
        "CFRelease": (None, REF),
        "CFArrayGetCount": (INDEX, REF),
        "CFArrayGetValueAtIndex": (REF, REF, INDEX),
        "CFDataCreate": (REF, REF, c_char_p, INDEX),
        "CFDataGetBytePtr": (c_void_p, REF),
        "CFDataGetLength": (INDEX, REF),
        "CFDictionaryCreate": (
            REF,
            REF,
            POINTER(c_void_p),
            POINTER(c_void_p),
            INDEX,
            c_void_p,
            c_void_p,
        ),
        "CFErrorGetCode": (INDEX, REF),
        "CFErrorCopyDescription": (REF, REF),
        "CFStringGetCString": (BOOLEAN, REF, c_char_p, INDEX, c_uint32),
    },
    "Security": {
        "SecItemCopyMatching": (STATUS, REF, POINTER(REF)),
        "SecIdentityCopyCertificate": (STATUS, REF, POINTER(REF)),
        "SecIdentityCopyPrivateKey": (STATUS, REF, POINTER(REF)),
        "SecCertificateCopyData": (REF, REF),
        "SecKeyCreateSignature": (REF, REF, REF, REF, POINTER(REF)),
        "SecKeychainGetUserInteractionAllowed": (STATUS, POINTER(BOOLEAN)),
        "SecKeychainSetUserInteractionAllowed": (STATUS, BOOLEAN),
        "SecCopyErrorMessageString": (REF, STATUS, c_void_p),
    },
}
"""By framework: what a function returns, and its parameters."""


class KeychainError(Exception):
    """A status that is no success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(explain(status, text))
        self.status = status


class API:
    """The frameworks, with every function declared.

    Args:
        macos: What has ``CDLL``: on macOS, ctypes itself.
        symbol: Gives the address of a constant of a framework.

    Raises:
        OSError: there is no such framework.
    """

    def __init__(self, macos: Any = ctypes, *, symbol: Any = None) -> None:
        self._libraries: dict[str, Any] = {}
        for name, functions in _FUNCTIONS.items():
            library = macos.CDLL(f"{_FOLDER}/{name}.framework/{name}")
            for function, (result, *parameters) in functions.items():
                declared = getattr(library, function)
                declared.restype, declared.argtypes = result, parameters
            self._libraries[name] = library
        self.cf = self._libraries["CoreFoundation"]
        self.security = self._libraries["Security"]
        self._symbol = symbol or _address

    def constant(self, name: str) -> int:
        """The object that a constant such as ``kSecClass`` is."""
        framework = self._libraries["CoreFoundation" if name.startswith("kCF") else "Security"]
        value = c_void_p.from_address(self._symbol(framework, name)).value
        assert value is not None
        return value

    @contextmanager
    def released(self, reference: int | None) -> Iterator[int]:
        """An object that is ours, released afterwards."""
        if reference is None:
            raise KeychainError(0, "macOS gave no object")
        try:
            yield reference
        finally:
            self.cf.CFRelease(reference)

    def check(self, status: int) -> None:
        """Raise `KeychainError` for a status that is no success."""
        if status == SUCCESS:
            return
        text = self.cf_text(self.security.SecCopyErrorMessageString(status, None))
        raise KeychainError(status, text)

    def cf_text(self, string: int | None) -> str:
        """A CFString that is ours as text; it is released."""
        if string is None:
            return ""
        with self.released(string):
            buffer = ctypes.create_string_buffer(1024)
            if not self.cf.CFStringGetCString(string, buffer, len(buffer), UTF8):
                return ""
            return buffer.value.decode("utf-8", "replace")

    def cf_bytes(self, data: int) -> bytes:
        """The content of a CFData."""
        length = self.cf.CFDataGetLength(data)
        return ctypes.string_at(self.cf.CFDataGetBytePtr(data), length) if length else b""

    @contextmanager
    def dictionary(self, content: Mapping[str, str]) -> Iterator[int]:
        """A CFDictionary of constants by constants."""
        keys = (c_void_p * len(content))(*map(self.constant, content))
        values = (c_void_p * len(content))(*map(self.constant, content.values()))
        made = self.cf.CFDictionaryCreate(
            None,
            keys,
            values,
            len(content),
            self._symbol(self.cf, "kCFTypeDictionaryKeyCallBacks"),
            self._symbol(self.cf, "kCFTypeDictionaryValueCallBacks"),
        )
        with self.released(made) as reference:
            yield reference

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Within, the keychain refuses instead of asking its user. Process-wide: in a guard."""
        before = BOOLEAN(1)
        self.check(self.security.SecKeychainGetUserInteractionAllowed(byref(before)))
        self.check(self.security.SecKeychainSetUserInteractionAllowed(0))
        try:
            yield
        finally:
            self.security.SecKeychainSetUserInteractionAllowed(before.value)

    def matching(self, query: Mapping[str, str]) -> Generator[int, None, None]:
        """The objects that SecItemCopyMatching finds, each good until the next is asked for.

        Raises:
            KeychainError: it failed; to find nothing is no failure.
        """
        found = REF()
        with self.dictionary(query) as reference:
            status = self.security.SecItemCopyMatching(reference, byref(found))
        if status == ERR_SEC_ITEM_NOT_FOUND:
            return
        self.check(status)
        with self.released(found.value) as array:
            for index in range(self.cf.CFArrayGetCount(array)):
                yield self.cf.CFArrayGetValueAtIndex(array, index)

    def certificate_of(self, identity: int) -> bytes:
        """The DER of an identity's certificate."""
        certificate = REF()
        self.check(self.security.SecIdentityCopyCertificate(identity, byref(certificate)))
        with self.released(certificate.value) as reference:
            return self.der(reference)

    def der(self, certificate: int) -> bytes:
        """The DER of a SecCertificate."""
        with self.released(self.security.SecCertificateCopyData(certificate)) as data:
            return self.cf_bytes(data)

    def private_key_of(self, identity: int) -> int:
        """The SecKey of an identity, the caller's to release."""
        key = REF()
        self.check(self.security.SecIdentityCopyPrivateKey(identity, byref(key)))
        if key.value is None:
            raise KeychainError(0, "macOS gave no key")
        return key.value

    def signature(self, key: int, algorithm: str, digest: bytes) -> bytes:
        """Sign a digest by one of the algorithms ``kSecKeyAlgorithm…``.

        Raises:
            KeychainError: the key refused.
        """
        error = REF()
        with self.released(self.cf.CFDataCreate(None, digest, len(digest))) as data:
            made = self.security.SecKeyCreateSignature(
                key, self.constant(algorithm), data, byref(error)
            )
        if made is None:
            with self.released(error.value) as reference:
                text = self.cf_text(self.cf.CFErrorCopyDescription(reference))
                raise KeychainError(self.cf.CFErrorGetCode(reference), text)
        with self.released(made) as reference:
            return self.cf_bytes(reference)


def _address(library: Any, name: str) -> int:
    return ctypes.addressof(c_ubyte.in_dll(library, name))


_SAYINGS = {
    ERR_SEC_INTERACTION_NOT_ALLOWED: (
        "errSecInteractionNotAllowed",
        (
            "the keychain would ask its user, and nobody is asked here: unlock it (security "
            "unlock-keychain), and let this program use the key without asking (security "
            "set-key-partition-list, or its access control in Keychain Access)"
        ),
    ),
    -25293: ("errSecAuthFailed", "the keychain does not let this program use the key"),
    ERR_SEC_ITEM_NOT_FOUND: ("errSecItemNotFound", "the key is gone"),
    ERR_SEC_MISSING_ENTITLEMENT: ("errSecMissingEntitlement", "this program may not use it"),
    -128: ("errSecUserCanceled", "its user refused"),
    ERR_SEC_PARAM: ("errSecParam", "the key cannot sign so"),
}


def explain(status: int, text: str) -> str:
    """What a status of macOS means, and what to do, as far as that is known."""
    name, advice = _SAYINGS.get(status, ("", ""))
    known = f"{name} ({status}): {advice}." if name else f"status {status}."
    return f"{known} {text}".strip()
