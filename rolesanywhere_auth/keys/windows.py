# SPDX-License-Identifier: Apache-2.0
"""Certificate stores of Windows, and the keys that belong to their certificates.

``store:`` means ``store:CurrentUser/MY``; the place is CurrentUser or LocalMachine, and the name
of a store. Keys of CNG sign by ``NCryptSignHash`` (software, TPM, cards), those of the older
CryptoAPI by ``CryptSignHash``. No dialog is ever shown: a key that needs one refuses.

Proved under wine with RSA keys of both kinds. What wine cannot do, ECDSA, keys in a TPM or on a
card, was never seen on a real Windows: see the page on operating systems' stores.
"""

from __future__ import annotations

import ctypes
import functools
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from ctypes import byref, c_void_p

from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    PrivateKeyLoadError,
    SigningError,
)
from rolesanywhere_auth.forking import Guard, local_work
from rolesanywhere_auth.keys import _windows_api as api
from rolesanywhere_auth.keys._windows_api import API, DWORD, NUMBER, explain
from rolesanywhere_auth.keys.os_store import Contents, Key

_LOCATIONS = {
    "currentuser": ("CurrentUser", api.CERT_SYSTEM_STORE_CURRENT_USER),
    "localmachine": ("LocalMachine", api.CERT_SYSTEM_STORE_LOCAL_MACHINE),
}
_DEFAULT = "CurrentUser/MY"
_AUTHORITIES = ("CA", "Root")
"""The stores of intermediates and of roots. An intermediate may be among the roots by mistake."""
_LARGEST_SIGNATURE = 4096


def parse_place(place: str, *, reference: str) -> str:
    r"""The place in its plain form, such as ``LocalMachine/MY``.

    ``Cert:\LocalMachine\My`` of PowerShell is understood as well.

    Raises:
        ConfigurationError: there is no such location, or no name behind it.
    """
    text = place.replace("\\", "/").strip("/") or _DEFAULT
    if text.lower().startswith("cert:"):
        text = text[5:].strip("/")
    location, _, name = text.partition("/")
    known = _LOCATIONS.get(location.lower())
    if known is None or "/" in name:
        raise ConfigurationError(
            f"{reference}: there is no place {place!r}. Write store:CurrentUser/MY, "
            "store:LocalMachine/MY, or another store's name instead of MY."
        )
    return f"{known[0]}/{name or 'MY'}"


