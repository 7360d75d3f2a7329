"""Key stores by reference, with one that somebody else registered by an entry point."""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials
from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    PrivateKeyLoadError,
    RolesAnywhereError,
    SigningError,
)
from rolesanywhere_auth.identity import Identity, IdentitySource
from rolesanywhere_auth.keys import ProvedSigner, check_signature
from rolesanywhere_auth.keys.stores import open_store, scheme_of
from rolesanywhere_auth.testing import CertificateAuthority, Emulator

MODULE = """
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

CONTENT = {}
OPENED = []
FAILURE = None


class Signer:
    def __init__(self, key):
        self._key = key

    def public_key(self):
        return self._key.public_key()

    def sign(self, data):
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))


class Vault:
    def __init__(self, reference, passphrase):
        self.source = reference
        self.passphrase = passphrase
        self.watchers = []

    def _leaf(self):
        if FAILURE:
            raise FAILURE
        return CONTENT[self.source.partition(":")[2]]

    def certificates(self):
        leaf = self._leaf()
        return [leaf.certificate.public_bytes(Encoding.DER)] if leaf else []

    def signer(self, public_keys):
        assert all(isinstance(each, bytes) for each in public_keys)
        return Signer(self._leaf().private_key)

    def stamp(self):
        leaf = self._leaf()
        return leaf and leaf.certificate.serial_number

    def watch(self, changed):
        self.watchers.append(changed)


def open_store(reference, *, passphrase):
    OPENED.append(Vault(reference, passphrase))
    return OPENED[-1]
"""


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of a key store, installed as pip would."""
    info = tmp_path / "vault-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vault\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rolesanywhere_auth.key_stores]\nvault = a_vault:open_store\n"
    )
    (tmp_path / "a_vault.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import a_vault  # type: ignore[import-not-found]

    yield a_vault
    del sys.modules["a_vault"]


@pytest.fixture
def authority() -> CertificateAuthority:
    """Whose certificates are in the vault."""
    return CertificateAuthority()


def now() -> datetime:
    """The present moment."""
    return datetime.now(timezone.utc)


def test_what_names_a_store(vault: ModuleType, tmp_path: Path) -> None:
    """Only a scheme that somebody registered; never a file that is there, a drive, or content."""
    there = tmp_path / "vault:file"
    there.touch()

    assert scheme_of("vault:app") == "vault"
    assert scheme_of("VAULT:app") == "vault"
    for other in (
        "unknown:app",
        "app.pem",
        "C:\\app.pem",
        "/etc/vault:app",
        str(there),
        "vault:-----BEGIN CERTIFICATE-----",
        "vault:" + "x" * 5000,
        "vault:x\0",
        b"vault:app",
        there,
        None,
    ):
        found = scheme_of(other)
        assert found == ("vault" if str(other).startswith("vault:x") else None), other


def test_a_file_beside_us_goes_before_a_scheme(
    vault: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path with a colon stays what it was before somebody registered its scheme."""
    monkeypatch.chdir(tmp_path)
    assert scheme_of("vault:app") == "vault"

    Path("vault:app").touch()

    assert scheme_of("vault:app") is None


