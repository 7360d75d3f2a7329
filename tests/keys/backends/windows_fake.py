"""Windows' certificate stores, without Windows: see `fake_windows`."""

from __future__ import annotations

from fake_windows import Entry, FakeWindows

from backends import Place
from backends.os_fake import FakeStore
from rolesanywhere_auth.keys import _windows_api, windows


class Store(FakeStore):
    module = windows
    entry = Entry

    def start(self) -> windows.WindowsSystem:
        self.functions = FakeWindows()
        self.entries = self.functions.store("CurrentUser/MY")
        return windows.WindowsSystem(_windows_api.load(self.functions))

    def remove_key(self, place: Place) -> None:
        for each in self.entries:
            each.acquire_error = each.sign_error = 0x80090016

    def restart(self) -> None:
        """The service that keeps the keys ends."""
        self.anew(sign_error=0x80090026)
