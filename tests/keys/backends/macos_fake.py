"""The macOS Keychain, without macOS: see `fake_macos`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.serialization import Encoding
from fake_macos import Entry, FakeMacOS

from backends import Place
from backends.windows_fake import soon
from rolesanywhere_auth.keys import _macos_api, macos, os_store
from rolesanywhere_auth.testing import CertificateAuthority


class Store:
    key_types: ClassVar = ("ec-p256", "rsa-2048", "ec-p384", "ec-p521")
    extended = False
    forks = True
    threads = (8, 50)

    @staticmethod
    def missing() -> Sequence[str]:
        return ()

    def __init__(self, folder: Path) -> None:
        self.fake = FakeMacOS()
        system = macos.KeychainSystem(_macos_api.API(self.fake, symbol=self.fake.symbol))
        self._before = macos.system, os_store._MODULES.copy()
        macos.system = lambda: system  # type: ignore[assignment]
        os_store._MODULES[sys.platform] = "rolesanywhere_auth.keys.macos"

    def environment(self) -> Mapping[str, str]:
        return {}

    def make(self, key_type: str, authority: CertificateAuthority) -> Place:
        leaf = authority.issue(key_type, key_type=key_type, not_valid_after=soon(10))
        der = leaf.certificate.public_bytes(Encoding.DER)
        self.fake.keychain.append(Entry(der, leaf.private_key))
        return Place(f"store:?subject-includes=CN={key_type}&newest=true")

    def renew(self, place: Place, authority: CertificateAuthority) -> int:
        leaf = authority.issue(self.key_types[0], not_valid_after=soon(20))
        der = leaf.certificate.public_bytes(Encoding.DER)
        self.fake.keychain.append(Entry(der, leaf.private_key, on_token=True))
        return leaf.serial_number

    def remove_key(self, place: Place) -> None:
        for each in self.fake.keychain:
            each.key_error = each.sign_error = -25300

    def with_wrong_secret(self, place: Place) -> None:
        return None

    def refusals(self, place: Place) -> int | None:
        return None

    def restart(self) -> None:
        """The token is put in again: what was taken from it before is of no use."""
        for index, each in enumerate(self.fake.keychain):
            self.fake.keychain[index] = Entry(each.der, each.key)
            each.sign_error = -25291

    def stop(self) -> None:
        macos.system, os_store._MODULES = self._before  # type: ignore[assignment]
        self.fake.check_declarations()
        assert self.fake.violations == []
        assert self.fake.interaction == 1
