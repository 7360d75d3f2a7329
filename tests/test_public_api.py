"""What ``import rolesanywhere_auth`` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rolesanywhere_auth
import rolesanywhere_auth.testing
from rolesanywhere_auth import errors


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


def test_first_credentials_do_not_load_x509(tmp_path: object) -> None:
    """The good path of a sign-in loads no part of cryptography.x509: it costs 20 ms."""
    code = (
        "import sys; from rolesanywhere_auth import RolesAnywhereCredentials; "
        "import rolesanywhere_auth.keys.files; print('cryptography.x509' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
