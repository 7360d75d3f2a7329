"""The places for keys that `test_compliance.py` is run against, each with real parts.

But for ``windows_fake`` and ``macos_fake``: there the operating system is a stand-in.

A module here has a class `Store`, a `Backend`, and is named in `BACKENDS`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import pytest

from rolesanywhere_auth.keys import _pkcs11_module, _pkcs11_token
from rolesanywhere_auth.testing import CertificateAuthority

BACKENDS = (
    "softhsm",
    "nss",
    "nss_mldsa",
    "tpm2_pkcs11",
    "spiffe",
    "tpm_handle",
    "tpm_openssl",
    "tpm_pytss",
    "tpm_tools",
    "windows_fake",
    "macos_fake",
)


class Place(NamedTuple):
    """What a user would write into the configuration for one key and its certificate."""

    certificate: str
    private_key: str | None = None
    passphrase: str | None = None

    def arguments(self) -> dict[str, Any]:
        """As keyword arguments, for `IdentitySource` or over those of a configuration."""
        return {"certificate_chain": None, **self._asdict()}


class Backend(Protocol):
    """One kind of key store, started afresh in a folder for each test."""

    key_types: ClassVar[Sequence[str]]
    """Of `CertificateAuthority.issue`; the first, a fast one, where the kind does not matter."""
    extended: ClassVar[bool]
    """Too heavy for every run, or needs more than the distributions bring."""
    for_children: ClassVar[Mapping[str, str] | None]
    """Set in a process of its own that uses the store, beside `environment`; None: none can."""

    @staticmethod
    def missing() -> Sequence[str]:
        """The commands and files that this needs and that are not here."""
        ...

    def __init__(self, folder: Path) -> None:
        """Start it, with nothing in it yet."""
        ...

    def environment(self) -> Mapping[str, str]:
        """Set for the process under test while this store is used."""
        ...

    def make(self, key_type: str, authority: CertificateAuthority) -> Place:
        """Make a key in the store, have it certified, and put the certificate in its place."""
        ...

    def renew(self, place: Place, authority: CertificateAuthority) -> int:
        """Replace the certificate by a newer one, for the same or another key.

        Returns:
            Its serial number.
        """
        ...

    def remove_key(self, place: Place) -> None:
        """Remove the private key, for good."""
        ...

    def restart(self) -> None:
        """Take the store away and bring it back, with all that was in it."""
        ...

    def stop(self) -> None:
        """Leave nothing running."""
        ...


@runtime_checkable
class HasSecrets(Protocol):
    """A `Backend` whose keys may have a PIN or password."""

    def with_wrong_secret(self, place: Place) -> Place:
        """The same with one that is refused."""
        ...

    def refusals(self, place: Place) -> int | None:
        """How many wrong secrets the store says it has met; None where it does not say."""
        ...


def store_class(name: str) -> type[Backend]:
    """The class of one of `BACKENDS`."""
    found: type[Backend] = import_module(f"backends.{name}").Store
    return found


def each_of(fits: Callable[[type[Backend]], bool] = lambda _: True) -> Any:
    """Has a test run against all of `BACKENDS` that *fits* is true for, the heavy ``extended``."""
    stores = {name: store_class(name) for name in BACKENDS}
    parameters = [
        pytest.param(name, marks=[pytest.mark.extended] if store.extended else [])
        for name, store in stores.items()
        if fits(store)
    ]
    return pytest.mark.parametrize("backend", parameters, indirect=True)


def absent(*needed: str) -> list[str]:
    """Those of the commands and absolute paths *needed* that are not here."""
    return [
        each
        for each in needed
        if not (Path(each).exists() if each.startswith("/") else shutil.which(each))
    ]


def run(*command: str, stdin: bytes = b"", **environment: str) -> bytes:
    """What a command prints; it must end well."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"{command}: {done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout


def stop_modules() -> None:
    """Have PKCS #11 modules read their configuration anew in the next test, of other tokens."""
    _pkcs11_token._refused.clear()
    for module in list(_pkcs11_module._modules.values()):
        module.stop()
