"""Notification and socket activation, with sockets in the place of systemd."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rolesanywhere_auth import ConfigurationError
from rolesanywhere_auth.serve.systemd import Notifier, passed_sockets


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket that receives notifications, and its name in NOTIFY_SOCKET."""
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("Linux alone has abstract names")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        name = str(tmp_path / "notify")
        if request.param == "abstract":
            name = f"@{name}"
        line.bind(name.replace("@", "\0"))
        line.settimeout(5)
        yield line, name


def test_the_manager_is_told(manager: tuple[socket.socket, str]) -> None:
    """sd_notify(3)'s texts arrive, and the variable is gone from the environment."""
    line, name = manager
    environment = {"NOTIFY_SOCKET": name, "HOME": "/"}
    notifier = Notifier(environment)

    notifier.ready("answering")
    notifier.alive()
    notifier.stopping()

    assert [line.recv(100) for _ in range(3)] == [
        b"READY=1\nSTATUS=answering",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize("name", ["", "/", "relative", "vsock:1", "/no/such/socket"])
def test_a_manager_that_cannot_be_reached_is_no_error(name: str) -> None:
    """Whatever NOTIFY_SOCKET says, the service goes on."""
    Notifier({"NOTIFY_SOCKET": name}).ready("answering")


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
    ],
)
def test_the_watchdog(environment: dict[str, str], interval: float | None) -> None:
    """Half of what the manager waits, if it waits for this process (sd_watchdog_enabled(3))."""
    assert Notifier(environment).interval == interval
    assert environment == {}


def test_without_activation_there_are_no_sockets() -> None:
    """Nor if the variables are those of another process."""
    assert passed_sockets({}) == []
    assert passed_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []
    assert passed_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"}) == []


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[socket.socket]]:
    """Passes a descriptor on as systemd does, but for its number: that of 3 is pytest's."""

    def passing(descriptor: int) -> list[socket.socket]:
        free = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 60)
        monkeypatch.setattr("rolesanywhere_auth.serve.systemd._FIRST", free)
        environment = {
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": "a",
            "HOME": "/",
        }
        try:
            return passed_sockets(environment)
        except ConfigurationError:
            os.close(free)
            raise
        finally:
            assert environment == {"HOME": "/"}

    return passing


def test_sockets_are_taken_over(passed: Callable[[int], list[socket.socket]]) -> None:
    """With their address; no child inherits them."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as line:
        (found,) = passed(line.fileno())
        with found:
            assert found.getsockname() == line.getsockname()
            assert found.family == socket.AF_INET6
            assert not found.get_inheritable()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_what_does_not_listen_is_refused(
    passed: Callable[[int], list[socket.socket]], kind: socket.SocketKind
) -> None:
    """The error says how the unit should be."""
    with socket.socket(socket.AF_INET, kind) as line:
        with pytest.raises(ConfigurationError, match=r"no listening stream socket.*Accept=no"):
            passed(line.fileno())


def test_what_is_no_socket_is_refused(
    passed: Callable[[int], list[socket.socket]], tmp_path: Path
) -> None:
    """So is a descriptor that is not open at all."""
    with (tmp_path / "file").open("w") as file:
        with pytest.raises(ConfigurationError, match=r"descriptor \d+ of LISTEN_FDS is no socket"):
            passed(file.fileno())
    with pytest.raises(ConfigurationError, match=r"descriptor \d+ of LISTEN_FDS is no socket"):
        passed_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
