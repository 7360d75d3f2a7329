# SPDX-License-Identifier: Apache-2.0
"""Whether moto is here to be the AWS behind the emulator."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from rolesanywhere_auth.errors import MissingExtraError

if TYPE_CHECKING:
    from rolesanywhere_auth.testing.service.directory import Directory


def moto_directory(clock: Callable[[], datetime]) -> Directory:
    """Roles and private CAs of moto; sessions end by *clock*.

    Raises:
        MissingExtraError: moto is not installed.
    """
    try:
        from rolesanywhere_auth.testing.fronts.moto import MotoDirectory
    except ImportError as error:
        raise MissingExtraError(
            f"Emulator(aws=True) needs moto ({error}); "
            "install it with: pip install 'rolesanywhere-auth[testing]'",
            extra="testing",
        ) from error
    return MotoDirectory(clock=clock)