class WindowsSystem:
    """Windows' certificate stores. A ``System``."""

    acquire_flags = api.CRYPT_ACQUIRE_SILENT_FLAG | api.CRYPT_ACQUIRE_PREFER_NCRYPT_KEY_FLAG

    def __init__(self, libraries: API) -> None:
        self._api = libraries
        self.guard = Guard()
        self.abandoned: deque[tuple[int, Key]] = deque()

    def contents(self, place: str) -> Contents:
        """The certificates; raises as ``System.contents`` does."""
        identities: list[bytes] = []
        others: list[bytes] = []
        with self._store(place) as store:
            if store is None:
                code = self._api.last_error()
                raise CertificateLoadError(
                    f"store:{place}: Windows cannot open this certificate store: {explain(code)} "
                    "See certutil -store, with -user for CurrentUser.",
                    source=f"store:{place}",
                )
            with closing(self._certificates(store)) as contexts:
                for context in contexts:
                    (identities if self._provider(context) else others).append(_der(context))
        location = place.partition("/")[0]
        for name in _AUTHORITIES:
            with self._store(f"{location}/{name}") as store:
                if store is not None:
                    with closing(self._certificates(store)) as contexts:
                        others.extend(map(_der, contexts))
        return Contents(identities, others)

    def open_key(self, place: str, certificate: bytes, *, elliptic: bool, source: str) -> Key:
        """The key; raises as ``System.open_key`` does."""
        with self._store(place) as store:
            if store is not None:
                with closing(self._certificates(store)) as contexts:
                    for context in contexts:
                        if _der(context) == certificate:
                            return self.acquire(context, elliptic=elliptic, source=source)
        raise PrivateKeyLoadError(
            f"{source}: the certificate is no longer in the store.", source=source
        )

    def acquire(self, context: int, *, elliptic: bool, source: str) -> Key:
        """The key of a certificate context, which is still the caller's; raises the same."""
        handle, spec, ours = NUMBER(), DWORD(), api.BOOL()
        context = self._api.crypt32.CertDuplicateCertificateContext(context)
        if not self._api.crypt32.CryptAcquireCertificatePrivateKey(
            context,
            self.acquire_flags,
            None,
            byref(handle),
            byref(spec),
            byref(ours),
        ):
            code = self._api.last_error()
            self._api.crypt32.CertFreeCertificateContext(context)
            raise PrivateKeyLoadError(
                f"{source}: Windows does not give the private key: {explain(code)}", source=source
            )
        # A handle that is not ours lives as long as the context, so that is kept with it.
        free = self._api.crypt32.CertFreeCertificateContext
        if spec.value == api.CERT_NCRYPT_KEY_SPEC:
            release = self._api.ncrypt.NCryptFreeObject if ours.value else None
            return CNGKey(
                self._api,
                handle.value,
                elliptic=elliptic,
                source=source,
                release=functools.partial(_release, release, handle.value, free, context),
            )
        release = self._release_context if ours.value else None
        return CryptoAPIKey(
            self._api,
            handle.value,
            spec=spec.value,
            reopen=functools.partial(self._reopen, context),
            source=source,
            release=functools.partial(_release, release, handle.value, free, context),
        )

    def _release_context(self, handle: int) -> None:
        self._api.advapi32.CryptReleaseContext(handle, 0)

    def _reopen(self, context: int) -> int | None:
        """The same container in a provider that knows SHA-256; None if there is none.

        Microsoft's providers share their containers; those of PROV_RSA_FULL end at SHA-1.
        """
        buffer = self._provider(context)
        info = api.KeyProviderInfo.from_buffer(buffer) if buffer is not None else None
        if info is None or info.type != api.PROV_RSA_FULL:
            return None
        if not (info.provider or "").startswith("Microsoft "):
            return None
        handle = NUMBER()
        flags = api.CRYPT_SILENT | (info.flags & api.CRYPT_MACHINE_KEYSET)
        if not self._api.advapi32.CryptAcquireContextW(
            byref(handle), info.container, api.MS_ENH_RSA_AES_PROV, api.PROV_RSA_AES, flags
        ):
            return None
        return handle.value

    def _provider(self, context: int) -> ctypes.Array[ctypes.c_char] | None:
        """What the certificate says of its key, a ``KeyProviderInfo``; None if it has none."""
        get = self._api.crypt32.CertGetCertificateContextProperty
        size = DWORD()
        if not get(context, api.CERT_KEY_PROV_INFO_PROP_ID, None, byref(size)):
            return None
        buffer = ctypes.create_string_buffer(size.value)
        if not get(context, api.CERT_KEY_PROV_INFO_PROP_ID, buffer, byref(size)):
            return None
        return buffer

    @contextmanager
    def _store(self, place: str) -> Iterator[int | None]:
        """A certificate store, open within; None if it cannot be opened."""
        location, _, name = place.partition("/")
        store = self._api.crypt32.CertOpenStore(
            c_void_p(api.CERT_STORE_PROV_SYSTEM_W),
            0,
            0,
            _LOCATIONS[location.lower()][1]
            | api.CERT_STORE_OPEN_EXISTING_FLAG
            | api.CERT_STORE_READONLY_FLAG,
            name,
        )
        try:
            yield store
        finally:
            if store is not None:
                self._api.crypt32.CertCloseStore(store, 0)

    def _certificates(self, store: int) -> Generator[int, None, None]:
        """The contexts of a store, each good until the next is asked for."""
        context: int | None = None
        try:
            # It frees the context that it is given.
            while (
                context := self._api.crypt32.CertEnumCertificatesInStore(store, context)
            ) is not None:
                yield context
        finally:
            if context is not None:
                self._api.crypt32.CertFreeCertificateContext(context)


def _der(context: int) -> bytes:
    fields = ctypes.cast(context, ctypes.POINTER(api.CertificateContext)).contents
    return ctypes.string_at(fields.data, fields.size)


def _release(
    release: Callable[[int], object] | None,
    handle: int,
    free_context: Callable[[int], object],
    context: int,
) -> None:
    if release is not None:
        release(handle)
    free_context(context)