def test_a_file_with_a_colon_in_its_name(
    authority: CertificateAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is watched like any other file."""
    monkeypatch.chdir(tmp_path)
    bundle = Path("unknown:app.pem")
    leaf = authority.issue("app")
    bundle.write_text(leaf.bundle_pem + leaf.private_key_pem)

    source = IdentitySource("unknown:app.pem")

    assert source.current(now=now()).serial_number == leaf.certificate.serial_number
    bundle.unlink()
    with pytest.raises(ConfigurationError, match="unknown:"):
        IdentitySource("unknown:app.pem").current(now=now())


def test_an_unknown_scheme_is_named(vault: ModuleType) -> None:
    """Neither a file nor a scheme: the error says so before anything is read."""
    with pytest.raises(ConfigurationError, match="begins with 'unknown:', which is no file"):
        Identity.load("unknown:app", now=now())


def test_spaces_before_a_reference(vault: ModuleType, authority: CertificateAuthority) -> None:
    """They are no part of it, so that it is not shown as a path that is not there, PIN and all."""
    vault.CONTENT["app"] = authority.issue("app")

    identity = IdentitySource("\n vault:app ").current(now=now())

    assert identity.source == "vault:app"
    with pytest.raises(ConfigurationError) as caught:
        IdentitySource(" pkcs12:token=t?pin-value=739182").current(now=now())
    assert "739182" not in str(caught.value)


def test_sign_in_with_the_key_of_a_store(
    vault: ModuleType, rolesanywhere_emulator: Emulator
) -> None:
    """One reference suffices for certificate and key, and the configuration pickles."""
    setup = rolesanywhere_emulator.set_up()
    vault.CONTENT["app"] = setup.leaf
    arguments: dict[str, Any] = {**setup.config_arguments(), "certificate": "vault:app"}
    del arguments["private_key"], arguments["certificate_chain"]
    config = pickle.loads(pickle.dumps(RolesAnywhereConfig(**arguments)))

    found = RolesAnywhereCredentials(config).get_frozen_credentials()

    assert found.access_key.startswith("ASIA")
    assert rolesanywhere_emulator.sessions[-1].access_key_id == found.access_key


def test_one_store_for_equal_references(vault: ModuleType, authority: CertificateAuthority) -> None:
    """Certificate and key of one reference are read from one opened store."""
    vault.CONTENT["app"] = authority.issue("app")

    identity = Identity.load("vault:app", private_key="vault:app", passphrase="1234", now=now())

    assert identity.source == "vault:app"
    assert len(vault.OPENED) == 1
    assert vault.OPENED[0].passphrase == "1234"


def test_key_in_a_store_certificate_in_a_file(
    vault: ModuleType, authority: CertificateAuthority, tmp_path: Path
) -> None:
    """The passphrase is the store's: a certificate file that needs none does not ask for it."""
    leaf = vault.CONTENT["app"] = authority.issue("app")
    files = leaf.write_to(tmp_path)

    def pin() -> str:
        raise AssertionError("nobody needs it yet")

    identity = Identity.load(files.certificate, private_key="vault:app", passphrase=pin, now=now())

    assert identity.serial_number == leaf.certificate.serial_number
    assert vault.OPENED[0].passphrase is pin
    check_signature(
        identity.signer.public_key(), identity.signer.sign(b"x"), b"x", source="the test"
    )


def test_certificate_in_a_store_key_in_a_file(
    vault: ModuleType, authority: CertificateAuthority, tmp_path: Path
) -> None:
    """A store may keep certificates alone; the key's file still gets its passphrase."""
    leaf = vault.CONTENT["app"] = authority.issue("app")
    key = tmp_path / "app.p12"
    key.write_bytes(leaf.pkcs12("secret"))

    identity = Identity.load("vault:app", private_key=key, passphrase="secret", now=now())

    assert identity.serial_number == leaf.certificate.serial_number


def test_pkcs12_beside_a_store(
    vault: ModuleType, authority: CertificateAuthority, tmp_path: Path
) -> None:
    """A certificate file that does need the passphrase gets it, a store or not."""
    leaf = vault.CONTENT["app"] = authority.issue("app")
    bundle = tmp_path / "app.p12"
    bundle.write_bytes(leaf.pkcs12("secret"))

    identity = Identity.load(bundle, private_key="vault:app", passphrase="secret", now=now())

    assert identity.serial_number == leaf.certificate.serial_number


def test_an_empty_store(vault: ModuleType) -> None:
    """A store without certificates is named, with what to do."""
    vault.CONTENT["app"] = None

    with pytest.raises(CertificateLoadError, match="vault:app: holds no certificate"):
        Identity.load("vault:app", now=now())


def test_a_store_without_its_key(vault: ModuleType, authority: CertificateAuthority) -> None:
    """What the store says of a missing key reaches the caller."""
    vault.FAILURE = PrivateKeyLoadError("vault:app: no such key", source="vault:app")

    with pytest.raises(PrivateKeyLoadError, match="no such key"):
        Identity.load("vault:app", now=now())


def test_renewal_in_the_store(
    vault: ModuleType, authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """A new certificate is noticed; while the store fails, the old one stays, warned of once."""
    first = vault.CONTENT["app"] = authority.issue("app")
    source = IdentitySource("vault:app")
    assert source.current(now=now()).serial_number == first.certificate.serial_number
    assert source.poll(now=now()) is False

    vault.FAILURE = RolesAnywhereError("the vault is shut")
    with caplog.at_level(logging.WARNING):
        assert source.poll(now=now()) is False
        assert source.current(now=now()).serial_number == first.certificate.serial_number
    assert [record.getMessage().endswith("the vault is shut") for record in caplog.records] == [
        True
    ]

    vault.FAILURE = None
    second = vault.CONTENT["app"] = authority.issue("app")
    assert source.poll(now=now()) is True
    assert source.current(now=now()).serial_number == second.certificate.serial_number
    assert len(vault.OPENED) == 1


def test_a_store_that_tells(vault: ModuleType, authority: CertificateAuthority) -> None:
    """Who watches is called by stores that are opened before and after; files have no say."""
    vault.CONTENT["app"] = authority.issue("app")
    calls: list[str] = []
    source = IdentitySource("vault:app", private_key="vault:app")
    source.watch(lambda: calls.append("before"))
    source.current(now=now())
    source.watch(lambda: calls.append("after"))
    IdentitySource("app.pem").watch(lambda: calls.append("never"))

    for changed in vault.OPENED[0].watchers:
        changed()

    assert calls == ["before", "after"]


def test_open_store_passes_all_on(vault: ModuleType) -> None:
    """The reference arrives as it was written."""
    store = open_store("Vault:App", passphrase=b"1234")

    assert (store.source, vault.OPENED[0].passphrase) == ("Vault:App", b"1234")


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256", "ec-p521"])
def test_first_signature_is_checked(authority: CertificateAuthority, key_type: Any) -> None:
    """A signer that signs something else, or with another key, is found out at once."""
    key = authority.issue("app", key_type=key_type).private_key
    other = authority.issue("app", key_type=key_type).private_key
    from rolesanywhere_auth.keys.files import FileSigner

    class Wrong(FileSigner):
        def sign(self, data: bytes) -> bytes:
            return FileSigner(other, source="other").sign(data)

    class Raw(FileSigner):
        def sign(self, data: bytes) -> bytes:
            return bytes(64)

    for signer in (Wrong(key, source="wrong"), Raw(key, source="raw")):
        proved = ProvedSigner(signer, source="here")
        for _ in range(2):
            with pytest.raises(SigningError, match="here: the signature does not fit"):
                proved.sign(b"data")

    proved = ProvedSigner(FileSigner(key, source="right"), source="here")
    assert check_signature(proved.public_key(), proved.sign(b"data"), b"data", source="") is None
    assert "right" in repr(proved)


def test_only_the_first_signature_is_checked(authority: CertificateAuthority) -> None:
    """One check per loaded key: it costs as much as a signature."""
    from rolesanywhere_auth.keys.files import FileSigner

    class Fickle(FileSigner):
        def sign(self, data: bytes) -> bytes:
            return super().sign(data) if data == b"first" else b"anything"

    proved = ProvedSigner(
        Fickle(authority.issue("app", key_type="ec-p256").private_key, source=""), source=""
    )
    proved.sign(b"first")

    assert proved.sign(b"second") == b"anything"
