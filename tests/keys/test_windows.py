"""Windows' certificate stores over `fake_windows`; under wine for real: test_wine.py."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from fake_windows import BAD_KEYSET, INVALID_HANDLE, Entry, FakeWindows, raw_ecdsa

from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    PrivateKeyLoadError,
    SigningError,
)
from rolesanywhere_auth.identity import Identity
from rolesanywhere_auth.keys import _windows_api, check_signature, os_store, windows
from rolesanywhere_auth.keys._selectors import parse_reference
from rolesanywhere_auth.keys.os_store import OSStore, StoreSigner
from rolesanywhere_auth.testing import CertificateAuthority

DATA = b"what is signed"
ENHANCED = "Microsoft Enhanced Cryptographic Provider v1.0"


@pytest.fixture
def fake() -> Iterator[FakeWindows]:
    """Windows. What is used wrongly, or not given back in the end, fails the test."""
    made = FakeWindows()
    yield made
    made.check_declarations()
    assert made.violations == []
    assert made.open_handles() == []


@pytest.fixture
def system(fake: FakeWindows) -> Iterator[windows.WindowsSystem]:
    """The system over it; in the end, what is no longer used is given back."""
    made = windows.WindowsSystem(_windows_api.load(fake))
    fake.store("CurrentUser/MY")
    yield made
    gc.collect()
    fake.store("CurrentUser/Empty")
    store_of(made, "store:CurrentUser/Empty").stamp()


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """Who certifies."""
    return CertificateAuthority()


def store_of(system: windows.WindowsSystem, reference: str = "store:") -> OSStore:
    """A store by reference."""
    parsed = parse_reference(reference)
    place = windows.parse_place(parsed.place, reference=reference)
    return OSStore(parsed, place=place, system=lambda: system)


def entry_of(authority: CertificateAuthority, key_type: Any = "rsa-2048", **more: Any) -> Entry:
    """A certificate and its key."""
    leaf = authority.issue("app", key_type=key_type)
    return Entry(leaf.certificate.public_bytes(Encoding.DER), leaf.private_key, **more)


def checked(signer: StoreSigner) -> None:
    """Sign, and verify by cryptography."""
    check_signature(signer.public_key(), signer.sign(DATA), DATA, source="test")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("", "CurrentUser/MY"),
        ("/", "CurrentUser/MY"),
        ("CurrentUser", "CurrentUser/MY"),
        ("localmachine/My", "LocalMachine/My"),
        ("LocalMachine\\WebHosting", "LocalMachine/WebHosting"),
        ("Cert:\\CurrentUser\\My", "CurrentUser/My"),
        ("cert:/LocalMachine/My/", "LocalMachine/My"),
    ],
)
def test_places(place: str, expected: str) -> None:
    """Location and store, as Windows and PowerShell write them."""
    assert windows.parse_place(place, reference="store:") == expected


@pytest.mark.parametrize("place", ["MY", "Users/MY", "CurrentUser/MY/x"])
def test_what_is_no_place(place: str) -> None:
    """The error says how to write one."""
    with pytest.raises(ConfigurationError, match=r"Write store:CurrentUser/MY"):
        windows.parse_place(place, reference=f"store:{place}")


@pytest.mark.parametrize("key_type", ["rsa-2048", "rsa-3072", "ec-p256", "ec-p384", "ec-p521"])
@pytest.mark.parametrize("ours", [True, False])
def test_keys_of_cng(
    fake: FakeWindows,
    system: windows.WindowsSystem,
    authority: CertificateAuthority,
    key_type: str,
    ours: bool,
) -> None:
    """RSA is padded by PKCS #1, ECDSA turned into DER; a handle that Windows keeps is not freed."""
    fake.store("CurrentUser/MY").append(entry_of(authority, key_type, ours=ours))
    signer = store_of(system).signer([])

    for _ in range(3):
        checked(signer)

    assert fake.calls.count("CryptAcquireCertificatePrivateKey") == 1
    del signer


@pytest.mark.parametrize("ours", [True, False])
def test_keys_of_cryptoapi(
    fake: FakeWindows, system: windows.WindowsSystem, authority: CertificateAuthority, ours: bool
) -> None:
    """The signature is turned round."""
    entry = entry_of(authority, cng=False, provider_type=24, ours=ours)
    fake.store("CurrentUser/MY").append(entry)

    checked(store_of(system).signer([]))

    assert "NCryptSignHash" not in fake.calls
    assert "CryptAcquireContextW" not in fake.calls


@pytest.mark.parametrize("place", ["CurrentUser/MY", "LocalMachine/MY"])
def test_old_providers(
    fake: FakeWindows, system: windows.WindowsSystem, authority: CertificateAuthority, place: str
) -> None:
    """A container of Microsoft's that knows no SHA-256 is opened by a provider that does, once."""
    flags = 0x20 if place.startswith("LocalMachine") else 0
    fake.store(place).append(
        entry_of(authority, cng=False, provider=ENHANCED, provider_type=1, flags=flags)
    )
    signer = store_of(system, f"store:{place}").signer([])

    checked(signer)
    checked(signer)

    assert fake.calls.count("CryptAcquireContextW") == 1


