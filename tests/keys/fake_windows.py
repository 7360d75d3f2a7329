"""Windows' certificate and key functions, as far as their documentation goes, behind real ctypes.

Every function is a C function pointer, declared here by itself: what the library declares must be
the same. Handles are counted; one that is used after it was freed, freed twice, or never, is a
violation, and the memory of a freed context is overwritten. Keys sign by ``cryptography``.
"""

from __future__ import annotations

import ctypes
import itertools
from ctypes import POINTER, c_int, c_int32, c_size_t, c_uint32, c_void_p
from ctypes import c_wchar_p as text
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from fake_functions import FakeFunctions, Library

NO_KEY_PROPERTY = 0x8009200B
BAD_ALGID = 0x80090008
BAD_KEYSET = 0x80090016
INVALID_HANDLE = 0x80090026
NOT_FOUND = 2
CNG = 0xFFFFFFFF

_DWORD_POINTER = POINTER(c_uint32)
_NUMBER_POINTER = POINTER(c_size_t)


class Context(ctypes.Structure):
    _fields_ = (
        ("encoding", c_uint32),
        ("data", c_void_p),
        ("size", c_uint32),
        ("info", c_void_p),
        ("store", c_void_p),
    )


class ProviderInfo(ctypes.Structure):
    _fields_ = (
        ("container", text),
        ("provider", text),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("count", c_uint32),
        ("parameters", c_void_p),
        ("spec", c_uint32),
    )


class Padding(ctypes.Structure):
    _fields_ = (("algorithm", text),)


@dataclass
class Entry:
    """A certificate in a store."""

    der: bytes
    key: Any = None
    cng: bool = True
    provider: str = "Microsoft Software Key Storage Provider"
    provider_type: int = 0
    container: str = "container"
    flags: int = 0
    ours: bool = True
    """Whether the caller frees the key's handle."""
    has_info: bool = True
    acquire_error: int = 0
    sign_error: int = 0


