"""An emulator, credentials, and servers over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from serve_client import Client, settled

from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials
from rolesanywhere_auth.serve import CredentialServer
from rolesanywhere_auth.testing import Emulator


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """One emulator for all of these tests; it is never emptied."""
    with Emulator() as found:
        yield found


@pytest.fixture(scope="session")
def config(emulator: Emulator) -> RolesAnywhereConfig:
    """Signs in there."""
    return RolesAnywhereConfig(**emulator.set_up().config_arguments())


@pytest.fixture(scope="session")
def credentials(config: RolesAnywhereConfig) -> RolesAnywhereCredentials:
    """Signed in once."""
    return RolesAnywhereCredentials(config)


@pytest.fixture
def serving() -> Iterator[Callable[..., Client]]:
    """Starts servers, and stops them afterwards."""
    started: list[CredentialServer] = []

    def start(*arguments: Any, **settings: Any) -> Client:
        started.append(CredentialServer(*arguments, **settings).start())
        return settled(started[-1])

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def client(serving: Callable[..., Client], credentials: RolesAnywhereCredentials) -> Client:
    """Of a server with one role and both protocols."""
    return serving(credentials, imds=True)
