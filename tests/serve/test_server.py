"""Where the server listens, how many it serves, and how it stops."""

from __future__ import annotations

import asyncio
import os
import pickle
import resource
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serve_client import Client, drained, settled

from rolesanywhere_auth import (
    CertificateLoadError,
    ConfigurationError,
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
)
from rolesanywhere_auth.serve import CredentialServer, Timeouts, server
from rolesanywhere_auth.serve import sockets as listening
from rolesanywhere_auth.serve.limits import RateLimit
from rolesanywhere_auth.testing import Emulator

Serving = Callable[..., Client]
CURL = (
    'curl -fsS --unix-socket "$0" "$AWS_CONTAINER_CREDENTIALS_FULL_URI" '
    '-H "Authorization: $(cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")"'
)
GOOD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_as_a_context_manager(config: RolesAnywhereConfig) -> None:
    """It answers within the block; token files, port and thread are gone afterwards."""
    before = set(threading.enumerate())
    with CredentialServer(config) as found:
        client = Client(found)
        folder = Path(found.environment()["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).parent
        address = client.address
        assert client.credentials().status == 200

    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    # Those of the emulator end by themselves, and the one that renews with the credentials.
    started = {each.name for each in set(threading.enumerate()) - before}
    assert "rolesanywhere-serve-loop" not in started
    found.stop()
    with pytest.raises(ConfigurationError, match="starts once"):
        found.start()


def test_a_token_that_rotated_is_read_by_the_next_request(
    credentials: RolesAnywhereCredentials, serving: Serving
) -> None:
    """The running server replaces the file; the old content stays good for a while."""
    clock = [0.0]
    client = serving(credentials, steady=lambda: clock[0], token_lifetime=100)
    old = client.token()
    clock[0] = 50
    end = time.monotonic() + 10
    while client.token() == old:
        assert time.monotonic() < end
        time.sleep(0.05)

    assert client.credentials().status == 200
    assert client.ask("/v1/credentials", Authorization=old).status == 200
    clock[0] = 100
    assert client.ask("/v1/credentials", Authorization=old).status == 401


def hops(line: socket.socket, *, six: bool = False) -> int:
    """The hop limit of a connection's own packets."""
    if six:
        return line.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
    return line.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)


@pytest.mark.parametrize(
    ("host", "given", "found"),
    [("127.0.0.1", None, 1), ("127.0.0.1", 7, 7), ("0.0.0.0", None, 64), ("::1", None, 1)],
)
def test_hop_limit(
    credentials: RolesAnywhereCredentials, host: str, given: int | None, found: int
) -> None:
    """1 on loopback, so that no router passes an answer on; 64 elsewhere; or as is said."""
    made = CredentialServer(credentials, host=host, hop_limit=given).start()
    try:
        (listener,) = made._sockets
        copy = socket.socket(fileno=os.dup(listener.fileno()))
        assert hops(copy, six=host == "::1") == found
        copy.close()
        assert made.is_loopback is (host != "0.0.0.0")
        assert Client(made).credentials().status == 200
    finally:
        made.stop()


def test_accepted_connections_take_the_hop_limit_over() -> None:
    """As Linux documents it in no place."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listening.set_hop_limit(listener, 3)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as line:
            assert hops(line) == 3


def test_unix_socket(credentials: RolesAnywhereCredentials, tmp_path: Path) -> None:
    """Mode 0600, spoken to by curl, replaced if its server is gone, removed at the end."""
    path = tmp_path / "socket"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    with CredentialServer(credentials, unix_socket=path) as made:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert made.url is None
        assert made.is_loopback
        variables = made.environment()
        assert variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "http://localhost/v1/credentials"
        token = Path(variables["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).read_text()
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(path))
            line.sendall(
                b"GET /v1/credentials HTTP/1.0\r\nHost: localhost\r\n"
                b"Authorization: " + token.encode() + b"\r\n\r\n"
            )
            assert b"SecretAccessKey" in drained(line)
        with pytest.raises(ConfigurationError, match="another server answers"):
            CredentialServer(credentials, unix_socket=path).start()
        assert path.exists()

    assert not path.exists()


def test_users_of_a_unix_socket_are_told_apart(
    credentials: RolesAnywhereCredentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system says who they are; where not, their refusals are counted together."""
    path = tmp_path / "socket"
    seen: list[str] = []
    real = RateLimit.allows

    def allows(self: RateLimit, peer: str) -> bool:
        seen.append(peer)
        return real(self, peer)

    monkeypatch.setattr(RateLimit, "allows", allows)
    with CredentialServer(credentials, unix_socket=path):
        for linux in (True, False):
            if not linux:
                monkeypatch.delattr(socket, "SO_PEERCRED")
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(path))
                line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert drained(line).startswith(b"HTTP/1.1 404 ")

    assert seen == [f"user {os.getuid()}", "unix"]


