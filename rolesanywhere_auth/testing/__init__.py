# SPDX-License-Identifier: Apache-2.0
"""A local emulator of IAM Roles Anywhere, a certificate authority, and pytest fixtures.

Importing this package loads nothing else: names resolve on first use, so that the
pytest plugin costs nothing to a test suite that does not use it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would cost an import
if TYPE_CHECKING:
    from typing import Any

    from rolesanywhere_auth.testing._moto_backend import moto_backend
    from rolesanywhere_auth.testing.authority import CertificateAuthority
    from rolesanywhere_auth.testing.emulator import Emulator
    from rolesanywhere_auth.testing.service.limits import Limits

_ROOMS = {
    "CertificateAuthority": "authority",
    "Emulator": "emulator",
    "Limits": "service.limits",
    "moto_backend": "_moto_backend",
}

__all__ = ["CertificateAuthority", "Emulator", "Limits", "moto_backend"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
