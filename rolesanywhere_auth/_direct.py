# SPDX-License-Identifier: Apache-2.0
"""One sign-in for a process that lives for one: by Python's own HTTP client.

Importing botocore's takes longer than all the rest. It is still used where it may know
more than is read here: proxies, settings in the AWS config file, and settings of how
botocore works. The conversation, the checks and the errors are the same.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rolesanywhere_auth import exchange
from rolesanywhere_auth._version import __version__
from rolesanywhere_auth.endpoints import no_answer, resolve_endpoint, verification
from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.exchange import Clock, HTTPResponse, SessionCredentials
from rolesanywhere_auth.identity import Identity

if TYPE_CHECKING:
    from rolesanywhere_auth.config import RolesAnywhereConfig
    from rolesanywhere_auth.signing import HTTPRequest

logger = logging.getLogger("rolesanywhere_auth.credentials")

USER_AGENT = f"rolesanywhere-auth/{__version__} python/" + ".".join(map(str, sys.version_info[:3]))

_BOTOCORE_ONLY = (
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_DATA_PATH",
)
_SETTINGS = (
    b"endpoint_url",
    b"services",
    b"ca_bundle",
    b"use_fips_endpoint",
    b"use_dualstack_endpoint",
)
"""In any section of a file, and be it as part of another word."""


def create_session(
    config: RolesAnywhereConfig,
    *,
    environ: Mapping[str, str] = os.environ,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
) -> SessionCredentials:
    """As `rolesanywhere_auth.create_session`, in less time where settings are simple.

    Raises:
        RolesAnywhereError: its leaf says why.
    """
    if not is_simple(config, environ):
        from rolesanywhere_auth import credentials

        return credentials.create_session(config)
    call = _Call(config, environ=environ, now=now, sleep=sleep)
    if config.cache is None:
        return call.sign_in()
    from rolesanywhere_auth import schedule
    from rolesanywhere_auth.cache import HostCache, cache_key

    folder = None if config.cache is True else Path(config.cache).expanduser()  # type: ignore[arg-type]
    return HostCache(folder, environ=environ).fetch(
        cache_key(config, call.identity, endpoint=call.endpoint),
        config=config,
        sign_in=call.sign_in,
        clock=call.clock,
        acceptable=lambda found: call.lifetime(found) > schedule.advisory_window(0),
        timeout=config.patience,
    )


class _Call:
    """What one call has read, and how it signs in."""

    def __init__(
        self,
        config: RolesAnywhereConfig,
        *,
        environ: Mapping[str, str],
        now: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        self.clock = Clock(now)
        self.identity = Identity.load(
            config.certificate,
            private_key=config.private_key,
            certificate_chain=config.certificate_chain,
            passphrase=config.passphrase,
            now=self.clock.utcnow(),
        )
        self._plain = _Plain(environ)
        self.endpoint = resolve_endpoint(config, self._plain)  # type: ignore[arg-type] # all it needs
        self._config = config
        self._sleep = sleep

    def lifetime(self, found: SessionCredentials) -> float:
        """Seconds that are left."""
        return (found.expiration - self.clock.utcnow()).total_seconds()

    def sign_in(self) -> SessionCredentials:
        """One CreateSession call, attempts included."""
        verify = verification(self._config, self._plain)  # type: ignore[arg-type]
        request = exchange.build_request(
            self._config, endpoint=self.endpoint, user_agent=USER_AGENT
        )
        conversation = exchange.create_session(
            self._config,
            request=request,
            identity=self.identity,
            clock=self.clock,
            random=_draw,
        )
        line = Line(self._config, endpoint=self.endpoint, verify=verify)
        logger.debug(
            "signing in at %s by certificate %x", self.endpoint, self.identity.serial_number
        )
        found = exchange.run(conversation, send=line.send, sleep=self._sleep)
        logger.info("signed in to %s until %s", found.assumed_role_arn, found.expiration)
        return found


def is_simple(config: RolesAnywhereConfig, environ: Mapping[str, str]) -> bool:
    """Whether nothing but what is read here can say how the service is reached."""
    if sys.platform in {"darwin", "win32"}:  # proxies are set elsewhere too
        return False
    if config.proxies or config.use_fips_endpoint or config.use_dualstack_endpoint:
        return False
    if any(environ.get(name) for name in _BOTOCORE_ONLY):
        return False
    proxies = (value for name, value in environ.items() if name.lower().endswith("_proxy"))
    if config.proxies is None and any(proxies):
        return False
    try:
        text = b"".join(map(_content, _files(environ))).lower()
    except (OSError, RuntimeError):
        return False
    profile = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or ""
    known = profile.lower().encode("utf-8", "surrogateescape") in text  # an empty one too
    return known and not any(word in text for word in _SETTINGS)


def _files(environ: Mapping[str, str]) -> tuple[str, str]:
    return (
        environ.get("AWS_CONFIG_FILE") or "~/.aws/config",
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
    )


def _content(path: str) -> bytes:
    try:
        return Path(os.path.expandvars(path)).expanduser().read_bytes()
    except FileNotFoundError:
        return b""


class _Plain:
    """Settings where none are made, but for those of the environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get_config_variable(self, logical_name: str) -> Any:
        return self._environ.get("AWS_CA_BUNDLE") if logical_name == "ca_bundle" else None

    def get_scoped_config(self) -> dict[str, Any]:
        return {}

    def get_component(self, name: str) -> _Plain:
        del name  # the data_loader; nothing else is asked for
        return self

    def load_data(self, name: str) -> Any:
        """A file of botocore's, which have been plain JSON since it has them."""
        return json.loads((_folder("botocore") / "data" / f"{name}.json").read_bytes())