def test_curl_speaks_to_a_unix_socket(
    credentials: RolesAnywhereCredentials, tmp_path: Path
) -> None:
    """With the variables that the server gives."""
    with CredentialServer(credentials, unix_socket=tmp_path / "socket") as made:
        done = subprocess.run(
            [
                "bash",
                "-c",
                CURL,
                str(tmp_path / "socket"),
            ],
            env={**os.environ, **made.environment()},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == 127:
        pytest.skip("needs curl")
    assert '"AccessKeyId": "ASIA' in done.stdout, done.stderr


def test_a_unix_socket_of_another_server_is_left_alone(
    credentials: RolesAnywhereCredentials, tmp_path: Path
) -> None:
    """Whoever took the place meanwhile keeps it."""
    path = tmp_path / "socket"
    with CredentialServer(credentials, unix_socket=path):
        path.unlink()
        path.write_text("mine")

    assert path.read_text() == "mine"


def test_places_that_cannot_be_used(
    credentials: RolesAnywhereCredentials, tmp_path: Path, client: Client
) -> None:
    """A port that is taken, a name that is none, a file, a missing folder; nothing is left open."""
    (tmp_path / "file").touch()
    (tmp_path / "tokens").touch()
    for settings, reason in (
        ({"port": client.address[1]}, "Address already in use; give another --port"),
        ({"host": "no-such-host.invalid"}, "cannot listen on no-such-host"),
        ({"unix_socket": tmp_path / "file"}, "is there and no socket"),
        ({"unix_socket": tmp_path / "missing/socket"}, "No such file"),
        ({"unix_socket": tmp_path / ("x" * 200)}, "too long"),
        ({"token_folder": tmp_path / "tokens"}, "Not a directory"),
        (
            {"token_folder": tmp_path / "tokens", "unix_socket": tmp_path / "socket"},
            "Not a directory",
        ),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            CredentialServer(credentials, **settings).start()  # type: ignore[arg-type]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "tokens"]


@pytest.mark.parametrize(
    "settings",
    [
        {"hop_limit": 0},
        {"hop_limit": 256},
        {"token_lifetime": 0},
        {"token_lifetime": float("inf")},
        {"max_connections": 0},
    ],
)
def test_settings_that_cannot_work(
    credentials: RolesAnywhereCredentials, settings: dict[str, int]
) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        CredentialServer(credentials, **settings)  # type: ignore[arg-type]


def test_there_is_no_environment_of_another_role(client: Client) -> None:
    """The error names those that are there."""
    with pytest.raises(ConfigurationError, match=r"no role 'x'; there are \['app'\]"):
        client.server.environment("x")


def test_what_is_not_known_before_it_runs(credentials: RolesAnywhereCredentials) -> None:
    """Neither port nor token file; a server that does not run may be stopped."""
    made = CredentialServer(credentials)

    for ask in (made.environment, made.exports, lambda: made.url):
        with pytest.raises(ConfigurationError, match="does not run"):
            ask()
    made.stop()


def test_given_sockets(credentials: RolesAnywhereCredentials, serving: Serving) -> None:
    """It answers on each, and closes them at the end."""
    given = [socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))]
    addresses = [each.getsockname() for each in given]
    client = serving(credentials, sockets=given)
    for address in addresses:
        with socket.create_connection(address) as line:
            line.sendall(GOOD)
            assert line.recv(65536).startswith(b"HTTP/1.1 200 ")

    client.server.stop()
    for address in addresses:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


