"""What the two stand-ins of an operating system's store have in common."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from cryptography.hazmat.primitives.serialization import Encoding
from fake_functions import FakeFunctions

from backends import Place
from rolesanywhere_auth.keys import os_store
from rolesanywhere_auth.testing import CertificateAuthority
from rolesanywhere_auth.testing.authority import Leaf


class FakeStore:
    """Takes the place of this system's store until `stop`."""

    key_types: ClassVar = ("ec-p256", "rsa-2048", "ec-p384", "ec-p521")
    extended = False
    for_children: ClassVar = None  # this process alone has the stand-in
    module: ClassVar[ModuleType]
    """The library's, whose ``system`` is replaced."""
    entry: ClassVar[Any]
    """Makes one of ``entries`` of a certificate and its key."""
    entries: list[Any]
    functions: FakeFunctions
    """The operating system's."""

    @staticmethod
    def missing() -> Sequence[str]:
        return ()

    def __init__(self, folder: Path) -> None:
        system = self.start()
        self._before = self.module.system, os_store._MODULES.copy()
        self.module.system = lambda: system  # type: ignore[attr-defined]
        os_store._MODULES[sys.platform] = self.module.__name__

    @abstractmethod
    def start(self) -> os_store.System:
        """Make `functions` and `entries`, and the system over them."""

    def environment(self) -> Mapping[str, str]:
        return {}

    def make(self, key_type: str, authority: CertificateAuthority) -> Place:
        self.add(authority.issue(key_type, key_type=key_type, not_valid_after=soon(10)))
        return Place(f"store:?subject-includes=CN={key_type}&newest=true")

    def renew(self, place: Place, authority: CertificateAuthority) -> int:
        leaf = authority.issue(self.key_types[0], not_valid_after=soon(20))
        self.add(leaf)
        return leaf.serial_number

    def add(self, leaf: Leaf, **more: Any) -> None:
        """Have a certificate with its key in the store."""
        der = leaf.certificate.public_bytes(Encoding.DER)
        self.entries.append(self.entry(der, leaf.private_key, **more))

    def anew(self, *, sign_error: int) -> None:
        """Everything is there again; but what was taken from it before is of no use."""
        for index, each in enumerate(self.entries):
            self.entries[index] = self.entry(each.der, each.key)
            each.sign_error = sign_error

    def stop(self) -> None:
        self.module.system, os_store._MODULES = self._before  # type: ignore[attr-defined]
        self.functions.check_declarations()
        assert self.functions.violations == []


def soon(days: int) -> datetime:
    """In some days."""
    return datetime.now(timezone.utc) + timedelta(days=days)