def test_providers_without_sha256(
    fake: FakeWindows, system: windows.WindowsSystem, authority: CertificateAuthority
) -> None:
    """A provider that cannot, and that no other stands in for: the error says what to do."""
    entry = entry_of(authority, cng=False, provider="Acme Smart Card CSP", provider_type=1)
    fake.store("CurrentUser/MY").append(entry)
    signer = store_of(system).signer([])

    with pytest.raises(SigningError, match=r"NTE_BAD_ALGID .* -importPFX FILE") as caught:
        signer.sign(DATA)

    assert str(caught.value).startswith("store:: Windows (CryptoAPI) does not sign: ")
    assert "CryptAcquireContextW" not in fake.calls


def test_containers_that_do_not_open_again(
    fake: FakeWindows, system: windows.WindowsSystem, authority: CertificateAuthority
) -> None:
    """A container that Windows does not give to the newer provider: the older one's error stays."""
    entry = entry_of(authority, cng=False, provider=ENHANCED, provider_type=1)
    fake.store("CurrentUser/MY").append(entry)
    signer = store_of(system).signer([])
    fake.CryptAcquireContextW = lambda *_: fake._fail(BAD_KEYSET)  # type: ignore[method-assign]

    with pytest.raises(SigningError, match="NTE_BAD_ALGID"):
        signer.sign(DATA)


def test_errors_of_cng(
    fake: FakeWindows, system: windows.WindowsSystem, authority: CertificateAuthority
) -> None:
    """The key is opened once more; then the error has Windows' name for it, and what to do."""
    entry = entry_of(authority, "ec-p256")
    fake.store("CurrentUser/MY").append(entry)
    signer = store_of(system).signer([])
    entry.sign_error = 0x80090022

    with pytest.raises(SigningError, match=r"NTE_SILENT_CONTEXT \(0x80090022\): the key asks"):
        signer.sign(DATA)

    assert fake.calls.count("CryptAcquireCertificatePrivateKey") == 2


@pytest.mark.parametrize("code", [0x80090010, BAD_KEYSET, INVALID_HANDLE])
def test_errors_of_cryptoapi(
    fake: FakeWindows, system: windows.WindowsSystem, authority: CertificateAuthority, code: int
) -> None:
    """At whichever call: the hash is given back, and the error is named."""
    entry = entry_of(authority, cng=False, provider_type=24)
    fake.store("CurrentUser/MY").append(entry)
    signer = store_of(system).signer([])
    entry.sign_error = code

    with pytest.raises(SigningError, match=f"0x{code:X}"):
        signer.sign(DATA)


def test_a_key_that_windows_does_not_give(
    fake: FakeWindows, system: windows.WindowsSystem, authority: CertificateAuthority
) -> None:
    """No right to it, or no key: an error of the key that says how to get it."""
    entry = entry_of(authority, acquire_error=BAD_KEYSET)
    fake.store("LocalMachine/MY").append(entry)
    store = store_of(system, "store:LocalMachine/MY")

    with pytest.raises(PrivateKeyLoadError, match=r"NTE_BAD_KEYSET .*'Manage Private Keys'"):
        store.signer([])
    entry.acquire_error = 5
    with pytest.raises(PrivateKeyLoadError, match=r"ERROR_ACCESS_DENIED \(error 5\): give"):
        store.signer([])
    entry.acquire_error = 0x8000FFFF
    with pytest.raises(PrivateKeyLoadError, match=r"private key: 0x8000FFFF\.$"):
        store.signer([])


def test_a_certificate_that_went(
    fake: FakeWindows, system: windows.WindowsSystem, authority: CertificateAuthority
) -> None:
    """Its key is not looked for under another one; nor in a store that is gone."""
    entry = entry_of(authority)
    fake.store("CurrentUser/MY").append(entry)
    signer = store_of(system).signer([])
    entry.sign_error = 0x80090026
    fake.stores[1 << 16, "MY"] = [entry_of(authority)]

    with pytest.raises(SigningError, match="no longer in the store"):
        signer.sign(DATA)
    fake.stores.clear()
    with pytest.raises(SigningError, match="no longer in the store"):
        signer.sign(DATA)


def test_no_such_store(system: windows.WindowsSystem) -> None:
    """Named, with Windows' reason."""
    with pytest.raises(
        CertificateLoadError, match=r"store:LocalMachine/Nowhere: Windows cannot open .* error 2\."
    ):
        store_of(system, "store:LocalMachine/Nowhere").certificates()


