# SPDX-License-Identifier: Apache-2.0
"""`moto_backend`: Roles Anywhere inside moto, in this process, by one call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from rolesanywhere_auth.errors import MissingExtraError

if TYPE_CHECKING:
    from rolesanywhere_auth.testing.service.core import Service


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


@contextlib.contextmanager
def moto_backend(
    *,
    region: str = "us-east-1",
    account_id: str = "123456789012",
    clock: Callable[[], datetime] = _utc_now,
) -> Iterator[Service]:
    """Let moto answer for Roles Anywhere too, within a ``with`` block.

    ::

        with moto_backend() as service, mock_aws():
            roles_anywhere = boto3.client("rolesanywhere", region_name="us-east-1")

    Enter it before ``mock_aws()``. Roles come from moto's IAM, and its STS knows the
    sessions. moto is one per process, and so is this: ``mock_aws()`` empties what an
    `Emulator` with ``aws=True`` has there.

    Args:
        region: The Region of calls whose signature names none; the default is moto's.
        account_id: The account of all control-plane calls; the default is moto's.
        clock: The present moment, with a time zone.

    Yields:
        The service: ``events``, ``state.sessions`` and ``faults``, as `Emulator` has them.

    Raises:
        MissingExtraError: moto is not installed.
    """
    try:
        from rolesanywhere_auth.testing.fronts.moto import moto_service, register
    except ImportError as error:
        raise MissingExtraError(
            f"moto_backend() needs moto ({error}); "
            "install it with: pip install 'rolesanywhere-auth[testing]'",
            extra="testing",
        ) from error
    service = moto_service(region=region, account_id=account_id, clock=clock)
    with register(service):
        yield service