def test_the_manager_hears_of_it(credentials: RolesAnywhereCredentials, tmp_path: Path) -> None:
    """Ready, alive, stopping."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(10)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000"}
        with CredentialServer(credentials, environment=environment):
            assert line.recv(100) == b"READY=1\nSTATUS=answering"
            assert line.recv(100) == b"WATCHDOG=1"
        last = b""
        while last != b"STOPPING=1":
            last = line.recv(100)


def test_requests_under_way_are_answered_before_it_stops(
    emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """Who waits for a sign-in gets it; idle connections are closed, no new ones taken."""
    fresh = RolesAnywhereCredentials(config)
    made = CredentialServer(fresh).start()
    client = settled(made)
    address, token = client.address, client.token()
    fresh._renewal.snapshot = fresh._renewal.snapshot._replace(
        usable_until=0.0, fresh_until=0.0, hot_until=0.0, expires=1.0
    )
    with emulator.faults.hang() as fault, client.connect() as idle, client.connect() as waiting:
        idle.sendall(GOOD)
        assert idle.recv(65536).startswith(b"HTTP/1.1 503 ")
        waiting.sendall(
            b"GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: "
            + token.encode()
            + b"\r\n\r\n"
        )
        fault.wait_until_hit()
        stopping = threading.Thread(target=made.stop)
        stopping.start()
        assert drained(idle) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        fault.release()
        answer = drained(waiting)
        assert b"SecretAccessKey" in answer
        assert b"Connection: close" in answer
        stopping.join(10)
        assert not stopping.is_alive()


def test_it_does_not_wait_for_ever(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """A service that hangs keeps the server no longer than it says, from starting or serving."""
    fresh = RolesAnywhereCredentials(config)
    made = CredentialServer(fresh, timeouts=Timeouts(stop=0.1))
    with emulator.faults.hang() as fault:
        made.begin()
        fault.wait_until_hit()
        assert not made.await_ready(0)
        begin = time.monotonic()
        with Client(made).connect() as line:
            line.sendall(
                b"GET /v1/credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: "
                + Client(made).token().encode()
                + b"\r\n\r\n"
            )
            time.sleep(0.05)
            made.stop()
            assert drained(line) == b""
        assert time.monotonic() - begin < 2


def test_a_stop_before_the_loop_began(
    credentials: RolesAnywhereCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However early it comes, the thread ends."""
    real = asyncio.run

    def late(main: Any) -> None:
        while not made._stop_asked:
            time.sleep(0.01)
        real(main)

    monkeypatch.setattr(asyncio, "run", late)
    made = CredentialServer(credentials)
    made.begin()
    made.stop()
    assert made._thread is not None
    assert not made._thread.is_alive()


@pytest.mark.parametrize(("host", "local"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_a_failure_that_comes_first(
    config: RolesAnywhereConfig, tmp_path: Path, host: str, *, local: bool
) -> None:
    """Where it listens is known even if it has ended by then; why it ended is told."""
    made = CredentialServer(replace(config, certificate=tmp_path / "none.pem"), host=host)
    made.begin()
    assert made._thread is not None
    made._thread.join()  # its sockets are closed

    assert made.is_loopback is local
    assert made.url is not None
    assert f"{made.url}/" in made.exports()
    with pytest.raises(CertificateLoadError, match=r"none\.pem"):
        made.await_ready()


def test_an_end_that_nobody_asked_for_is_told(
    credentials: RolesAnywhereCredentials,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`await_ready()` raises what ended it."""

    async def run(self: server.Server, stop: object, *, ready: Callable[[], object]) -> None:
        ready()
        raise MemoryError

    monkeypatch.setattr(server.Server, "run", run)
    made = CredentialServer(credentials)
    made.begin()
    assert made._thread is not None
    made._thread.join()

    with pytest.raises(MemoryError):
        made.await_ready()
    assert "the server of credentials ended: MemoryError" in caplog.text


def test_as_many_connections_as_there_are_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft limit is raised as far as it goes; beyond, fewer connections are taken."""
    limits = [(1024, 4096)]

    def setrlimit(_: int, wanted: tuple[int, int]) -> None:
        if wanted[0] == 999:
            raise ValueError
        limits[0] = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[0])
    monkeypatch.setattr(resource, "setrlimit", setrlimit)

    assert server.connection_limit(100) == 100
    assert limits[0] == (1024, 4096)
    assert server.connection_limit(2048) == 2048
    assert limits[0] == (2368, 4096)
    assert server.connection_limit(100_000) == 4096 - 320
    limits[0] = (256, 999)
    assert server.connection_limit(100_000) == 16
    limits[0] = (1024, resource.RLIM_INFINITY)
    assert server.connection_limit(5000) == 5000
    limits[0] = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert server.connection_limit(1_000_000) == 1_000_000


def test_a_server_is_not_pickled(config: RolesAnywhereConfig) -> None:
    """It holds sockets and keys; a copy elsewhere would be another server."""
    with pytest.raises(TypeError):
        pickle.dumps(CredentialServer(config))
