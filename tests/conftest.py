"""What every test stands on: a clean environment, and no way beyond this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rolesanywhere_auth import RolesAnywhereConfig
    from rolesanywhere_auth.testing import Emulator

pytest_plugins = ["pytester"]

with contextlib.suppress(ImportError):  # not everywhere installed
    import hypothesis

    # An example that takes long says something of the machine alone. The same examples each
    # time: a run fails for what was changed. New ones: --hypothesis-profile=explore
    hypothesis.settings.register_profile("explore", deadline=None)
    hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
    hypothesis.settings.load_profile("repeatable")

_PACKAGES = ("botocore", "boto3", "cryptography", "urllib3", "moto", "iam-rolesanywhere-session")
_FOREIGN = (
    "AWS_",
    "ROLESANYWHERE_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_",
)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def pytest_report_header() -> str:
    """Name the versions that decide what the tests show."""
    return ", ".join(f"{package} {_version(package)}" for package in _PACKAGES)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> None:
    """No setting of the machine or of its user reaches a test."""
    for name in list(os.environ):
        if name.upper().startswith(_FOREIGN):
            monkeypatch.delenv(name)
    nowhere = tmp_path_factory.getbasetemp() / "no-such-folder"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = str(address[0])
    return host in ("localhost", "::1", "") or host.startswith("127.")


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    """A connection beyond this machine fails the test that made it."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if not _is_local(address):
            raise AssertionError(f"a test reached out to {address}")
        real(self, address)

    socket.socket.connect = connect  # type: ignore[method-assign, assignment]
    yield
    socket.socket.connect = real  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds pyproject.toml."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def command() -> list[str]:
    """How to start the command line in a process of its own."""
    return [sys.executable, "-m", "rolesanywhere_auth"]


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    """One emulator for a module."""
    from rolesanywhere_auth.testing import Emulator

    with Emulator() as started:
        yield started


@pytest.fixture
def emulator(running: Emulator) -> Emulator:
    """The emulator, empty."""
    running.clear()
    return running


@pytest.fixture
def config(emulator: Emulator) -> RolesAnywhereConfig:
    """A configuration that signs in for an hour."""
    from rolesanywhere_auth import RolesAnywhereConfig

    return RolesAnywhereConfig(**emulator.set_up().config_arguments())


@pytest.fixture(scope="module")
def running_aws() -> Iterator[Emulator]:
    """One emulator with moto behind it for a module."""
    from rolesanywhere_auth.testing import Emulator

    with Emulator(aws=True) as started:
        yield started


@pytest.fixture
def aws(running_aws: Emulator) -> Emulator:
    """The emulator with moto, empty."""
    running_aws.clear()
    return running_aws