def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ConfigurationError(f"{package} is not installed")
    return Path(found.origin).parent


def _draw() -> float:
    """For the jitter; importing `random` takes longer than the pause is."""
    return os.urandom(1)[0] / 256


class Line:
    """Sends requests to one endpoint, each over a connection of its own.

    Args:
        config: Time-outs.
        endpoint: Its URL.
        verify: Of `endpoints.verification`.
    """

    def __init__(self, config: RolesAnywhereConfig, *, endpoint: str, verify: bool | str) -> None:
        self._config = config
        self._endpoint = endpoint
        self._tls = _context(verify=verify) if endpoint.startswith("https:") else None

    def send(self, request: HTTPRequest) -> HTTPResponse:
        """Send *request* and read the whole answer.

        Raises:
            TransportError: no answer came.
        """
        connection = self._connection()
        parts = urlsplit(request.url)
        try:
            connection.connect()
            connection.sock.settimeout(self._seconds("read_timeout"))
            connection.request(request.method, parts.path, request.body, dict(request.headers))
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return HTTPResponse(answer.status, headers, answer.read())
        except (OSError, HTTPException, UnicodeError) as error:  # no name for DNS: UnicodeError
            distrust = isinstance(error, ssl.SSLCertVerificationError)
            raise no_answer(self._endpoint, _worded(error), distrust=distrust) from None
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        parts = urlsplit(self._endpoint)
        timeout = self._seconds("connect_timeout")
        host = str(parts.hostname)
        if self._tls is None:
            return HTTPConnection(host, parts.port, timeout=timeout)
        return HTTPSConnection(host, parts.port, timeout=timeout, context=self._tls)

    def _seconds(self, name: str) -> float:
        return float(getattr(self._config, name))


def _worded(error: Exception) -> Exception:
    """*error*, or its type where it says nothing."""
    return error if str(error) else type(error)(type(error).__name__)


def _context(*, verify: bool | str) -> ssl.SSLContext:
    """TLS as botocore does it: from 1.2 on, its CA bundle unless another is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    bundle = verify if isinstance(verify, str) else _default_bundle()
    try:
        context.load_verify_locations(bundle)
    except OSError as error:
        raise ConfigurationError(
            f"the CA bundle {bundle} cannot be used: {error.strerror or error}; it must be a "
            "file with the certificates of CAs in PEM. See AWS_CA_BUNDLE and REQUESTS_CA_BUNDLE"
        ) from error
    return context


def _default_bundle() -> str:
    """certifi's where it is installed, else botocore's own, as botocore chooses."""
    with suppress(ImportError):
        import certifi

        return certifi.where()
    return str(_folder("botocore") / "cacert.pem")