class FakeWindows(FakeFunctions):
    """Takes the place of ctypes: has ``WinDLL`` and ``get_last_error``."""

    def __init__(self) -> None:
        super().__init__(first_handle=0x1000)
        self.stores: dict[tuple[int, str], list[Entry]] = {}
        self._error = 0
        self._kept: list[Any] = []

    def store(self, place: str) -> list[Entry]:
        """What is in a store; it is there from then on."""
        location, _, name = place.partition("/")
        number = {"CurrentUser": 1 << 16, "LocalMachine": 2 << 16}[location]
        return self.stores.setdefault((number, name.upper()), [])

    def WinDLL(self, name: str, *, use_last_error: bool) -> Any:  # noqa: N802
        """A library: its functions are made when they are asked for."""
        assert use_last_error
        return Library(self, name)

    def get_last_error(self) -> int:
        """As a signed number, which ctypes gives."""
        return self._error - (1 << 32) if self._error >= 1 << 31 else self._error

    def _free(self, number: int, kind: str) -> int:
        held = self._get(number, kind)
        held.count -= 1
        if held.count == 0:
            del self._held[number]
            for der in held.memory[:1]:
                ctypes.memset(der, 0xDD, len(der))
            for each in held.parts:
                del self._held[each]
            # Never freed for real, so that its address is not given out again.
            self._kept.append(held)
        return 1

    def _fail(self, code: int) -> int:
        self._error = code
        return 0

    # crypt32

    def CertOpenStore(  # noqa: N802
        self, provider: int, encoding: int, crypt: int, flags: int, name: str
    ) -> int:
        assert provider == 10
        assert flags & 0xFFFF == 0x8000 | 0x4000
        found = self.stores.get((flags & 0xFFFF0000, name.upper()))
        if found is None:
            return self._fail(NOT_FOUND)
        return self._make("store", found)

    def CertCloseStore(self, store: int, flags: int) -> int:  # noqa: N802
        assert flags == 0
        return self._free(store, "store")

    def CertEnumCertificatesInStore(self, store: int, previous: int | None) -> int | None:  # noqa: N802
        entries = self._get(store, "store").value
        index = 0
        if previous is not None:
            index = self._get(previous, "context").value[1] + 1
            self._free(previous, "context")
        if index >= len(entries):
            return None
        der = ctypes.create_string_buffer(entries[index].der, len(entries[index].der))
        context = Context(1, ctypes.addressof(der), len(der), None, store)
        number = self._make("context", (entries[index], index), number=ctypes.addressof(context))
        self._held[number].memory += [der, context]
        return number

    def CertDuplicateCertificateContext(self, context: int) -> int:  # noqa: N802
        self._get(context, "context").count += 1
        return context

    def CertFreeCertificateContext(self, context: int) -> int:  # noqa: N802
        return self._free(context, "context")

    def CertGetCertificateContextProperty(  # noqa: N802
        self, context: int, which: int, data: int | None, size: Any
    ) -> int:
        entry = self._get(context, "context").value[0]
        assert which == 2
        if not entry.has_info or (entry.key is None and not entry.acquire_error):
            return self._fail(0x80092004)
        info = ProviderInfo(
            entry.container, entry.provider, entry.provider_type, entry.flags, 0, None, 1
        )
        self._kept.append(info)
        if data is not None:
            assert size[0] >= ctypes.sizeof(info)
            ctypes.memmove(data, ctypes.byref(info), ctypes.sizeof(info))
        size[0] = ctypes.sizeof(info)
        return 1

    def CryptAcquireCertificatePrivateKey(  # noqa: N802
        self, context: int, flags: int, window: int | None, key: Any, spec: Any, ours: Any
    ) -> int:
        entry = self._get(context, "context").value[0]
        assert flags == 0x20040
        if entry.acquire_error:
            return self._fail(entry.acquire_error)
        kind = "cng" if entry.cng else "provider"
        # One that is not the caller's lives as long as the context.
        key[0] = self._make(kind if entry.ours else "cached", entry)
        spec[0] = CNG if entry.cng else 1
        ours[0] = int(entry.ours)
        if not entry.ours:
            self._held[context].parts.append(key[0])
        return 1

    # ncrypt

    def NCryptSignHash(  # noqa: N802
        self,
        key: int,
        info: int | None,
        digest: int,
        digest_size: int,
        signature: int,
        room: int,
        size: Any,
        flags: int,
    ) -> int:
        entry = self._key(key, "cng")
        if entry.sign_error:
            return entry.sign_error - (1 << 32)
        assert digest_size == 32
        value = ctypes.string_at(digest, digest_size)
        if isinstance(entry.key, ec.EllipticCurvePrivateKey):
            assert info is None
            assert flags == 0x40
            made = raw_ecdsa(entry.key, value)
        else:
            assert flags == 0x42
            assert info is not None
            assert Padding.from_address(info).algorithm == "SHA256"
            made = entry.key.sign(value, padding.PKCS1v15(), Prehashed(SHA256()))
        assert room >= len(made)
        ctypes.memmove(signature, made, len(made))
        size[0] = len(made)
        return 0

    def NCryptFreeObject(self, key: int) -> int:  # noqa: N802
        self._free(key, "cng")
        return 0

    # advapi32

    def CryptAcquireContextW(  # noqa: N802
        self, provider: Any, container: str, name: str, kind: int, flags: int
    ) -> int:
        assert (name, kind) == ("Microsoft Enhanced RSA and AES Cryptographic Provider", 24)
        assert flags & ~0x20 == 0x40
        for entry in itertools.chain.from_iterable(self.stores.values()):
            if entry.container == container and entry.flags & 0x20 == flags & 0x20:
                aes = Entry(entry.der, entry.key, provider_type=24, sign_error=entry.sign_error)
                provider[0] = self._make("provider", aes)
                return 1
        return self._fail(BAD_KEYSET)

    def CryptReleaseContext(self, provider: int, flags: int) -> int:  # noqa: N802
        assert flags == 0
        return self._free(provider, "provider")

    def CryptCreateHash(  # noqa: N802
        self, provider: int, algorithm: int, key: int, flags: int, hashing: Any
    ) -> int:
        entry = self._key(provider, "provider")
        assert (algorithm, key, flags) == (0x800C, 0, 0)
        if entry.sign_error == INVALID_HANDLE:
            return self._fail(INVALID_HANDLE)
        if entry.provider_type == 1:
            return self._fail(BAD_ALGID)
        hashing[0] = self._make("hash", [entry, None])
        return 1

    def _key(self, number: int, kind: str) -> Entry:
        held = self._held.get(number)
        cached = held is not None and held.kind == "cached"
        entry: Entry = self._get(number, "cached" if cached else kind).value
        return entry

    def CryptSetHashParam(self, hashing: int, which: int, value: int, flags: int) -> int:  # noqa: N802
        assert (which, flags) == (2, 0)
        held = self._get(hashing, "hash")
        if held.value[0].sign_error == BAD_KEYSET:
            return self._fail(BAD_KEYSET)
        held.value[1] = ctypes.string_at(value, 32)
        return 1

    def CryptSignHashW(  # noqa: N802
        self, hashing: int, spec: int, text: int | None, flags: int, signature: int, size: Any
    ) -> int:
        entry, digest = self._get(hashing, "hash").value
        assert (spec, text, flags) == (1, None, 0)
        if entry.sign_error:
            return self._fail(entry.sign_error)
        made = entry.key.sign(digest, padding.PKCS1v15(), Prehashed(SHA256()))[::-1]
        assert size[0] >= len(made)
        ctypes.memmove(signature, made, len(made))
        size[0] = len(made)
        return 1

    def CryptDestroyHash(self, hashing: int) -> int:  # noqa: N802
        return self._free(hashing, "hash")