class CNGKey:
    """A handle of CNG. A ``Key``."""

    def __init__(
        self,
        libraries: API,
        handle: int,
        *,
        elliptic: bool,
        source: str,
        release: Callable[[], object],
    ) -> None:
        self._api = libraries
        self._handle = handle
        self._elliptic = elliptic
        self._source = source
        self._release = release

    def close(self) -> None:
        """Give the handle back."""
        self._release()

    def sign(self, digest: bytes) -> bytes:
        """Sign; raises as ``Key.sign`` does."""
        padding = api.PKCS1PaddingInfo("SHA256")
        size = DWORD()
        buffer = ctypes.create_string_buffer(_LARGEST_SIGNATURE)
        status = self._api.ncrypt.NCryptSignHash(
            self._handle,
            None if self._elliptic else byref(padding),
            digest,
            len(digest),
            buffer,
            len(buffer),
            byref(size),
            api.NCRYPT_SILENT_FLAG | (0 if self._elliptic else api.BCRYPT_PAD_PKCS1),
        )
        if status:
            raise SigningError(
                f"{self._source}: Windows (CNG) does not sign: {explain(status)}",
                source=self._source,
            )
        signature = buffer.raw[: size.value]
        return ecdsa_der(signature) if self._elliptic else signature


def ecdsa_der(signature: bytes) -> bytes:
    """The DER of an ECDSA signature (RFC 3279 2.2.3) that is r and s, each half of it."""
    with local_work():
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        half = len(signature) // 2
        return encode_dss_signature(
            int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
        )


class CryptoAPIKey:
    """A handle of the older CryptoAPI: RSA alone. A ``Key``."""

    def __init__(
        self,
        libraries: API,
        handle: int,
        *,
        spec: int,
        reopen: Callable[[], int | None],
        source: str,
        release: Callable[[], object],
    ) -> None:
        self._api = libraries
        self._handle = handle
        self._spec = spec
        self._reopen = reopen
        self._reopened: int | None = None
        self._source = source
        self._release = release

    def sign(self, digest: bytes) -> bytes:
        """Sign; raises as ``Key.sign`` does."""
        hashing = self._create_hash()
        with closing(_Hash(self._api, hashing)):
            if not self._api.advapi32.CryptSetHashParam(hashing, api.HP_HASHVAL, digest, 0):
                raise self._error()
            size = DWORD(_LARGEST_SIGNATURE)
            buffer = ctypes.create_string_buffer(size.value)
            if not self._api.advapi32.CryptSignHashW(
                hashing, self._spec, None, 0, buffer, byref(size)
            ):
                raise self._error()
        return buffer.raw[: size.value][::-1]  # CryptoAPI has the lowest byte first

    def close(self) -> None:
        """Give the handles back."""
        if self._reopened is not None:
            self._api.advapi32.CryptReleaseContext(self._reopened, 0)
        self._release()

    def _create_hash(self) -> int:
        hashing = NUMBER()
        handle = self._handle if self._reopened is None else self._reopened
        if not self._create(handle, hashing):
            error = self._error()
            if self._reopened is not None or self._api.last_error() != api.NTE_BAD_ALGID:
                raise error
            self._reopened = self._reopen()
            if self._reopened is None or not self._create(self._reopened, hashing):
                raise error
        return hashing.value

    def _create(self, handle: int, hashing: NUMBER) -> bool:
        create = self._api.advapi32.CryptCreateHash
        return bool(create(handle, api.CALG_SHA_256, 0, 0, byref(hashing)))

    def _error(self) -> SigningError:
        """The error for the call before; another call may change what Windows says of it."""
        code = self._api.last_error()
        return SigningError(
            f"{self._source}: Windows (CryptoAPI) does not sign: {explain(code)}",
            source=self._source,
        )


class _Hash:
    def __init__(self, libraries: API, handle: int) -> None:
        self._api = libraries
        self._handle = handle

    def close(self) -> None:
        self._api.advapi32.CryptDestroyHash(self._handle)


@functools.cache
def system() -> WindowsSystem:
    """This process's, its libraries loaded when it is first asked for."""
    return WindowsSystem(api.load())
