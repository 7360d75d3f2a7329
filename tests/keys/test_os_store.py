"""What Windows' certificate stores and the macOS Keychain have in common; and which is taken."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import pickle
from collections import deque
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rolesanywhere_auth._der import SEQUENCE, encode
from rolesanywhere_auth.certificates import Certificate
from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    PrivateKeyLoadError,
    SigningError,
    UnsupportedKeyError,
)
from rolesanywhere_auth.forking import Guard
from rolesanywhere_auth.keys import check_signature
from rolesanywhere_auth.keys._selectors import parse_reference
from rolesanywhere_auth.keys.os_store import Contents, OSStore, StoreSigner
from rolesanywhere_auth.keys.stores import open_store, scheme_of
from rolesanywhere_auth.testing import CertificateAuthority
from rolesanywhere_auth.testing.authority import Leaf

DATA = b"what is signed"


class Key:
    """A handle that knows whether it was closed."""

    def __init__(self, system: System, key: Any) -> None:
        self.system = system
        self.key = key
        self.closed = 0
        self.broken = False

    def sign(self, digest: bytes) -> bytes:
        assert self.system.inside()
        assert not self.closed
        if self.broken:
            raise SigningError("the card is away", source="test")
        signature: bytes = self.key.sign(digest, padding.PKCS1v15(), Prehashed(SHA256()))
        return signature

    def close(self) -> None:
        assert self.system.inside()
        self.closed += 1


class System:
    """An operating system with RSA keys in memory."""

    def __init__(self, *leaves: Leaf, others: tuple[bytes, ...] = ()) -> None:
        self.guard = Guard()
        self.abandoned: deque[Any] = deque()
        self.leaves = list(leaves)
        self.others = list(others)
        self.opened: list[Key] = []

    def inside(self) -> bool:
        """Whether the guard is held."""
        return bool(self.guard._lock._is_owned())  # type: ignore[attr-defined]

    def contents(self, place: str) -> Contents:
        assert self.inside()
        return Contents([der_of(each) for each in self.leaves], self.others)

    def open_key(self, place: str, certificate: bytes, *, elliptic: bool, source: str) -> Key:
        assert self.inside()
        assert not elliptic
        for each in self.leaves:
            if der_of(each) == certificate:
                self.opened.append(Key(self, each.private_key))
                return self.opened[-1]
        raise PrivateKeyLoadError(f"{source}: the key is gone.", source=source)


def der_of(leaf: Leaf) -> bytes:
    """The certificate."""
    return leaf.certificate.public_bytes(Encoding.DER)


def info_of(leaf: Leaf) -> bytes:
    """The public key."""
    return leaf.certificate.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """Who certifies."""
    return CertificateAuthority()


@pytest.fixture(scope="module")
def leaf(authority: CertificateAuthority) -> Leaf:
    """One with an RSA key."""
    return authority.issue("app", key_type="rsa-2048")


@pytest.fixture(scope="module")
def other(authority: CertificateAuthority) -> Leaf:
    """Another, with another key."""
    return authority.issue("other", key_type="rsa-2048")


def store_of(system: System, reference: str = "store:") -> OSStore:
    """A store of a system."""
    return OSStore(parse_reference(reference), place="here", system=lambda: system)


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without such a store, the error says so, and what there is instead."""
    monkeypatch.setattr("sys.platform", "linux")
    assert scheme_of("store:") == "store"

    with pytest.raises(ConfigurationError, match=r"this system \(linux\) has no .* 'pkcs11:'"):
        open_store("store:", passphrase=None)
    with pytest.raises(ConfigurationError, match="'name' selects no certificate"):
        open_store("store:?name=app", passphrase=None)


@pytest.mark.parametrize(
    ("platform", "module", "place"),
    [("win32", "windows", "CurrentUser/MY"), ("darwin", "macos", "Keychain")],
)
def test_the_system_s_own(
    platform: str, module: str, place: str, monkeypatch: pytest.MonkeyPatch, leaf: Leaf
) -> None:
    """The system's module understands the place; its libraries wait for the first use."""
    system = System(leaf)
    monkeypatch.setattr(f"rolesanywhere_auth.keys.{module}.system", lambda: system)
    monkeypatch.setattr("sys.platform", platform)

    store = open_store("store:?newest=true", passphrase=None)

    assert isinstance(store, OSStore)
    assert store.source == "store:?newest=true"
    assert store._place == place
    assert store.certificates() == [der_of(leaf)]
    store.watch(lambda: None)