def test_certificates_without_keys(
    fake: FakeWindows, system: windows.WindowsSystem, authority: CertificateAuthority
) -> None:
    """They are none to sign in with, but may stand above those that are, like those of CA."""
    lower = authority.intermediate("Lower")
    leaf = lower.issue("app")
    mine = fake.store("CurrentUser/MY")
    mine.append(Entry(authority.issue("app").certificate.public_bytes(Encoding.DER)))
    mine.append(Entry(leaf.certificate.public_bytes(Encoding.DER), leaf.private_key))
    mine.append(Entry(lower.certificate.public_bytes(Encoding.DER)))
    root = authority.certificate.public_bytes(Encoding.DER)
    fake.store("CurrentUser/Root").append(Entry(root))

    found = store_of(system).certificates()

    assert found == [mine[1].der, mine[2].der, root]


def test_what_a_certificate_says_of_its_key_may_vanish(
    fake: FakeWindows, system: windows.WindowsSystem, authority: CertificateAuthority
) -> None:
    """Between the question for its size and that for it: then there is none."""
    entry = entry_of(authority, cng=False, provider=ENHANCED, provider_type=1)
    fake.store("CurrentUser/MY").append(entry)
    original = fake.CertGetCertificateContextProperty

    def vanishing(context: int, which: int, data: int | None, size: Any) -> int:
        return original(context, which, data, size) if data is None else 0

    fake.CertGetCertificateContextProperty = vanishing  # type: ignore[method-assign]
    with pytest.raises(CertificateLoadError, match="no certificate with a private key"):
        store_of(system).certificates()


def test_a_provider_that_cannot_be_asked(
    fake: FakeWindows, system: windows.WindowsSystem, authority: CertificateAuthority
) -> None:
    """A key of CryptoAPI whose certificate no longer names its container stays as it is."""
    entry = entry_of(authority, cng=False, provider=ENHANCED, provider_type=1)
    fake.store("CurrentUser/MY").append(entry)
    signer = store_of(system).signer([])
    entry.has_info = False

    with pytest.raises(SigningError, match="Windows"):
        signer.sign(DATA)


def test_an_identity(
    fake: FakeWindows, system: windows.WindowsSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reference gives certificate, intermediates and key at once."""
    root = CertificateAuthority()
    lower = root.intermediate()
    leaf = lower.issue("app")
    fake.store("LocalMachine/MY").append(
        Entry(leaf.certificate.public_bytes(Encoding.DER), leaf.private_key)
    )
    fake.store("LocalMachine/CA").append(Entry(lower.certificate.public_bytes(Encoding.DER)))
    monkeypatch.setitem(os_store._MODULES, sys.platform, "rolesanywhere_auth.keys.windows")
    monkeypatch.setattr(windows, "system", lambda: system)

    identity = Identity.load("store:LocalMachine/MY", now=datetime.now(timezone.utc))

    assert identity.serial_number == leaf.serial_number
    assert [each.der for each in identity.intermediates] == [
        lower.certificate.public_bytes(Encoding.DER)
    ]
    identity.signer.sign(DATA)


def test_ecdsa_in_der() -> None:
    """r and s become what cryptography verifies, whatever their leading bytes."""
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        key = ec.generate_private_key(curve)
        digest = hashlib.sha256(DATA).digest()
        for _ in range(20):
            signature = windows.ecdsa_der(raw_ecdsa(key, digest))
            key.public_key().verify(signature, DATA, ec.ECDSA(SHA256()))
    assert windows.ecdsa_der(b"\x00\x80" + b"\x00\x01").hex() == "300702020080020101"


def test_the_libraries_are_loaded_when_needed(
    fake: FakeWindows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ctypes, once in a process."""
    monkeypatch.setattr(ctypes, "WinDLL", fake.WinDLL, raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", fake.get_last_error, raising=False)
    windows.system.cache_clear()

    assert windows.system() is windows.system()
    with pytest.raises(CertificateLoadError, match="error 2"):
        store_of(windows.system()).stamp()
    windows.system.cache_clear()


def test_the_fake_finds_faults() -> None:
    """Handles freed twice, used afterwards, or never freed, and wrong types, do not pass."""
    fake = FakeWindows()
    fake.store("CurrentUser/MY")
    api = _windows_api.load(fake)
    store = api.crypt32.CertOpenStore(10, 0, 0, 1 << 16 | 0xC000, "MY")
    assert fake.open_handles() == ["store"]
    api.crypt32.CertCloseStore(store, 0)
    assert fake.violations == []

    api.crypt32.CertCloseStore(store, 0)
    api.crypt32.CertEnumCertificatesInStore(store, None)
    assert len(fake.violations) == 2
    with pytest.raises(ctypes.ArgumentError):
        api.crypt32.CertCloseStore(1.5, 0)
    api.crypt32.CertCloseStore.argtypes = [ctypes.c_uint32, ctypes.c_uint32]
    with pytest.raises(AssertionError, match="CertCloseStore"):
        fake.check_declarations()
