"""What ``import rolesanywhere_auth`` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rolesanywhere_auth
import rolesanywhere_auth.testing
from rolesanywhere_auth import errors
from rolesanywhere_auth.testing import Emulator


def test_every_public_name_resolves() -> None:
    """__all__ is sorted, and each of its names is there."""
    for module in (rolesanywhere_auth, rolesanywhere_auth.testing):
        assert list(module.__all__) == sorted(module.__all__)
        assert dir(module) == sorted(module.__all__)
        for name in module.__all__:
            assert getattr(module, name) is not None


def test_every_error_is_public() -> None:
    """Each exception of errors.py can be imported from the package."""
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.RolesAnywhereError)
    }

    assert defined <= set(rolesanywhere_auth.__all__)


@pytest.mark.parametrize("module", [rolesanywhere_auth, rolesanywhere_auth.testing])
def test_other_names_are_attribute_errors(module: object) -> None:
    """A misspelt name fails as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'Emulatorr'"):
        module.Emulatorr  # type: ignore[attr-defined] # noqa: B018


HEAVY = ("botocore", "boto3", "cryptography", "typing", "re", "moto", "dataclasses", "logging")


@pytest.mark.parametrize("package", ["rolesanywhere_auth", "rolesanywhere_auth.testing"])
def test_import_loads_nothing_heavy(package: str) -> None:
    """Importing the package loads neither botocore nor cryptography, nor even typing."""
    code = (
        "import sys; before = set(sys.modules); import " + package + "; "
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert not [name for name in loaded if name.split(".")[0] in HEAVY]


def test_first_credentials_load_little(rolesanywhere_emulator: Emulator) -> None:
    """A whole sign-in from PEM files loads neither x509, nor serialization, nor ciphers."""
    setup = rolesanywhere_emulator.set_up()
    arguments = {name: str(value) for name, value in setup.config_arguments().items() if value}
    code = (
        "import sys\n"
        "sys.modules['OpenSSL'] = None\n"  # pyOpenSSL: botocore uses it where it is installed
        "from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials\n"
        f"config = RolesAnywhereConfig(**{arguments!r})\n"
        "key = RolesAnywhereCredentials(config).get_frozen_credentials().access_key\n"
        "print(key[:4], *(name for name in sys.argv[1:] if name in sys.modules))"
    )

    heavy = ("x509", "hazmat.primitives.serialization", "hazmat.primitives.ciphers")
    names = ("boto3", *(f"cryptography.{name}" for name in heavy))
    done = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, check=True
    )

    assert done.stdout == "ASIA\n"
