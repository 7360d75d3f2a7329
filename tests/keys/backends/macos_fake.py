"""The macOS Keychain, without macOS: see `fake_macos`."""

from __future__ import annotations

from fake_macos import Entry, FakeMacOS

from backends import Place
from backends.os_fake import FakeStore, soon
from rolesanywhere_auth.keys import _macos_api, macos
from rolesanywhere_auth.testing import CertificateAuthority


class Store(FakeStore):
    module = macos
    entry = Entry

    def start(self) -> macos.KeychainSystem:
        self.functions = FakeMacOS()
        self.entries = self.functions.keychain
        return macos.KeychainSystem(_macos_api.API(self.functions, symbol=self.functions.symbol))

    def renew(self, place: Place, authority: CertificateAuthority) -> int:
        """The new one is on a token."""
        leaf = authority.issue(self.key_types[0], not_valid_after=soon(20))
        self.add(leaf, on_token=True)
        return leaf.serial_number

    def remove_key(self, place: Place) -> None:
        for each in self.entries:
            each.key_error = each.sign_error = -25300

    def restart(self) -> None:
        """The token is put in again."""
        self.anew(sign_error=-25291)

    def stop(self) -> None:
        super().stop()
        assert self.functions.interaction == 1
