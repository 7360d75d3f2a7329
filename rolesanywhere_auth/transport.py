# SPDX-License-Identifier: Apache-2.0
"""Finding the endpoint, and sending one prepared request there.

Both follow botocore's rules and settings, by its public means only, without
building a client: that would cost 60 ms and, in some versions, run the caller's
whole credential chain, the instance metadata service included.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

import botocore
from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from botocore.exceptions import (
    ConnectionError as BotocoreConnectionError,
)
from botocore.exceptions import HTTPClientError, SSLError
from botocore.utils import get_environ_proxies

from rolesanywhere_auth._version import __version__
from rolesanywhere_auth.endpoints import no_answer, resolve_endpoint, verification
from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.exchange import HTTPResponse, run
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.signing import SERVICE, HTTPRequest
from rolesanywhere_auth.tls import GuardedSession

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import TypeAlias

    import botocore.session

    from rolesanywhere_auth.settings import Settings

    Session: TypeAlias = botocore.session.Session | Settings

__all__ = ["EVENT", "USER_AGENT", "HTTPSessions", "Transport", "resolve_endpoint", "run"]

logger = logging.getLogger("rolesanywhere_auth.transport")

USER_AGENT = f"rolesanywhere-auth/{__version__} botocore/{botocore.__version__} python/" + ".".join(
    map(str, sys.version_info[:3])
)
EVENT = f"before-send.{SERVICE}.CreateSession"
"""botocore's event for a request about to be sent: a handler may answer in the service's place."""
PROXY_FORM = (
    "write http://USER:PASSWORD@HOST:PORT, and in user and password, which must be ASCII, "
    "%2F for /, %23 for #, %3F for ?, %40 for @, and so on"
)


class Line(Protocol):
    """How to reach an endpoint: of a `RolesAnywhereConfig`, or None for botocore's settings."""

    @property
    def verify(self) -> bool | str | os.PathLike[str] | None:
        """True, a CA bundle, or False."""
        ...

    @property
    def proxies(self) -> Mapping[str, str] | None:
        """By scheme."""
        ...

    @property
    def connect_timeout(self) -> float | timedelta:
        """Seconds."""
        ...

    @property
    def read_timeout(self) -> float | timedelta:
        """Seconds."""
        ...


def proxies_for(config: Line, endpoint: str) -> dict[str, str]:
    """The proxies of the configuration, else of the environment.

    Raises:
        ConfigurationError: A SOCKS proxy, which botocore cannot use.
    """
    found = _all_proxies(config, endpoint)
    if found.get(urlsplit(endpoint).scheme, "").lower().startswith("socks"):
        raise ConfigurationError(
            "botocore cannot use a SOCKS proxy: give an HTTP proxy, as proxies, HTTPS_PROXY or "
            "HTTP_PROXY"
        )
    return found


def _all_proxies(config: Line, endpoint: str) -> dict[str, str]:
    if config.proxies is not None:
        return dict(config.proxies)
    # botocore's look takes 0.4 ms; only these systems have proxy settings elsewhere too
    if sys.platform not in {"darwin", "win32"} and not any(
        name.lower().endswith("_proxy") for name in os.environ
    ):
        return {}
    return get_environ_proxies(endpoint)


def is_proxy(url: str) -> bool:
    """Whether *url*, as botocore completes it, names a proxy and a login that it can use.

    A password with a bare slash ends the host early: botocore would call, show and log
    the two halves. Of a login it can encode ASCII alone.
    """
    whole = url if url.startswith(("http:", "https:")) else f"http://{url.removeprefix('//')}"
    try:
        parts = urlsplit(whole)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    login = unquote(parts.netloc.rpartition("@")[0])
    # urlsplit() drops line ends and tabs, and botocore then masks nothing
    usable = usable and url.isprintable()
    return usable and login.isascii() and "@" not in parts.path + parts.query + parts.fragment


def _usable_proxies(config: Line, endpoint: str) -> dict[str, str]:
    found = proxies_for(config, endpoint)
    url = found.get(urlsplit(endpoint).scheme)
    if url and not is_proxy(url):  # not shown, however it was meant
        raise ConfigurationError(
            f"the proxy's URL (of proxies, HTTPS_PROXY or HTTP_PROXY) cannot be read: {PROXY_FORM}"
        )
    return found


class HTTPSessions:
    """The `GuardedSession` for each sign-in of one configuration: the last one where it fits.

    What it keeps is the CA bundle, as reading that costs a tenth of a sign-in; there is no
    connection between sign-ins. A forked child, other settings and a changed bundle get
    a new one.
    """

    def __init__(self) -> None:
        self._kept: tuple[object, GuardedSession] | None = None

    def get(self, config: Line, session: Session, endpoint: str) -> GuardedSession:
        """One for the settings of this moment."""
        verify, proxies = verification(config, session), _usable_proxies(config, endpoint)
        key = (os.getpid(), verify, proxies, _stamp(verify) if isinstance(verify, str) else None)
        kept = self._kept
        if kept is None or kept[0] != key:
            with local_work():
                # looking up a host name does so, in whatever thread
                import encodings.idna  # noqa: F401

                http = GuardedSession(
                    verify=verify,  # type: ignore[arg-type] # the stubs know no path
                    proxies=proxies,
                    max_pool_connections=1,
                    timeout=(config.connect_timeout, config.read_timeout),  # type: ignore[arg-type]
                    # headers and body leave in two writes: with Nagle's algorithm on, the
                    # second waits for the peer's delayed ACK, 40 ms on loopback
                    socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # type: ignore[list-item]
                )
            kept = self._kept = (key, http)
        return kept[1]


def _stamp(bundle: str) -> tuple[int, int, int] | None:
    """Tells whether the file was changed; None if it was taken away just now."""
    try:
        found = Path(bundle).stat()
    except OSError:  # reading it says what is wrong
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class Transport:
    """Sends the requests of one sign-in. Made anew for each, so that no socket crosses a fork.

    Args:
        config: Time-outs, proxies and verification.
        session: Whose settings and event handlers count.
        endpoint: Of `resolve_endpoint()`.
        sessions: Those of earlier sign-ins of *config*.
        event: botocore's name for this request being sent.
    """

    def __init__(
        self,
        config: Line,
        session: Session,
        *,
        endpoint: str,
        sessions: HTTPSessions | None = None,
        event: str = EVENT,
    ) -> None:
        self._session = session
        self._event = event
        self._endpoint = endpoint
        self._http = (sessions or HTTPSessions()).get(config, session, endpoint)

    def send(self, request: HTTPRequest) -> HTTPResponse:
        """Send *request* and read the whole answer.

        Raises:
            TransportError: no answer came.
            ConfigurationError: the CA bundle cannot be used.
        """
        headers = {**request.headers, "Content-Length": str(len(request.body))}
        prepared = AWSPreparedRequest(
            method=request.method,
            url=request.url,
            headers=HeadersDict(headers),  # type: ignore[arg-type] # which botocore passes too
            body=request.body,
            stream_output=False,
        )
        try:
            answer = self._session.emit_first_non_none_response(self._event, request=prepared)
            if answer is None:
                answer = self._http.send(prepared)
        except (HTTPClientError, BotocoreConnectionError) as error:
            cause = error.kwargs.get("error")
            if isinstance(cause, ConfigurationError):
                raise cause from None
            distrust = isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
            raise no_answer(self._endpoint, error, distrust=distrust) from None
        named = {name.lower(): value for name, value in answer.headers.items()}
        return HTTPResponse(answer.status_code, named, answer.content)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