def test_the_chain(leaf: Leaf, other: Leaf, authority: CertificateAuthority) -> None:
    """The leaf comes first, then what stands above it, wherever that is; nothing else."""
    root = authority.certificate.public_bytes(Encoding.DER)
    stranger = CertificateAuthority("Stranger").certificate.public_bytes(Encoding.DER)
    system = System(leaf, other, others=(stranger, root, b"no certificate"))

    assert store_of(system, "store:?subject=CN=app").certificates() == [der_of(leaf), root]


def test_what_cannot_be_read_is_left_out(leaf: Leaf, caplog: pytest.LogCaptureFixture) -> None:
    """Stores hold odd certificates; they are only mentioned at DEBUG."""
    system = System(leaf, others=(encode(SEQUENCE, b"odd"),))

    with caplog.at_level(logging.DEBUG, logger="rolesanywhere_auth.keys"):
        assert store_of(system).certificates() == [der_of(leaf)]

    assert "store:: a certificate in it is damaged" in caplog.text


def test_the_key(leaf: Leaf, other: Leaf) -> None:
    """Of the certificates that fit, the key is that of the public keys that are asked for."""
    system = System(leaf, other)
    store = store_of(system)

    for each in (leaf, other):
        signer = store.signer([info_of(each)])
        assert signer.kind == "RSA 2048"
        check_signature(signer.public_key(), signer.sign(DATA), DATA, source="test")
        each.certificate.public_key().verify(  # type: ignore[union-attr, call-arg]
            signer.sign(DATA),
            DATA,
            padding.PKCS1v15(),
            SHA256(),  # type: ignore[arg-type]
        )
        assert repr(signer) == "<StoreSigner RSA 2048 from store:>"


def test_no_key(leaf: Leaf, other: Leaf, authority: CertificateAuthority) -> None:
    """None, several, or none of those asked for: an error of the key, which lists them."""
    strange = info_of(authority.issue())
    with pytest.raises(PrivateKeyLoadError, match="2 certificates fit"):
        store_of(System(leaf, other)).signer([])
    with pytest.raises(PrivateKeyLoadError, match="2 certificates fit"):
        store_of(System(leaf, other)).signer([info_of(leaf), info_of(other)])
    with pytest.raises(PrivateKeyLoadError, match="there is no certificate with a private key"):
        store_of(System()).signer([strange])
    with pytest.raises(PrivateKeyLoadError, match="no certificate fits"):
        store_of(System(leaf), "store:?serial=1").signer([info_of(leaf)])
    with pytest.raises(CertificateLoadError, match="2 certificates fit"):
        store_of(System(leaf, other)).certificates()


def test_none_of_the_public_keys(leaf: Leaf, other: Leaf) -> None:
    """A store without the key of the certificate says so, and lists what it has."""
    with pytest.raises(PrivateKeyLoadError, match=r"none .* belongs to the certificate") as caught:
        store_of(System(leaf)).signer([info_of(other)])

    assert "CN=app" in str(caught.value)


def test_one_key_of_several_certificates(leaf: Leaf, authority: CertificateAuthority) -> None:
    """A certificate that was renewed with its key does not make the key ambiguous."""
    system = System(leaf)
    again = authority.issue("app", public_key=leaf.certificate.public_key())
    again._private_key = leaf.private_key
    system.leaves.append(again)

    signer = store_of(system).signer([info_of(leaf)])

    check_signature(signer.public_key(), signer.sign(DATA), DATA, source="test")


