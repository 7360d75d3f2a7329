"""Windows' certificate stores, without Windows: see `fake_windows`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.serialization import Encoding
from fake_windows import Entry, FakeWindows

from backends import Place
from rolesanywhere_auth.keys import _windows_api, os_store, windows
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
        self.fake = FakeWindows()
        self.entries = self.fake.store("CurrentUser/MY")
        system = windows.WindowsSystem(_windows_api.load(self.fake))
        self._before = windows.system, os_store._MODULES.copy()
        windows.system = lambda: system  # type: ignore[assignment]
        os_store._MODULES[sys.platform] = "rolesanywhere_auth.keys.windows"

    def environment(self) -> Mapping[str, str]:
        return {}

    def make(self, key_type: str, authority: CertificateAuthority) -> Place:
        leaf = authority.issue(key_type, key_type=key_type, not_valid_after=soon(10))
        der = leaf.certificate.public_bytes(Encoding.DER)
        self.entries.append(Entry(der, leaf.private_key))
        return Place(f"store:?subject-includes=CN={key_type}&newest=true")

    def renew(self, place: Place, authority: CertificateAuthority) -> int:
        leaf = authority.issue(self.key_types[0], not_valid_after=soon(20))
        der = leaf.certificate.public_bytes(Encoding.DER)
        self.entries.append(Entry(der, leaf.private_key))
        return leaf.serial_number

    def remove_key(self, place: Place) -> None:
        for each in self.entries:
            each.acquire_error = each.sign_error = 0x80090016

    def with_wrong_secret(self, place: Place) -> None:
        return None

    def refusals(self, place: Place) -> int | None:
        return None

    def restart(self) -> None:
        """The service that keeps the keys ends: the handles of before are of no use."""
        for index, each in enumerate(self.entries):
            self.entries[index] = Entry(each.der, each.key)
            each.sign_error = 0x80090026

    def stop(self) -> None:
        windows.system, os_store._MODULES = self._before  # type: ignore[assignment]
        self.fake.check_declarations()
        assert self.fake.violations == []


def soon(days: int) -> datetime:
    """In some days."""
    return datetime.now(timezone.utc) + timedelta(days=days)
