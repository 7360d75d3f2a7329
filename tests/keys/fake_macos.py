"""Functions of CoreFoundation and Security, as far as Apple's headers go, behind real ctypes.

Every function is a C function pointer, declared here by itself: what the library declares must be
the same. References are counted; an object that is used after its last release, or never
released, is a violation; so is a dialog. Keys sign by ``cryptography``.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    c_int32,
    c_long,
    c_ubyte,
    c_uint32,
    c_void_p,
)
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from fake_functions import FakeFunctions, Library

NOT_FOUND = -25300
INTERACTION_NOT_ALLOWED = -25308

_OUT = POINTER(c_void_p)


@dataclass
class Entry:
    """An identity, or a certificate alone."""

    der: bytes
    key: Any = None
    on_token: bool = False
    asks: bool = False
    """Whether the keychain asks its user before the key is used."""
    key_error: int = 0
    sign_error: int = 0


class FakeMacOS(FakeFunctions):
    """Takes the place of ctypes: has ``CDLL``; and ``symbol``."""

    def __init__(self) -> None:
        super().__init__(first_handle=0x10000)
        self.keychain: list[Entry] = []
        self.interaction = 1
        self.query_error: dict[str, int] = {}
        """By ``identities``, ``tokens`` and ``certificates``: what the query ends with."""
        self.interaction_error = 0
        self.unnamed_errors = False
        """Whether errors have no description."""
        self._symbols: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self._buffers: list[Any] = []

    def CDLL(self, name: str) -> Any:  # noqa: N802
        """A framework: its functions are made when they are asked for."""
        folder, _, file = name.rpartition("/")
        assert folder == f"/System/Library/Frameworks/{file}.framework"
        return Library(self, file)

    def symbol(self, framework: Any, name: str) -> int:
        """The address of a constant."""
        home = "CoreFoundation" if name.startswith("kCF") else "Security"
        assert framework.name == home
        assert name in _CONSTANTS
        if name not in self._symbols:
            number = next(self._numbers)
            self._symbols[name] = c_void_p(number)
            self._names[number] = name
        return ctypes.addressof(self._symbols[name])

    # CoreFoundation

    def CFRelease(self, number: int | None) -> None:  # noqa: N802
        held = self._held.get(number or 0)
        assert held is not None, f"{number} is not there"
        self._get(number, held.kind)
        held.count -= 1
        if held.count == 0:
            del self._held[number or 0]
            for each in held.parts:
                self.CFRelease(each)

    def CFArrayGetCount(self, array: int) -> int:  # noqa: N802
        return len(self._get(array, "array").parts)

    def CFArrayGetValueAtIndex(self, array: int, index: int) -> int:  # noqa: N802
        return self._get(array, "array").parts[index]

    def CFDataCreate(self, allocator: int | None, content: int, size: int) -> int:  # noqa: N802
        assert allocator is None
        return self._make("data", ctypes.string_at(content, size))

    def CFDataGetLength(self, data: int) -> int:  # noqa: N802
        return len(self._get(data, "data").value)

    def CFDataGetBytePtr(self, data: int) -> int:  # noqa: N802
        content = self._get(data, "data").value
        self._buffers.append(ctypes.create_string_buffer(content, len(content)))
        return ctypes.addressof(self._buffers[-1])

    def CFDictionaryCreate(  # noqa: N802
        self, allocator: int | None, keys: Any, values: Any, count: int, on_key: int, on_value: int
    ) -> int:
        assert allocator is None
        assert on_key == ctypes.addressof(self._symbols["kCFTypeDictionaryKeyCallBacks"])
        assert on_value == ctypes.addressof(self._symbols["kCFTypeDictionaryValueCallBacks"])
        content = {self._names[keys[at]]: self._names[values[at]] for at in range(count)}
        return self._make("dictionary", content)

    def CFErrorGetCode(self, error: int) -> int:  # noqa: N802
        return int(self._get(error, "error").value)

    def CFErrorCopyDescription(self, error: int) -> int | None:  # noqa: N802
        code = self._get(error, "error").value
        return None if self.unnamed_errors else self._make("string", f"Error {code}, it says.")

    def CFStringGetCString(self, string: int, buffer: int, room: int, encoding: int) -> int:  # noqa: N802
        content = self._get(string, "string").value.encode() + b"\0"
        assert encoding == 0x08000100
        if len(content) > room:
            return 0
        ctypes.memmove(buffer, content, len(content))
        return 1

    # Security

    def SecItemCopyMatching(self, query: int, found: Any) -> int:  # noqa: N802
        asked = dict(self._get(query, "dictionary").value)
        assert asked.pop("kSecReturnRef") == "kCFBooleanTrue"
        assert asked.pop("kSecMatchLimit") == "kSecMatchLimitAll"
        kind = asked.pop("kSecClass")
        tokens = asked.pop("kSecAttrAccessGroup", None)
        assert tokens in (None, "kSecAttrAccessGroupToken")
        assert not asked
        name = "certificates" if kind == "kSecClassCertificate" else "identities"
        name = "tokens" if tokens else name
        if error := self.query_error.get(name):
            return error
        entries = [
            each
            for each in self.keychain
            if name == "certificates" or (each.key and each.on_token == bool(tokens))
        ]
        if not entries:
            return NOT_FOUND
        member = "certificate" if name == "certificates" else "identity"
        array = self._make("array")
        self._held[array].parts += [self._make(member, each) for each in entries]
        found[0] = array
        return 0

    def SecIdentityCopyCertificate(self, identity: int, certificate: Any) -> int:  # noqa: N802
        certificate[0] = self._make("certificate", self._get(identity, "identity").value)
        return 0

    def SecIdentityCopyPrivateKey(self, identity: int, key: Any) -> int:  # noqa: N802
        entry = self._get(identity, "identity").value
        if entry.key_error:
            return int(entry.key_error)
        key[0] = self._make("key", entry)
        return 0

    def SecCertificateCopyData(self, certificate: int) -> int:  # noqa: N802
        return self._make("data", self._get(certificate, "certificate").value.der)

    def SecKeyCreateSignature(  # noqa: N802
        self, key: int, algorithm: int, data: int, error: Any
    ) -> int | None:
        entry = self._get(key, "key").value
        digest = self._get(data, "data").value
        assert len(digest) == 32
        code = entry.sign_error
        if entry.asks:
            assert not self.interaction, "a dialog is shown"
            code = INTERACTION_NOT_ALLOWED
        if code:
            error[0] = self._make("error", code)
            return None
        if self._names[algorithm] == "kSecKeyAlgorithmECDSASignatureDigestX962SHA256":
            made = entry.key.sign(digest, ec.ECDSA(Prehashed(SHA256())))
        else:
            assert self._names[algorithm] == "kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA256"
            made = entry.key.sign(digest, padding.PKCS1v15(), Prehashed(SHA256()))
        return self._make("data", made)

    def SecKeychainGetUserInteractionAllowed(self, allowed: Any) -> int:  # noqa: N802
        allowed[0] = self.interaction
        return self.interaction_error

    def SecKeychainSetUserInteractionAllowed(self, allowed: int) -> int:  # noqa: N802
        self.interaction = allowed
        return 0

    def SecCopyErrorMessageString(self, status: int, reserved: int | None) -> int | None:  # noqa: N802
        assert reserved is None
        if self.unnamed_errors:
            return self._make("string", "x" * 5000)
        return self._make("string", f"Status {status}, it says.")


_CONSTANTS = frozenset({
    "kCFBooleanTrue",
    "kCFTypeDictionaryKeyCallBacks",
    "kCFTypeDictionaryValueCallBacks",
    "kSecAttrAccessGroup",
    "kSecAttrAccessGroupToken",
    "kSecClass",
    "kSecClassCertificate",
    "kSecClassIdentity",
    "kSecKeyAlgorithmECDSASignatureDigestX962SHA256",
    "kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA256",
    "kSecMatchLimit",
    "kSecMatchLimitAll",
    "kSecReturnRef",
})  # fmt: skip
_CF, _SEC = "CoreFoundation", "Security"
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "CFRelease": (_CF, None, c_void_p),
    "CFArrayGetCount": (_CF, c_long, c_void_p),
    "CFArrayGetValueAtIndex": (_CF, c_void_p, c_void_p, c_long),
    "CFDataCreate": (_CF, c_void_p, c_void_p, c_void_p, c_long),
    "CFDataGetBytePtr": (_CF, c_void_p, c_void_p),
    "CFDataGetLength": (_CF, c_long, c_void_p),
    "CFDictionaryCreate": (_CF, c_void_p, c_void_p, _OUT, _OUT, c_long, c_void_p, c_void_p),
    "CFErrorGetCode": (_CF, c_long, c_void_p),
    "CFErrorCopyDescription": (_CF, c_void_p, c_void_p),
    "CFStringGetCString": (_CF, c_ubyte, c_void_p, c_void_p, c_long, c_uint32),
    "SecItemCopyMatching": (_SEC, c_int32, c_void_p, _OUT),
    "SecIdentityCopyCertificate": (_SEC, c_int32, c_void_p, _OUT),
    "SecIdentityCopyPrivateKey": (_SEC, c_int32, c_void_p, _OUT),
    "SecCertificateCopyData": (_SEC, c_void_p, c_void_p),
    "SecKeyCreateSignature": (_SEC, c_void_p, c_void_p, c_void_p, c_void_p, _OUT),
    "SecKeychainGetUserInteractionAllowed": (_SEC, c_int32, POINTER(c_ubyte)),
    "SecKeychainSetUserInteractionAllowed": (_SEC, c_int32, c_ubyte),
    "SecCopyErrorMessageString": (_SEC, c_void_p, c_int32, c_void_p),
}
"""By function: its framework, what it returns, and its parameters, from Apple's headers."""

FakeMacOS.signatures = _SIGNATURES
