"""The macOS Keychain over `fake_macos`: nothing here was seen on a real macOS."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from fake_macos import Entry, FakeMacOS

from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    PrivateKeyLoadError,
    SigningError,
)
from rolesanywhere_auth.keys import _macos_api, check_signature, macos
from rolesanywhere_auth.keys._selectors import parse_reference
from rolesanywhere_auth.keys.os_store import OSStore
from rolesanywhere_auth.testing import CertificateAuthority

DATA = b"what is signed"


@pytest.fixture
def fake() -> Iterator[FakeMacOS]:
    """macOS. What is used wrongly, or not released in the end, fails the test."""
    made = FakeMacOS()
    yield made
    made.check_declarations()
    assert made.violations == []
    assert made.open_handles() == []
    assert made.interaction == 1


@pytest.fixture
def system(fake: FakeMacOS) -> Iterator[macos.KeychainSystem]:
    """The system over it; in the end, what is no longer used is released."""
    made = macos.KeychainSystem(_macos_api.API(fake, symbol=fake.symbol))
    yield made
    gc.collect()
    fake.query_error.clear()
    fake.interaction_error = 0
    store_of(made).stamp()


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """Who certifies."""
    return CertificateAuthority()


def store_of(system: macos.KeychainSystem, reference: str = "store:") -> OSStore:
    """A store by reference."""
    parsed = parse_reference(reference)
    place = macos.parse_place(parsed.place, reference=reference)
    return OSStore(parsed, place=place, system=lambda: system)


def entry_of(authority: CertificateAuthority, key_type: Any = "ec-p256", **more: Any) -> Entry:
    """A certificate and its key."""
    leaf = authority.issue("app", key_type=key_type)
    return Entry(leaf.certificate.public_bytes(Encoding.DER), leaf.private_key, **more)


def test_places() -> None:
    """There is one alone."""
    assert macos.parse_place("", reference="store:") == "Keychain"
    assert macos.parse_place("keychain", reference="store:keychain") == "Keychain"
    with pytest.raises(ConfigurationError, match="On macOS write store: alone"):
        macos.parse_place("CurrentUser/MY", reference="store:CurrentUser/MY")


@pytest.mark.parametrize("on_token", [False, True])
@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256", "ec-p384", "ec-p521"])
def test_keys(
    fake: FakeMacOS,
    system: macos.KeychainSystem,
    authority: CertificateAuthority,
    key_type: str,
    on_token: bool,
) -> None:
    """Of a keychain or of a token: one SecKey makes all signatures."""
    fake.keychain.append(entry_of(authority, key_type, on_token=on_token))
    signer = store_of(system).signer([])

    for _ in range(3):
        check_signature(signer.public_key(), signer.sign(DATA), DATA, source="test")

    assert fake.calls.count("SecIdentityCopyPrivateKey") == 1
    del signer


def test_the_chain(
    fake: FakeMacOS, system: macos.KeychainSystem, authority: CertificateAuthority
) -> None:
    """Intermediates come from the keychains, also those without keys."""
    lower = authority.intermediate()
    leaf = lower.issue("app")
    above = [each.certificate.public_bytes(Encoding.DER) for each in (lower, authority)]
    fake.keychain += [Entry(above[1]), Entry(above[0])]
    fake.keychain.append(Entry(leaf.certificate.public_bytes(Encoding.DER), leaf.private_key))

    assert store_of(system).certificates() == [fake.keychain[2].der, *above]


def test_nothing_there(system: macos.KeychainSystem) -> None:
    """Empty keychains are no failure of macOS."""
    with pytest.raises(CertificateLoadError, match="no certificate with a private key"):
        store_of(system).certificates()


@pytest.mark.parametrize("status", [-34018, -25291, -50])
def test_programs_that_may_not_see_tokens(
    fake: FakeMacOS, system: macos.KeychainSystem, authority: CertificateAuthority, status: int
) -> None:
    """To them there are none; the keychains are as before."""
    fake.keychain.append(entry_of(authority))
    fake.query_error["tokens"] = status

    assert store_of(system).certificates() == [fake.keychain[0].der]


@pytest.mark.parametrize("query", ["tokens", "identities", "certificates"])
def test_keychains_that_cannot_be_read(
    fake: FakeMacOS, system: macos.KeychainSystem, query: str
) -> None:
    """The error has the status, and what macOS says of it."""
    fake.query_error[query] = -25293

    with pytest.raises(
        CertificateLoadError, match=r"errSecAuthFailed \(-25293\): .* Status -25293, it says\.$"
    ):
        store_of(system).certificates()


def test_a_key_that_asks(
    fake: FakeMacOS, system: macos.KeychainSystem, authority: CertificateAuthority
) -> None:
    """No dialog is shown; the error says how to do without. Afterwards dialogs are as before."""
    fake.keychain.append(entry_of(authority, asks=True))
    signer = store_of(system).signer([])

    with pytest.raises(SigningError, match=r"errSecInteractionNotAllowed .*unlock-keychain"):
        signer.sign(DATA)

    assert fake.interaction == 1
    fake.interaction = 0
    with pytest.raises(SigningError):
        signer.sign(DATA)
    assert fake.interaction == 0
    fake.interaction = 1


def test_a_key_that_fails(
    fake: FakeMacOS, system: macos.KeychainSystem, authority: CertificateAuthority
) -> None:
    """What macOS says is in the error, as far as it says something."""
    entry = entry_of(authority, sign_error=-67808)
    fake.keychain.append(entry)
    signer = store_of(system).signer([])

    with pytest.raises(SigningError, match=r"does not sign: status -67808\. Error -67808, it"):
        signer.sign(DATA)
    fake.unnamed_errors = True
    with pytest.raises(SigningError, match=r"does not sign: status -67808\.$"):
        signer.sign(DATA)


def test_a_key_that_is_not_given(
    fake: FakeMacOS, system: macos.KeychainSystem, authority: CertificateAuthority
) -> None:
    """An error of the key; a text of macOS that is too long is left out."""
    entry = entry_of(authority, key_error=-25300)
    fake.keychain.append(entry)
    with pytest.raises(PrivateKeyLoadError, match=r"errSecItemNotFound .* is gone\. Status"):
        store_of(system).signer([])
    fake.unnamed_errors = True
    with pytest.raises(PrivateKeyLoadError, match=r"private key: errSecItemNotFound .* gone\.$"):
        store_of(system).signer([])


def test_a_certificate_that_went(
    fake: FakeMacOS, system: macos.KeychainSystem, authority: CertificateAuthority
) -> None:
    """Its key is not looked for under another one."""
    entry = entry_of(authority)
    fake.keychain.append(entry)
    signer = store_of(system).signer([])
    entry.sign_error = -25291
    fake.keychain[:] = [entry_of(authority)]

    with pytest.raises(SigningError, match="no longer in Keychain"):
        signer.sign(DATA)


def test_objects_that_macos_does_not_give(
    fake: FakeMacOS, system: macos.KeychainSystem, authority: CertificateAuthority
) -> None:
    """Success without an object, or no object: an error of ours, and no crash."""
    fake.keychain.append(entry_of(authority))
    fake.SecIdentityCopyPrivateKey = lambda *_: 0  # type: ignore[method-assign]
    with pytest.raises(PrivateKeyLoadError, match="macOS gave no key"):
        store_of(system).signer([])
    fake.SecCertificateCopyData = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(CertificateLoadError, match="macOS gave no object"):
        store_of(system).certificates()
    del fake.SecCertificateCopyData
    fake.SecCopyErrorMessageString = lambda *_: None  # type: ignore[method-assign]
    fake.interaction_error = -1
    with pytest.raises(CertificateLoadError, match=r"status -1\.$"):
        store_of(system).certificates()


def test_an_empty_certificate(fake: FakeMacOS, system: macos.KeychainSystem) -> None:
    """Data without bytes has no address; it is no certificate."""
    fake.keychain.append(Entry(b"", object()))

    with pytest.raises(CertificateLoadError, match="no certificate with a private key"):
        store_of(system).certificates()


def test_the_frameworks_are_loaded_when_needed(
    fake: FakeMacOS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ctypes, once in a process."""
    monkeypatch.setattr(ctypes, "CDLL", fake.CDLL)
    monkeypatch.setattr(_macos_api, "_address", fake.symbol)
    macos.system.cache_clear()

    assert macos.system() is macos.system()
    assert store_of(macos.system()).stamp() == frozenset()
    macos.system.cache_clear()


def test_constants_are_symbols_of_a_library() -> None:
    """The address of a constant is that of the loader."""
    python = ctypes.pythonapi

    assert _macos_api._address(python, "PyExc_OSError") == ctypes.addressof(
        ctypes.c_void_p.in_dll(python, "PyExc_OSError")
    )


def test_the_fake_finds_faults() -> None:
    """Objects released twice, used afterwards, or never released, and dialogs, do not pass."""
    fake = FakeMacOS()
    api = _macos_api.API(fake, symbol=fake.symbol)
    data = api.cf.CFDataCreate(None, b"content", 7)
    assert fake.open_handles() == ["data"]
    assert api.cf_bytes(data) == b"content"
    api.cf.CFRelease(data)
    assert fake.violations == []

    api.cf.CFRelease(data)
    api.cf.CFDataGetLength(data)
    api.cf.CFRelease(None)

    assert len(fake.violations) == 3
    with pytest.raises(ctypes.ArgumentError):
        api.cf.CFRelease(1.5)
    api.cf.CFRelease.argtypes = [ctypes.c_uint32]
    with pytest.raises(AssertionError, match="CFRelease"):
        fake.check_declarations()
