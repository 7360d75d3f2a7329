# SPDX-License-Identifier: Apache-2.0
"""The certificates and the signer that an identity is made of, wherever they are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rolesanywhere_auth._containers import Contents, Readable, hint, open_contents
from rolesanywhere_auth.certificates import Certificate
from rolesanywhere_auth.errors import CertificateLoadError, PassphraseError, PrivateKeyLoadError
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.keys import Signer, check_signer
from rolesanywhere_auth.rotation import Reading
from rolesanywhere_auth.secrets import Passphrase, reveal

if TYPE_CHECKING:
    from rolesanywhere_auth.keys.stores import KeyStore, Stores


class Place(NamedTuple):
    """Where certificates came from, which may have the key as well."""

    source: str
    contents: Contents | None = None
    store: KeyStore | None = None


class Parts:
    """Loads the parts of one identity."""

    def __init__(self, passphrase: Passphrase | None, read: Reading, stores: Stores | None) -> None:
        self._passphrase = passphrase
        self._read = read
        self._stores = stores
        self._revealed: tuple[bytes | None] | None = None

    def _secret(self) -> bytes | None:
        """The passphrase of a file, asked for once; a key store asks when it wants it."""
        if self._revealed is None:
            self._revealed = (reveal(self._passphrase),)
        return self._revealed[0]

    def _store(self, value: object) -> KeyStore | None:
        return None if self._stores is None else self._stores.get(value)

    def certificates(self, value: Readable, *, role: str) -> tuple[list[Certificate], Place]:
        store = self._store(value)
        if store is not None:
            found = store.certificates()
            if not found:
                raise CertificateLoadError(
                    f"{store.source}: holds no certificate. Put it there, or pass its file as "
                    f"{role}.",
                    source=store.source,
                )
            return _parsed(found, source=store.source), Place(store.source, store=store)
        contents = self._open(value, role=role)
        with local_work():
            return _certificates(contents), Place(contents.material.source, contents=contents)

    def _open(self, value: object, *, role: str) -> Contents:
        if self._stores is not None:  # then the passphrase is a PIN most likely: leave it alone
            material = self._read(value, role=role)
            with contextlib.suppress(PassphraseError), local_work():
                return open_contents(material, passphrase=None)
        secret = self._secret()
        material = self._read(value, role=role)
        with local_work():
            return open_contents(material, passphrase=secret)

    def signer(
        self, private_key: Readable | Signer | None, place: Place, found: list[Certificate]
    ) -> tuple[Signer, str]:
        """The signer, and how messages name where it came from."""
        store = place.store if private_key is None else self._store(private_key)
        if store is not None:
            signer = store.signer([each.public_key_info for each in found])
            check_signer(signer, source=store.source)
            return signer, store.source
        with local_work():
            from rolesanywhere_auth.keys.files import FileSigner, is_private_key

        if private_key is None:
            contents = place.contents
            assert contents is not None
            if not contents.keys:
                raise PrivateKeyLoadError(
                    f"No private_key was given, and {place.source} holds none. Pass private_key.",
                    source=place.source,
                )
            return _file_signer(contents, self._secret()), place.source
        source = f"{type(private_key).__name__} given as private_key"
        if is_private_key(private_key):
            with local_work():
                return FileSigner(private_key, source=source), source
        with local_work():  # newer Pythons import modules to tell
            given = private_key if isinstance(private_key, Signer) else None
        if given is not None:
            check_signer(given, source=source)
            return given, source
        secret = self._secret()
        material = self._read(private_key, role="private_key")
        with local_work():
            opened = open_contents(material, passphrase=secret)
        return _file_signer(opened, secret), material.source


def _file_signer(contents: Contents, passphrase: bytes | None) -> Signer:
    """The key of a file: in this process's memory, or wrapped by a TPM that is to use it."""
    with local_work():
        from rolesanywhere_auth.keys.files import TSS2_LABEL, FileSigner

        if all(key.label != TSS2_LABEL for key in contents.keys):
            return FileSigner.from_contents(contents, passphrase=passphrase)
        from rolesanywhere_auth.keys.tpm import TPMSigner
    signer = TPMSigner.from_contents(contents, passphrase=passphrase)
    signer.prove()
    return signer


def _certificates(contents: Contents) -> list[Certificate]:
    material = contents.material
    if not contents.certificates:
        raise material.error(
            hint(contents)
            or (
                f"holds no certificate{' but a private key' if contents.keys else ''}. A "
                "certificate file has a line '-----BEGIN CERTIFICATE-----'."
            )
        )
    return _parsed(contents.certificates, source=material.source)


def _parsed(found: Sequence[bytes], *, source: str) -> list[Certificate]:
    return [Certificate.from_der(der, source=source) for der in dict.fromkeys(found)]