def test_the_stamp(leaf: Leaf, other: Leaf, authority: CertificateAuthority) -> None:
    """It changes with what fits and with what stands above it, and with nothing else."""
    system = System(leaf, others=(b"odd",))
    store = store_of(system, "store:?subject=CN=app&newest=true")
    before = store.stamp()

    system.leaves.append(other)
    assert store.stamp() == before
    system.others.append(authority.certificate.public_bytes(Encoding.DER))
    with_root = store.stamp()
    assert with_root != before
    system.leaves.append(authority.issue("app", key_type="rsa-2048"))
    assert store.stamp() not in (before, with_root)


def test_a_handle_is_kept(leaf: Leaf) -> None:
    """One handle serves all signatures, and is given back once nobody uses the signer."""
    system = System(leaf)
    signer = store_of(system).signer([])
    for _ in range(3):
        signer.sign(DATA)
    assert len(system.opened) == 1

    del signer
    gc.collect()
    assert system.opened[0].closed == 0  # not from within a finalizer
    store_of(system).stamp()

    assert system.opened[0].closed == 1


def test_a_handle_that_fails_is_replaced(leaf: Leaf) -> None:
    """A card that was away for a moment costs no signature; the old handle is given back."""
    system = System(leaf)
    signer = store_of(system).signer([])
    system.opened[0].broken = True

    check_signature(signer.public_key(), signer.sign(DATA), DATA, source="test")

    assert [each.closed for each in system.opened] == [1, 0]
    del signer
    gc.collect()
    store_of(system).stamp()
    assert [each.closed for each in system.opened] == [1, 1]


def test_a_key_that_is_gone(leaf: Leaf) -> None:
    """It is looked for once more, then that is the error, as one of signing."""
    system = System(leaf)
    signer = store_of(system).signer([])
    system.opened[0].broken = True
    system.leaves.clear()

    for _ in range(2):
        with pytest.raises(SigningError, match="store:: the key is gone"):
            signer.sign(DATA)

    system.leaves.append(leaf)
    signer.sign(DATA)
    assert [each.closed for each in system.opened] == [1, 0]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_its_own_handles(leaf: Leaf) -> None:
    """It neither uses nor gives back the parent's, also those that nobody used any more."""
    system = System(leaf)
    signer, dropped = store_of(system).signer([]), store_of(system).signer([])
    del dropped
    gc.collect()

    child = os.fork()
    if child == 0:
        try:
            signer.sign(DATA)
            del signer
            gc.collect()
            store_of(system).stamp()
            os._exit(0 if [each.closed for each in system.opened] == [0, 0, 1] else 2)
        finally:
            os._exit(1)

    assert os.waitpid(child, 0)[1] == 0
    signer.sign(DATA)
    assert [each.closed for each in system.opened] == [0, 1]


def test_handles_of_another_process_are_left_alone(leaf: Leaf) -> None:
    """What was abandoned before a fork is not given back after it."""
    system = System(leaf)
    signer = store_of(system).signer([])
    del signer
    gc.collect()
    assert len(system.abandoned) == 1

    system.guard.after_fork_in_child()
    store_of(system).stamp()

    assert system.opened[0].closed == 0
    assert not system.abandoned


def test_keys_that_the_service_does_not_take(leaf: Leaf) -> None:
    """A key of a kind that it has no algorithm for, or that nobody can read, is refused."""
    parsed = Certificate.from_der(der_of(leaf), source="test")
    broken = parsed._replace(public_key_info=b"\x30\x00")
    ed25519 = bytes.fromhex("302a300506032b6570032100") + hashlib.sha256(b"").digest()

    with pytest.raises(PrivateKeyLoadError, match="CN=app cannot be read"):
        StoreSigner(System(leaf), place="here", certificate=broken, source="test")
    with pytest.raises(UnsupportedKeyError):
        StoreSigner(
            System(leaf),
            place="here",
            certificate=parsed._replace(public_key_info=ed25519),
            source="test",
        )


def test_it_is_not_pickled(leaf: Leaf) -> None:
    """A handle means nothing elsewhere."""
    signer = store_of(System(leaf)).signer([])
    assert isinstance(signer.public_key(), rsa.RSAPublicKey)

    with pytest.raises(TypeError, match="pass on the reference"):
        pickle.dumps(signer)
