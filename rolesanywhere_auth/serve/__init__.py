# SPDX-License-Identifier: Apache-2.0
"""Credentials for programs in any language, over HTTP on this machine: `CredentialServer`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from types import TracebackType

from rolesanywhere_auth.config import RolesAnywhereConfig
from rolesanywhere_auth.credentials import RolesAnywhereCredentials
from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.serve import sockets as listening
from rolesanywhere_auth.serve.http import Answer
from rolesanywhere_auth.serve.limits import RateLimit
from rolesanywhere_auth.serve.routes import CONTAINER_PATH, Routes, role_scope
from rolesanywhere_auth.serve.server import Server, Timeouts, connection_limit
from rolesanywhere_auth.serve.supply import Supply, check_names
from rolesanywhere_auth.serve.systemd import Notifier
from rolesanywhere_auth.serve.tokens import TokenFolder, Tokens

__all__ = ["CredentialServer", "Timeouts"]

logger = logging.getLogger("rolesanywhere_auth.serve")

Role = RolesAnywhereConfig | RolesAnywhereCredentials
_REFUSALS = (20.0, 100.0)
"""Of one peer: a second, and at once."""


class CredentialServer:
    """Gives the credentials of roles to programs in any language, over HTTP on this machine.

    It speaks the container-credentials protocol, which AWS's SDKs and libraries on Rust's
    ``object_store`` take from ``AWS_CONTAINER_CREDENTIALS_FULL_URI`` and
    ``AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE``, and IMDSv2 where asked to. It runs in a thread;
    the class is a context manager.

    Args:
        roles: A configuration or credentials, or several by name; the first is what clients
            get who name none. Without a name it is the last part of the role's ARN.
        host: Where to listen. Anything but loopback shows the credentials to the network, in
            clear.
        port: 0 for a free one.
        unix_socket: Listen there instead, with mode 0600.
        sockets: Listen on these bound ones instead; they are closed at the end.
        imds: Whether to answer as IMDSv2 too. Any user of the machine can ask that for
            credentials; the other protocol takes who can read the token file.
        metrics: Whether to answer ``GET /metrics`` for Prometheus (extra ``prometheus``).
        host_names: Names and addresses by which clients call the server, besides those of
            loopback and *host*.
        hop_limit: How many routers an answer may pass: IP's time to live. By default 1 on
            loopback, else 64.
        token_folder: Where ``ROLE.token`` is written, 0600; made if it is not there. By default
            a temporary folder.
        token_lifetime: Seconds that a token is good for; it is replaced after half of them.
        max_connections: Beyond, the one that was idle for longest is closed.
        timeouts: Seconds; see there.
        environment: Of the service manager: ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC`` are taken
            out of it. By default none.
        now: Seconds since the epoch, as `time.time`.
        steady: Seconds of a clock that nobody sets, as `time.monotonic`.

    Raises:
        ConfigurationError: a setting cannot work.
        MissingExtraError: *metrics* needs what is not installed.
    """

    def __init__(
        self,
        roles: Role | Mapping[str, Role],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        unix_socket: str | os.PathLike[str] | None = None,
        sockets: Sequence[socket.socket] = (),
        imds: bool = False,
        metrics: bool = False,
        host_names: Sequence[str] = (),
        hop_limit: int | None = None,
        token_folder: str | os.PathLike[str] | None = None,
        token_lifetime: float = 3600,
        max_connections: int = 2048,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - cannot change
        environment: MutableMapping[str, str] | None = None,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roles = _named(roles)
        check_names(list(self._roles))
        _check_numbers(
            hop_limit=hop_limit, token_lifetime=token_lifetime, max_connections=max_connections
        )
        self._host = host
        self._port = port
        self._unix_socket = None if unix_socket is None else Path(unix_socket)
        self._given = list(sockets)
        self._imds = imds
        self._metrics = _exposition(self._roles) if metrics else None
        self._host_names = list(host_names)
        self._hop_limit = hop_limit
        self._folder = None if token_folder is None else Path(token_folder)
        self._lifetime = token_lifetime
        self._most = max_connections
        self._timeouts = timeouts
        self._notifier = Notifier({} if environment is None else environment)
        self._now = now
        self._steady = steady
        self._sockets: list[socket.socket] = []
        self._url: str | None = None
        self._is_loopback = True
        self._inode = 0
        self._tokens: TokenFolder | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._stop_asked = False
        self._stop: Callable[[], object] = lambda: None

    # its life

    def start(self) -> CredentialServer:
        """Listen, sign in, and answer.

        Raises:
            ConfigurationError: a setting cannot work; an address is taken.
            RolesAnywhereError: the first sign-in failed, and trying again will not help. If
                it may help, the server tries on and answers 503 meanwhile.
        """
        self.begin()
        self.await_ready()
        return self

    def begin(self) -> None:
        """Listen and sign in, but do not wait for that; `await_ready()` does."""
        if self._thread is not None:
            raise ConfigurationError("a CredentialServer starts once; make another")
        self._open()
        self._thread = threading.Thread(
            target=self._run, name="rolesanywhere-serve-loop", daemon=True
        )
        self._thread.start()

    def await_ready(self, seconds: float | None = None) -> bool:
        """Wait until requests are answered, so long at most; whether they are. Raises as `start()`.

        Of a server that was ready and has ended since, it raises why.
        """
        ready = self._ready.wait(seconds)
        if self._error is not None:
            error = self._error
            self.stop()
            raise error
        return ready

    def stop(self) -> None:
        """Answer what is under way, then close all; the token files go."""
        if self._thread is None or self._tokens is None:
            return
        self._stop_asked = True  # for a loop that has not begun
        self._stop()
        self._thread.join()
        tokens, self._tokens = self._tokens, None
        tokens.remove()
        for each in self._sockets:
            each.close()
        if self._unix_socket is not None:
            listening.remove(self._unix_socket, self._inode)

    def __enter__(self) -> CredentialServer:  # noqa: PYI034 - Self needs Python 3.11
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # what clients must know

    @property
    def url(self) -> str | None:
        """The base URL, None on a Unix socket."""
        self._folder_in_use()
        return self._url

    @property
    def is_loopback(self) -> bool:
        """Whether nobody beyond this machine can reach it."""
        return self._is_loopback

    def environment(self, role: str | None = None) -> dict[str, str]:
        """The variables that lead AWS's SDKs to *role*, by default the first one.

        On a Unix socket the URL is that for ``curl --unix-socket``; no SDK speaks to one.

        Raises:
            ConfigurationError: there is no such role, or the server does not run.
        """
        folder = self._folder_in_use()
        name = next(iter(self._roles)) if role is None else role
        if name not in self._roles:
            raise ConfigurationError(f"there is no role {name!r}; there are {list(self._roles)}")
        base = self.url or "http://localhost"
        path = CONTAINER_PATH if role is None else f"{CONTAINER_PATH}/{name}"
        found = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{base}{path}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str((folder / _file(name)).absolute()),
        }
        if self._imds and role is None:
            found["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = base
        return found

    def exports(self) -> str:
        """The variables as lines for a shell; of a second role, with its name behind them."""
        lines = self.environment()
        for name in list(self._roles)[1:]:
            suffix = "".join(each if each.isalnum() else "_" for each in name).upper()
            lines |= {f"{key}_{suffix}": value for key, value in self.environment(name).items()}
        return "".join(f"export {key}={shlex.quote(value)}\n" for key, value in lines.items())

    def _folder_in_use(self) -> Path:
        if self._tokens is None:
            raise ConfigurationError("the server does not run: start() it first")
        return self._tokens.path

    # how it runs

    def _open(self) -> None:
        if self._given:
            self._sockets = self._given
        elif self._unix_socket is not None:
            self._sockets = [listening.listen_at(self._unix_socket)]
            self._inode = self._unix_socket.lstat().st_ino
        else:
            self._sockets = [listening.listen_on(self._host, self._port)]
        try:
            # Now: a loop that fails closes them, perhaps before anybody asks.
            self._url = listening.url_of(self._sockets[0])
            self._is_loopback = all(listening.is_loopback(each) for each in self._sockets)
            for each in self._sockets:
                usual = 1 if listening.is_loopback(each) else 64
                listening.set_hop_limit(each, self._hop_limit or usual)
                listening.limit_buffers(each)
            self._make_tokens()
        except BaseException:
            for each in self._sockets:
                each.close()
            if self._unix_socket is not None:
                listening.remove(self._unix_socket, self._inode)
            raise

    def _make_tokens(self) -> None:
        self._issuer = Tokens(steady=self._steady)
        self._tokens = TokenFolder(
            self._folder,
            tokens=self._issuer,
            scopes={_file(name): role_scope(name) for name in self._roles},
            lifetime=self._lifetime,
            steady=self._steady,
        )

    def _hosts(self) -> set[str]:
        names = {*listening.LOOPBACK_HOSTS, *self._host_names, self._host}
        return {f"[{name}]" if ":" in name and name[0] != "[" else name.lower() for name in names}

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - `start()` raises it
            self._error = error
            if self._ready.is_set():
                logger.critical("the server of credentials ended: %s", type(error).__name__)
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        assert self._tokens is not None
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()

        def end() -> None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(stop.set)

        self._stop = end
        if self._stop_asked:
            stop.set()
        supplies = {
            name: Supply(name, credentials, now=self._now)
            for name, credentials in self._roles.items()
        }
        rate, burst = _REFUSALS
        routes = Routes(
            supplies,
            tokens=self._issuer,
            hosts=self._hosts(),
            imds=self._imds,
            metrics=self._metrics,
            limit=RateLimit(rate=rate, burst=burst, steady=self._steady),
        )
        server = Server(
            supplies,
            routes=routes,
            tokens=self._tokens,
            sockets=self._sockets,
            timeouts=self._timeouts,
            max_connections=connection_limit(self._most),
            notifier=self._notifier,
            clock=self._now,
        )
        await server.run(stop, ready=self._tell)

    def _tell(self) -> None:
        logger.info("answering at %s", self.url or self._unix_socket)
        self._ready.set()


def _check_numbers(*, hop_limit: int | None, token_lifetime: float, max_connections: int) -> None:
    if hop_limit is not None and not 1 <= hop_limit <= 255:
        raise ConfigurationError(f"hop_limit must be 1 to 255, not {hop_limit!r}")
    if not 1 <= token_lifetime < float("inf"):
        raise ConfigurationError(f"token_lifetime must be 1 or more, not {token_lifetime!r}")
    if max_connections < 1:
        raise ConfigurationError(f"max_connections must be 1 or more, not {max_connections!r}")


def _named(roles: Role | Mapping[str, Role]) -> dict[str, RolesAnywhereCredentials]:
    if isinstance(roles, Mapping):
        return {name: _credentials(role) for name, role in roles.items()}
    credentials = _credentials(roles)
    return {default_name(credentials.config.role_arn): credentials}


def _exposition(roles: Mapping[str, RolesAnywhereCredentials]) -> Callable[[], Answer]:
    from rolesanywhere_auth.serve.metrics import exposition

    return exposition(roles.values())


def _credentials(role: Role) -> RolesAnywhereCredentials:
    return role if isinstance(role, RolesAnywhereCredentials) else RolesAnywhereCredentials(role)


def default_name(role_arn: str) -> str:
    """The name that IAM has for the role: the last part of its ARN."""
    return role_arn.rpartition("/")[2]


def _file(name: str) -> str:
    return f"{name}.token"