def raw_ecdsa(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    """r and s, one behind the other, as long as the curve's order."""
    size = (key.curve.key_size + 7) // 8
    numbers = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
    return b"".join(number.to_bytes(size, "big") for number in numbers)


_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "CertOpenStore": ("crypt32", c_void_p, c_void_p, c_uint32, c_size_t, c_uint32, text),
    "CertCloseStore": ("crypt32", c_int, c_void_p, c_uint32),
    "CertEnumCertificatesInStore": ("crypt32", c_void_p, c_void_p, c_void_p),
    "CertDuplicateCertificateContext": ("crypt32", c_void_p, c_void_p),
    "CertFreeCertificateContext": ("crypt32", c_int, c_void_p),
    "CertGetCertificateContextProperty": (
        "crypt32", c_int, c_void_p, c_uint32, c_void_p, _DWORD_POINTER,
    ),
    "CryptAcquireCertificatePrivateKey": (
        "crypt32", c_int, c_void_p, c_uint32, c_void_p, _NUMBER_POINTER, _DWORD_POINTER,
        POINTER(c_int),
    ),
    "NCryptSignHash": (
        "ncrypt", c_int32, c_size_t, c_void_p, c_void_p, c_uint32, c_void_p, c_uint32,
        _DWORD_POINTER, c_uint32,
    ),
    "NCryptFreeObject": ("ncrypt", c_int32, c_size_t),
    "CryptAcquireContextW": (
        "advapi32", c_int, _NUMBER_POINTER, text, text, c_uint32, c_uint32,
    ),
    "CryptReleaseContext": ("advapi32", c_int, c_size_t, c_uint32),
    "CryptCreateHash": (
        "advapi32", c_int, c_size_t, c_uint32, c_size_t, c_uint32, _NUMBER_POINTER,
    ),
    "CryptDestroyHash": ("advapi32", c_int, c_size_t),
    "CryptSetHashParam": ("advapi32", c_int, c_size_t, c_uint32, c_void_p, c_uint32),
    "CryptSignHashW": (
        "advapi32", c_int, c_size_t, c_uint32, c_void_p, c_uint32, c_void_p, _DWORD_POINTER,
    ),
}  # fmt: skip
"""By function: its library, what it returns, and its parameters, from Microsoft's headers."""

FakeWindows.signatures = _SIGNATURES
