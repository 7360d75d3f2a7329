"""Finding the endpoint, and sending one prepared request there.

Both follow botocore's rules and settings, by its public means only, without
building a client: that would cost 60 ms and, in some versions, run the caller's
whole credential chain, the instance metadata service included.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import botocore
from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from botocore.exceptions import (
    BotoCoreError,
    HTTPClientError,
    ProfileNotFound,
    SSLError,
)
from botocore.exceptions import (
    ConnectionError as BotocoreConnectionError,
)
from botocore.utils import get_environ_proxies

from rolesanywhere_auth._version import __version__
from rolesanywhere_auth.config import check_endpoint
from rolesanywhere_auth.errors import ConfigurationError, EndpointError, TransportError
from rolesanywhere_auth.exchange import HTTPResponse, Reply, SessionCredentials, Step, Wait
from rolesanywhere_auth.forking import local_work
from rolesanywhere_auth.secrets import MASK
from rolesanywhere_auth.signing import SERVICE, HTTPRequest
from rolesanywhere_auth.tls import GuardedSession

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import TypeAlias

    import botocore.session

    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.settings import Settings

    Session: TypeAlias = botocore.session.Session | Settings

logger = logging.getLogger("rolesanywhere_auth.transport")

USER_AGENT = f"rolesanywhere-auth/{__version__} botocore/{botocore.__version__} python/" + ".".join(
    map(str, sys.version_info[:3])
)
EVENT = f"before-send.{SERVICE}.CreateSession"
"""botocore's event for a request about to be sent: a handler may answer in the service's place."""

_LOGIN = re.compile(r"//[^/\s\"']*@")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


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


def resolve_endpoint(config: RolesAnywhereConfig, session: Session) -> str:
    """The URL of the service: scheme, host and perhaps a path, without ``/sessions``.

    In this order, as botocore has it: ``config.endpoint_url``;
    ``AWS_ENDPOINT_URL_ROLESANYWHERE``; ``AWS_ENDPOINT_URL``; the profile's services
    section; the profile's ``endpoint_url``; the rule of the Region's partition.

    Raises:
        EndpointError: FIPS or dual-stack together with a URL, FIPS where the
            service has no such endpoint, or a malformed URL.
        ConfigurationError: the profile or its services section does not exist.
    """
    fips = _setting(session, "use_fips_endpoint", chosen=config.use_fips_endpoint)
    dualstack = _setting(session, "use_dualstack_endpoint", chosen=config.use_dualstack_endpoint)
    url = config.endpoint_url or configured_endpoint(session, os.environ)
    if url is None:
        return _rule(str(config.region), session, fips=fips, dualstack=dualstack)
    check_endpoint(url, name="the endpoint URL (of AWS_ENDPOINT_URL… or the profile)")
    if fips or dualstack:
        raise EndpointError(
            f"{'FIPS' if fips else 'dual-stack'} and the endpoint URL {url} exclude each other, "
            "as in botocore: drop one (see use_fips_endpoint, use_dualstack_endpoint, "
            "AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT, AWS_ENDPOINT_URL…)"
        )
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        logger.warning("credentials will come in clear text from %s: use https", url)
    return url.rstrip("/")


def _setting(session: Session, name: str, *, chosen: bool | None) -> bool:
    return bool(_variable(session, name)) if chosen is None else chosen


def _variable(session: Session, name: str) -> Any:
    try:
        return session.get_config_variable(name)
    except BotoCoreError as error:
        if not isinstance(error, ProfileNotFound):
            raise ConfigurationError(f"the AWS configuration cannot be read: {error}") from error
        raise ConfigurationError(
            f"{error}: AWS_PROFILE (or the session's profile) names a profile that is in neither "
            "the AWS config nor the credentials file"
        ) from error


def configured_endpoint(session: Session, environ: Mapping[str, str]) -> str | None:
    """The endpoint URL of the environment or the profile, or None.

    As described in the AWS SDKs and Tools reference guide, "Service-specific
    endpoints".
    """
    if _variable(session, "ignore_configured_endpoint_urls"):
        return None
    for name in (f"AWS_ENDPOINT_URL_{SERVICE.upper()}", "AWS_ENDPOINT_URL"):
        if environ.get(name):
            return environ[name]
    profile = session.get_scoped_config()
    services: dict[str, Any] = {}
    if "services" in profile:
        name = profile["services"]
        services = session.full_config.get("services", {}).get(name)
        if not services:
            raise ConfigurationError(f"the profile names services = {name}, but there is no "
                                     f"[services {name}] in the AWS config file")  # fmt: skip
    own = services.get(SERVICE, {})
    return own.get("endpoint_url") or profile.get("endpoint_url")


def _rule(region: str, session: Session, *, fips: bool, dualstack: bool) -> str:
    loader = session.get_component("data_loader")
    partitions = loader.load_data("partitions")["partitions"]
    partition = next(
        (
            p
            for p in partitions
            if region in p["regions"] or re.match(p["regionRegex"], region, re.ASCII)
        ),
        partitions[0],
    )["outputs"]
    if dualstack and not partition["supportsDualStack"]:
        raise EndpointError(
            f"there are no dual-stack endpoints in the partition {partition['name']} of {region}, "
            "as far as the installed botocore knows: leave use_dualstack_endpoint out"
        )
    if fips:
        _check_fips(region, loader.load_data("endpoints"))
    suffix = partition["dualStackDnsSuffix" if dualstack else "dnsSuffix"]
    return f"https://{SERVICE}{'-fips' if fips else ''}.{region}.{suffix}"


def _check_fips(region: str, endpoints: Mapping[str, Any]) -> None:
    """botocore would make up a FIPS name for every Region; only some exist."""
    known = set()
    for partition in endpoints["partitions"]:
        service = partition["services"].get(SERVICE, {})
        for name, endpoint in service.get("endpoints", {}).items():
            if any("fips" in variant["tags"] for variant in endpoint.get("variants", ())):
                known.add(name)
    if region not in known:
        raise EndpointError(
            f"the service has no FIPS endpoint in {region}; it has one in "
            f"{', '.join(sorted(known))}"
        )


def _verify(config: Line, session: Session) -> bool | str:
    """What botocore would use where the configuration says nothing; never off by accident."""
    if config.verify is False:
        logger.warning("TLS certificates are not verified (verify=False): anyone on the way "
                       "can read and replace the credentials")  # fmt: skip
        return False
    chosen = config.verify if config.verify is not True else None
    if chosen is None and config.verify is None:
        chosen = _variable(session, "ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    if not chosen:
        return True
    path = Path(chosen).expanduser()
    if not path.is_file():
        fault = "is no file" if path.exists() else "does not exist"
        raise ConfigurationError(
            f"the CA bundle {path} {fault}; see verify, AWS_CA_BUNDLE, the profile's ca_bundle "
            "and REQUESTS_CA_BUNDLE"
        )
    return str(path)


def _proxies(config: Line, endpoint: str) -> dict[str, str]:
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
        verify, proxies = _verify(config, session), _proxies(config, endpoint)
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


def _stamp(bundle: str) -> tuple[int, int, int]:
    """Tells whether the file was changed."""
    found = Path(bundle).stat()
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
            raise cause if isinstance(cause, ConfigurationError) else self._error(error) from None
        named = {name.lower(): value for name, value in answer.headers.items()}
        return HTTPResponse(answer.status_code, named, answer.content)

    def _error(self, error: Exception) -> TransportError:
        distrust = isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
        if distrust:
            hint = "give the CA that signed the endpoint's certificate as verify or AWS_CA_BUNDLE"
        else:
            hint = "check the network, the proxy settings and the endpoint"
        cause = _LOGIN.sub(f"//{MASK}@", str(error))  # a proxy's URL may hold a password
        return TransportError(
            f"no answer from {self._endpoint}: {cause} ({hint})",
            endpoint=self._endpoint,
            retryable=not distrust,
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def run(
    exchange: Generator[Step, Reply, SessionCredentials],
    *,
    send: Callable[[HTTPRequest], HTTPResponse],
    sleep: Callable[[float], object],
) -> SessionCredentials:
    """Drive *exchange* to its end with blocking I/O."""
    reply: Reply = None
    try:
        while True:
            step = exchange.send(reply)
            reply = None
            if isinstance(step, Wait):
                sleep(step.seconds)
                continue
            try:
                reply = send(step)
            except TransportError as error:
                reply = error
    except StopIteration as end:
        result: SessionCredentials = end.value
        return result
