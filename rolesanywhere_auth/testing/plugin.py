# SPDX-License-Identifier: Apache-2.0
"""pytest fixtures: `rolesanywhere_emulator`, `rolesanywhere_config`, `rolesanywhere_session`.

Nothing is imported, started or changed unless a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import boto3

    from rolesanywhere_auth import RolesAnywhereConfig
    from rolesanywhere_auth.testing import Emulator


@pytest.fixture(scope="session")
def rolesanywhere_emulator_aws() -> bool:
    """Whether moto's STS, IAM and S3 stand behind the emulator; override it to say True."""
    return False


@pytest.fixture(scope="session")
def _rolesanywhere_running_emulator(
    rolesanywhere_emulator_aws: bool,  # noqa: FBT001  # pytest passes fixtures by name
) -> Iterator[Emulator]:
    from rolesanywhere_auth.testing import Emulator

    with Emulator(aws=rolesanywhere_emulator_aws) as emulator:
        yield emulator


@pytest.fixture
def rolesanywhere_emulator(_rolesanywhere_running_emulator: Emulator) -> Iterator[Emulator]:
    """A running `Emulator` with nothing in it; one server for the whole test run."""
    if not _rolesanywhere_running_emulator.is_running:  # a test wanted a service that is gone
        _rolesanywhere_running_emulator.start()
    yield _rolesanywhere_running_emulator
    _rolesanywhere_running_emulator.clear()


@pytest.fixture
def rolesanywhere_config(rolesanywhere_emulator: Emulator) -> RolesAnywhereConfig:
    """A `RolesAnywhereConfig` whose certificate, profile and role the emulator knows."""
    from rolesanywhere_auth import RolesAnywhereConfig

    return RolesAnywhereConfig(**rolesanywhere_emulator.set_up().config_arguments())


@pytest.fixture
def rolesanywhere_session(
    rolesanywhere_emulator: Emulator, rolesanywhere_config: RolesAnywhereConfig
) -> boto3.Session:
    """A `boto3.Session` that signs in at the emulator when first needed.

    It goes by the emulator's clock, so that ``rolesanywhere_emulator.advance()`` brings
    a renewal about.
    """
    from rolesanywhere_auth import boto3_session

    return boto3_session(rolesanywhere_config, now=lambda: rolesanywhere_emulator.now().timestamp())
