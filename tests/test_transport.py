"""Endpoints as botocore finds them, and one request over real sockets."""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError

from rolesanywhere_auth import transport
from rolesanywhere_auth.config import RolesAnywhereConfig
from rolesanywhere_auth.errors import ConfigurationError, EndpointError, TransportError
from rolesanywhere_auth.exchange import HTTPResponse, Wait
from rolesanywhere_auth.signing import HTTPRequest
from rolesanywhere_auth.testing import CertificateAuthority

ANCHOR = "arn:{}:rolesanywhere:{}:111122223333:trust-anchor/11111111-1111-1111-1111-111111111111"
PROFILE = "arn:{}:rolesanywhere:{}:111122223333:profile/11111111-1111-1111-1111-111111111111"


def config(region: str = "eu-west-1", partition: str = "aws", **settings: Any) -> Any:
    """A configuration in *region*; no file of it is read here."""
    return RolesAnywhereConfig(
        trust_anchor_arn=ANCHOR.format(partition, region),
        profile_arn=PROFILE.format(partition, region),
        role_arn=f"arn:{partition}:iam::111122223333:role/app",
        certificate="app.pem",
        **settings,
    )


@pytest.fixture
def session() -> botocore.session.Session:
    """A botocore session with no settings."""
    return botocore.session.Session()


@pytest.fixture
def config_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Writes an AWS config file that the next session reads."""

    def write(text: str) -> None:
        path = tmp_path / "aws-config"
        path.write_text(text)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))

    return write


def clients_endpoint(region: str, **settings: Any) -> str:
    """What an unmodified botocore client of the service would call."""
    client = botocore.session.Session().create_client(
        "rolesanywhere",
        region_name=region,
        config=Config(signature_version=UNSIGNED, **settings),
    )
    return str(client.meta.endpoint_url)


def rules_endpoint(region: str, *, fips: bool = False, dualstack: bool = False) -> str:
    """What botocore's endpoint rules, evaluated by botocore, say for its requests.

    ``client.meta.endpoint_url`` is still made of the older endpoints.json, which
    knows no dual-stack names in the isolated partitions.
    """
    loader = botocore.session.Session().get_component("data_loader")
    rules = loader.load_service_model("rolesanywhere", "endpoint-rule-set-1")
    provider = EndpointProvider(rules, loader.load_data("partitions"))
    found = provider.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dualstack)
    return str(found.url)


REGIONS = [
    ("aws", "us-east-1"),
    ("aws", "eu-west-1"),
    ("aws", "ap-southeast-7"),
    ("aws", "xx-nowhere-9"),
    ("aws-cn", "cn-north-1"),
    ("aws-us-gov", "us-gov-west-1"),
    ("aws-iso", "us-iso-east-1"),
    ("aws-iso-e", "eu-isoe-west-1"),
    ("aws-eusc", "eusc-de-east-1"),
]


@pytest.mark.parametrize(("partition", "region"), REGIONS)
@pytest.mark.parametrize("dualstack", [False, True])
def test_endpoint_equals_botocores(
    partition: str, region: str, dualstack: bool, session: botocore.session.Session
) -> None:
    """In every partition, plain and dual-stack, the endpoint is the one of botocore's rules."""
    settings = config(region, partition, use_dualstack_endpoint=dualstack)
    try:
        expected = rules_endpoint(region, dualstack=dualstack)
    except EndpointProviderError:  # an older botocore knows no dual-stack in this partition
        with pytest.raises(EndpointError, match="no dual-stack endpoints"):
            transport.resolve_endpoint(settings, session)
        return

    ours = transport.resolve_endpoint(settings, session)

    assert ours == expected
    if not dualstack:
        assert ours == clients_endpoint(region)


def test_no_dualstack_name_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, session: botocore.session.Session
) -> None:
    """A partition without dual-stack, by botocore's own data, has no such endpoint."""
    loader = session.get_component("data_loader")
    data = json.loads(json.dumps(loader.load_data("partitions")))
    data["partitions"][0]["outputs"]["supportsDualStack"] = False
    monkeypatch.setattr(loader, "load_data", lambda _: data)

    with pytest.raises(EndpointError, match="no dual-stack endpoints in the partition aws"):
        transport.resolve_endpoint(config(use_dualstack_endpoint=True), session)


@pytest.mark.parametrize("region", ["us-east-1", "us-west-2", "us-gov-east-1"])
@pytest.mark.parametrize("dualstack", [False, True])
def test_fips_endpoint_equals_a_clients(
    region: str, dualstack: bool, session: botocore.session.Session
) -> None:
    """Where a FIPS endpoint exists, its name is the one a botocore client has."""
    ours = transport.resolve_endpoint(
        config(region, use_fips_endpoint=True, use_dualstack_endpoint=dualstack), session
    )

    assert ours == rules_endpoint(region, fips=True, dualstack=dualstack)
    assert ours == clients_endpoint(
        region, use_fips_endpoint=True, use_dualstack_endpoint=dualstack
    )
    assert "rolesanywhere-fips." in ours


def test_no_fips_name_where_there_is_none(session: botocore.session.Session) -> None:
    """botocore makes up a FIPS name for any Region; we name the Regions that have one."""
    with pytest.raises(EndpointError, match=r"no FIPS endpoint in eu-west-1.*us-east-1"):
        transport.resolve_endpoint(config(use_fips_endpoint=True), session)


def test_settings_of_the_environment_count(
    monkeypatch: pytest.MonkeyPatch, session: botocore.session.Session
) -> None:
    """AWS_USE_FIPS_ENDPOINT and its like count, unless the configuration says otherwise."""
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")

    assert "-fips." in transport.resolve_endpoint(config("us-east-1"), session)
    ours = transport.resolve_endpoint(config("us-east-1", use_fips_endpoint=False), session)
    assert "-fips." not in ours


SERVICES = """
[default]
services = mine
endpoint_url = http://127.0.0.1:4
[services mine]
rolesanywhere =
  endpoint_url = http://127.0.0.1:3
"""


@pytest.mark.parametrize(
    ("environment", "text", "expected"),
    [
        ({}, SERVICES, "http://127.0.0.1:3"),
        ({}, SERVICES.replace("rolesanywhere =", "s3 ="), "http://127.0.0.1:4"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:2/"}, SERVICES, "http://127.0.0.1:2"),
        (
            {
                "AWS_ENDPOINT_URL": "http://127.0.0.1:2",
                "AWS_ENDPOINT_URL_ROLESANYWHERE": "http://127.0.0.1:1/prefix",
            },
            SERVICES,
            "http://127.0.0.1:1/prefix",
        ),
        (
            {
                "AWS_ENDPOINT_URL": "http://127.0.0.1:2",
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
            },
            "",
            "https://rolesanywhere.eu-west-1.amazonaws.com",
        ),
        (
            {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            SERVICES,
            "https://rolesanywhere.eu-west-1.amazonaws.com",
        ),
    ],
)
def test_configured_endpoints(
    environment: dict[str, str],
    text: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    config_file: Callable[[str], None],
) -> None:
    """Environment before profile, the service's own before the general, as a client has it."""
    config_file(text)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    ours = transport.resolve_endpoint(config(), botocore.session.Session())

    assert ours == expected
    assert ours.rstrip("/") == clients_endpoint("eu-west-1").rstrip("/")


def test_explicit_endpoint_beats_the_environment(
    monkeypatch: pytest.MonkeyPatch, session: botocore.session.Session
) -> None:
    """endpoint_url of the configuration comes first."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", "http://127.0.0.1:1")

    ours = transport.resolve_endpoint(config(endpoint_url="http://127.0.0.1:9/"), session)

    assert ours == "http://127.0.0.1:9"


def test_missing_services_section_is_named(config_file: Callable[[str], None]) -> None:
    """A profile that names a services section which is not there is an error, as in botocore."""
    config_file("[default]\nservices = gone\n")

    with pytest.raises(ConfigurationError, match=r"\[services gone\]"):
        transport.resolve_endpoint(config(), botocore.session.Session())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("services = dev\n[services dev]\nrolesanywhere = https://h\n", r"\[services dev\].*below"),
        ("services =\n  rolesanywhere = https://h\n", r"no \[services .*rolesanywhere"),
        ("endpoint_url =\n  rolesanywhere = https://h\n", "must be a str"),
    ],
)
def test_misplaced_endpoint_is_named(
    text: str, says: str, config_file: Callable[[str], None]
) -> None:
    """A URL on the wrong level of the AWS config file is told, with where it belongs."""
    config_file(f"[default]\n{text}")

    with pytest.raises(ConfigurationError, match=says):
        transport.resolve_endpoint(config(), botocore.session.Session())


def test_empty_services_section_says_nothing(config_file: Callable[[str], None]) -> None:
    """A service without settings leaves the rule of the Region's partition."""
    config_file("[default]\nservices = dev\n[services dev]\nrolesanywhere =\nother = 1\n")

    ours = transport.resolve_endpoint(config(), botocore.session.Session())

    assert ours == "https://rolesanywhere.eu-west-1.amazonaws.com"


def test_missing_profile_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_PROFILE naming no profile is our error, with botocore's as its cause."""
    monkeypatch.setenv("AWS_PROFILE", "gone")

    with pytest.raises(ConfigurationError, match=r"\(gone\).*AWS_PROFILE"):
        transport.resolve_endpoint(config(), botocore.session.Session())


@pytest.mark.parametrize("setting", ["use_fips_endpoint", "use_dualstack_endpoint"])
def test_endpoint_url_excludes_fips_and_dualstack(
    setting: str, session: botocore.session.Session
) -> None:
    """A URL together with FIPS or dual-stack is an error, as in botocore's rules."""
    with pytest.raises(EndpointError, match="exclude each other"):
        transport.resolve_endpoint(
            config("us-east-1", endpoint_url="http://127.0.0.1:1", **{setting: True}), session
        )


@pytest.mark.parametrize(
    "url", ["127.0.0.1:4566", "ftp://127.0.0.1", "https://", "https://[", "https://u:pass@host"]
)
def test_malformed_endpoint_of_the_environment(
    url: str, monkeypatch: pytest.MonkeyPatch, session: botocore.session.Session
) -> None:
    """A URL without scheme or host is refused before any request."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)

    with pytest.raises(EndpointError, match="AWS_ENDPOINT_URL") as caught:
        transport.resolve_endpoint(config(), session)
    assert "pass@" not in str(caught.value)


def test_clear_text_beyond_loopback_warns(
    caplog: pytest.LogCaptureFixture, session: botocore.session.Session
) -> None:
    """http:// to another machine is possible and warned of; to loopback it is not."""
    transport.resolve_endpoint(config(endpoint_url="http://127.0.0.1:1"), session)
    assert not caplog.records

    transport.resolve_endpoint(config(endpoint_url="http://proxy.example"), session)
    assert "clear text" in caplog.text


class Recorder(BaseHTTPRequestHandler):
    """Answers every POST with what it got."""

    def do_POST(self) -> None:
        """Echo the request as JSON."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        nodelay = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        answer = json.dumps(
            {"path": self.path, "headers": dict(self.headers), "body": body.decode(), "n": nodelay}
        ).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Amzn-RequestId", "r-1")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A plain HTTP server on loopback."""
    yield from serve(HTTPServer(("127.0.0.1", 0), Recorder))


def serve(made: HTTPServer) -> Iterator[HTTPServer]:
    """Run *made* in a thread until the generator goes on."""
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[HTTPServer, Path]]:
    """An HTTPS server whose certificate a CA of its own signed, and that CA's file."""
    authority = CertificateAuthority("TLS Root")
    leaf = authority.issue("127.0.0.1", dns_names=("localhost",), client_auth=False)
    files = leaf.write_to(tmp_path)
    bundle = tmp_path / "ca.pem"
    bundle.write_text(authority.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.private_key)
    made = HTTPServer(("127.0.0.1", 0), Recorder)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    for running in serve(made):
        yield running, bundle


def url_of(made: HTTPServer, scheme: str = "http", host: str = "127.0.0.1") -> str:
    """The URL of a server here."""
    return f"{scheme}://{host}:{made.server_address[1]}"


def exchange_once(settings: Any, session: botocore.session.Session) -> HTTPResponse:
    """Send one request with *settings*."""
    line = transport.Transport(settings, session, endpoint=settings.endpoint_url)
    request = HTTPRequest(
        "POST",
        f"{settings.endpoint_url}/sessions?profileArn=a%3Ab",
        {"Content-Type": "application/json", "Host": "signed.example", "User-Agent": "ours"},
        b"{}",
    )
    try:
        return line.send(request)
    finally:
        line.close()


def test_request_arrives_as_signed(server: HTTPServer, session: botocore.session.Session) -> None:
    """Path, query, Host, User-Agent and body arrive as given; header names come back lower."""
    answer = exchange_once(config(endpoint_url=url_of(server)), session)

    seen = json.loads(answer.body)
    assert answer.status == 201
    assert answer.headers["x-amzn-requestid"] == "r-1"
    assert seen["path"] == "/sessions?profileArn=a%3Ab"
    assert seen["headers"]["Host"] == "signed.example"
    assert seen["headers"]["User-Agent"] == "ours"
    assert seen["body"] == "{}"


def test_the_user_agent_names_the_library() -> None:
    """The service and its logs can tell who called."""
    assert transport.USER_AGENT.startswith("rolesanywhere-auth/")
    assert "botocore/" in transport.USER_AGENT


def test_nodelay_is_set(
    server: HTTPServer, session: botocore.session.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TCP_NODELAY is on, so that no request waits for a delayed ACK."""
    options: list[tuple[int, int, int]] = []
    real = socket.socket.setsockopt

    class Watched(socket.socket):
        def setsockopt(self, *args: Any) -> None:
            options.append(args)
            real(self, *args)

    monkeypatch.setattr(socket, "socket", Watched)
    exchange_once(config(endpoint_url=url_of(server)), session)

    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options


@pytest.mark.parametrize("source", ["verify", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "profile"])
def test_ca_bundle_from_every_place(
    source: str,
    tls_server: tuple[HTTPServer, Path],
    monkeypatch: pytest.MonkeyPatch,
    config_file: Callable[[str], None],
) -> None:
    """The CA bundle is taken from where botocore takes it, and from the configuration."""
    server, bundle = tls_server
    settings = config(
        endpoint_url=url_of(server, "https", "localhost"),
        verify=bundle if source == "verify" else None,
    )
    if source == "profile":
        config_file(f"[default]\nca_bundle = {bundle}\n")
    elif source != "verify":
        monkeypatch.setenv(source, str(bundle))

    assert exchange_once(settings, botocore.session.Session()).status == 201


def send_by(sessions: transport.HTTPSessions, settings: Any) -> HTTPResponse:
    """One request of one sign-in."""
    line = transport.Transport(
        settings,
        botocore.session.Session(),
        endpoint=settings.endpoint_url,
        sessions=sessions,
    )
    try:
        return line.send(HTTPRequest("POST", f"{settings.endpoint_url}/sessions", {}, b"{}"))
    finally:
        line.close()


def test_http_sessions_are_kept(tls_server: tuple[HTTPServer, Path]) -> None:
    """Each sign-in makes its own connection, of one `URLLib3Session`."""
    settings = config(
        endpoint_url=url_of(tls_server[0], "https", "localhost"), verify=tls_server[1]
    )
    sessions = transport.HTTPSessions()
    found = [sessions.get(settings, botocore.session.Session(), settings.endpoint_url)]
    for _ in range(3):
        assert send_by(sessions, settings).status == 201
        found.append(sessions.get(settings, botocore.session.Session(), settings.endpoint_url))
    assert len(set(found)) == 1


def test_a_changed_bundle_counts_at_the_next_sign_in(
    tls_server: tuple[HTTPServer, Path], tmp_path: Path
) -> None:
    """A CA that is no longer in the bundle is not trusted from then on, and the reverse."""
    bundle = tmp_path / "bundle.pem"
    settings = config(endpoint_url=url_of(tls_server[0], "https", "localhost"), verify=bundle)
    right = tls_server[1].read_bytes()
    wrong = CertificateAuthority("Other").certificate_pem.encode()
    sessions = transport.HTTPSessions()
    for content, trusted in ((right, True), (wrong, False), (right, True)):
        bundle.with_suffix(".new").write_bytes(content)
        bundle.with_suffix(".new").replace(bundle)
        if trusted:
            assert send_by(sessions, settings).status == 201
        else:
            with pytest.raises(TransportError, match="AWS_CA_BUNDLE"):
                send_by(sessions, settings)


def test_other_proxies_or_process_get_another_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made for other proxies, or before a fork, is not used."""
    settings, session = config(), botocore.session.Session()
    sessions = transport.HTTPSessions()
    made = [sessions.get(settings, session, "https://example.com")]
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    made.append(sessions.get(settings, session, "https://example.com"))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    made.append(sessions.get(settings, session, "https://example.com"))
    assert len(set(made)) == 3


@pytest.mark.parametrize("verify", [None, "", True])
def test_verification_is_never_off_by_accident(
    verify: Any, tls_server: tuple[HTTPServer, Path], session: botocore.session.Session
) -> None:
    """None, an empty string and True all verify: an unknown CA is refused, for good."""
    settings = config(endpoint_url=url_of(tls_server[0], "https", "localhost"), verify=verify)

    with pytest.raises(TransportError, match="AWS_CA_BUNDLE") as caught:
        exchange_once(settings, session)
    assert not caught.value.retryable
    assert caught.value.endpoint == settings.endpoint_url


def test_true_ignores_a_bundle_of_the_environment(
    tls_server: tuple[HTTPServer, Path],
    monkeypatch: pytest.MonkeyPatch,
    session: botocore.session.Session,
) -> None:
    """An explicit True means the default bundle, whatever the environment says."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls_server[1]))
    settings = config(endpoint_url=url_of(tls_server[0], "https", "localhost"), verify=True)

    with pytest.raises(TransportError):
        exchange_once(settings, session)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_only_false_turns_verification_off(
    tls_server: tuple[HTTPServer, Path],
    session: botocore.session.Session,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An explicit False goes through, with a warning."""
    settings = config(endpoint_url=url_of(tls_server[0], "https"), verify=False)

    assert exchange_once(settings, session).status == 201
    assert "not verified" in caplog.text


def test_missing_ca_bundle_is_named(session: botocore.session.Session) -> None:
    """A bundle that is not there is an error before any request."""
    with pytest.raises(ConfigurationError, match=r"/no/such/ca\.pem"):
        exchange_once(config(endpoint_url="https://127.0.0.1:1", verify="/no/such/ca.pem"), session)


@pytest.mark.parametrize("source", ["environment", "configuration"])
def test_proxy_is_used(
    source: str,
    server: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    session: botocore.session.Session,
) -> None:
    """A proxy of the environment or of the configuration gets the request, in absolute form."""
    proxies = None
    if source == "environment":
        monkeypatch.setenv("HTTP_PROXY", url_of(server))
    else:
        proxies = {"http": url_of(server)}
    settings = config(endpoint_url="http://service.example", proxies=proxies)

    seen = json.loads(exchange_once(settings, session).body)

    assert seen["path"].startswith("http://service.example/sessions?")


def test_no_proxy_is_honoured(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch, session: botocore.session.Session
) -> None:
    """NO_PROXY and an empty proxies setting both go straight to the endpoint."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    direct = config(endpoint_url=url_of(server), proxies={})
    assert exchange_once(direct, session).status == 201

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert exchange_once(config(endpoint_url=url_of(server)), session).status == 201


def closed_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_refused_connection_can_be_retried(session: botocore.session.Session) -> None:
    """Nobody there: a retryable error that names the endpoint and no ARN."""
    settings = config(endpoint_url=f"http://127.0.0.1:{closed_port()}")

    with pytest.raises(TransportError, match="check the network") as caught:
        exchange_once(settings, session)
    assert caught.value.retryable
    assert "arn:" not in str(caught.value)


@pytest.mark.parametrize(("scheme", "impatient"), [("http", "read"), ("https", "connect")])
def test_silent_server_times_out(
    tls_server: tuple[HTTPServer, Path],
    session: botocore.session.Session,
    scheme: str,
    impatient: str,
) -> None:
    """One that accepts and says nothing costs the read time-out and no more.

    In the handshake it is the one for connecting.
    """
    settings: Any = {"connect_timeout": 20, "read_timeout": 20, "verify": tls_server[1]}
    settings[f"{impatient}_timeout"] = 0.05
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TransportError, match=r"(?i)timed? ?out|timeout") as caught:
            exchange_once(config(endpoint_url=url, **settings), session)
    assert caught.value.retryable
    assert time.monotonic() - began < 10


def test_dropped_connection_can_be_retried(session: botocore.session.Session) -> None:
    """A server that hangs up without an answer is a retryable error."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(65536)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(TransportError) as caught:
            exchange_once(
                config(endpoint_url=f"http://127.0.0.1:{server.getsockname()[1]}"), session
            )
        thread.join()
    assert caught.value.retryable


def test_event_handler_may_answer(session: botocore.session.Session) -> None:
    """A handler of botocore's before-send event may answer, as moto's does."""

    class Raw:
        def stream(self) -> Iterator[bytes]:
            yield b"answered"

    def answer(request: Any, **_: Any) -> AWSResponse:
        return AWSResponse(request.url, 299, {"X-From": "handler"}, Raw())

    session.register("before-send.rolesanywhere.CreateSession", answer)

    found = exchange_once(config(endpoint_url="http://127.0.0.1:1"), session)

    assert (found.status, found.headers["x-from"], found.body) == (299, "handler", b"answered")


def test_nothing_secret_is_logged(
    server: HTTPServer, session: botocore.session.Session, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG no body goes into the log: an answer's holds the credentials."""
    caplog.set_level(logging.DEBUG)

    answer = exchange_once(config(endpoint_url=url_of(server)), session)

    assert answer.body.decode() not in caplog.text
    assert "body" not in repr(answer)


def test_run_drives_an_exchange() -> None:
    """The driver sends, sleeps, hands errors in and returns the result."""
    failure = TransportError("no", endpoint="e")
    seen: list[Any] = []
    request = HTTPRequest("POST", "http://h/", {}, b"")
    answers: list[HTTPResponse | TransportError] = [failure, HTTPResponse(201, {}, b"")]

    def exchange() -> Any:
        seen.append((yield request))
        seen.append((yield Wait(0.5)))
        seen.append((yield request))
        return "credentials"

    def send(_: HTTPRequest) -> HTTPResponse:
        answer = answers.pop(0)
        if isinstance(answer, TransportError):
            raise answer
        return answer

    slept: list[float] = []
    result: Any = transport.run(exchange(), send=send, sleep=slept.append)

    assert result == "credentials"
    assert seen == [failure, None, HTTPResponse(201, {}, b"")]
    assert slept == [0.5]


def test_socks_proxy_is_refused(session: botocore.session.Session) -> None:
    """botocore has no SOCKS; its own error would show the password."""
    settings = config(
        endpoint_url="https://service.example", proxies={"https": "socks5://u:hunter2@127.0.0.1:1"}
    )

    with pytest.raises(ConfigurationError, match="SOCKS") as caught:
        exchange_once(settings, session)
    assert "hunter2" not in str(caught.value)


def test_proxy_password_is_masked(session: botocore.session.Session) -> None:
    """A proxy that does not answer is an error without its password, in the chain too."""
    proxy = f"http://user:hunter2@127.0.0.1:{closed_port()}"
    settings = config(endpoint_url="http://service.example", proxies={"http": proxy})

    with pytest.raises(TransportError) as caught:
        exchange_once(settings, session)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:hunter2/@127.0.0.1:1",
        "http://user:12/hunter2@127.0.0.1:1",
        "user:12/hunter2@127.0.0.1:1",
        "//user:12?hunter2@127.0.0.1:1",
        "https://user:12#hunter2@127.0.0.1:1",
        "http://user:[hunter2@127.0.0.1:1",
        "http://:hunter2",
        "http://127.0.0.1:0/hunter2",
        "http://user:hunter2-%C3%A9@127.0.0.1:1",
        "http://user:1\nhunter2@127.0.0.1:1",
        "http://user:1\thunter2@127.0.0.1:1",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("source", ["configuration", "environment"])
def test_malformed_proxy_is_not_shown(
    proxy: str,
    scheme: str,
    source: str,
    session: botocore.session.Session,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A password with a bare slash is refused before any request; neither half is in error or log.

    botocore would take the first half for host and port, and show the second.
    """
    caplog.set_level(logging.DEBUG)
    settings: dict[str, Any] = {}
    if source == "configuration":
        settings["proxies"] = {scheme: proxy}
    else:
        monkeypatch.setenv(f"{scheme}_proxy", proxy)

    with pytest.raises(ConfigurationError, match="%2F for /") as caught:
        exchange_once(config(endpoint_url=f"{scheme}://service.example", **settings), session)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)) + caplog.text


@pytest.mark.parametrize(
    "proxy",
    ["http://u:a%2Fb@h:3128", "u:p@h:3128", "h", "//h:1", "https://[::1]:3128/", "http://u:a@b@h"],
)
def test_wellformed_proxies(proxy: str) -> None:
    """Every form that botocore takes is one."""
    assert transport.is_proxy(proxy)


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_ca_bundle_that_is_no_path_is_not_shown(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PEM in a variable that wants a path is told, and its content in no message."""
    monkeypatch.setenv(variable, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n")

    with pytest.raises(ConfigurationError, match="not shown") as caught:
        exchange_once(config(endpoint_url="https://127.0.0.1:1"), botocore.session.Session())
    assert "c2VjcmV0" not in "".join(traceback.format_exception(caught.value))


def test_nested_ca_bundle_is_named(config_file: Callable[[str], None]) -> None:
    """Settings below ca_bundle are no path."""
    config_file("[default]\nca_bundle =\n  path = /etc/ca.pem\n")

    with pytest.raises(ConfigurationError, match="ca_bundle in the profile"):
        exchange_once(config(endpoint_url="https://127.0.0.1:1"), botocore.session.Session())


@pytest.mark.parametrize("path", ["/" + "x" * 300, "~no-such-user/ca.pem"], ids=["long", "home"])
def test_ca_bundle_that_cannot_be_looked_for(path: str, session: botocore.session.Session) -> None:
    """A path that the system refuses to look at is an error of ours as well."""
    settings = config(endpoint_url="https://127.0.0.1:1", verify=path)

    with pytest.raises(ConfigurationError, match=r"the CA bundle .* cannot be read"):
        exchange_once(settings, session)


def test_ca_bundle_must_be_a_file(session: botocore.session.Session, tmp_path: Path) -> None:
    """A folder is no bundle: a setting to mend, and no fault of the network."""
    with pytest.raises(ConfigurationError, match="is no file"):
        exchange_once(config(endpoint_url="https://127.0.0.1:1", verify=tmp_path), session)


def test_ca_bundle_without_certificates(
    tls_server: tuple[HTTPServer, Path], tmp_path: Path
) -> None:
    """It is a setting to mend as well, not tried again; the file is named."""
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    url = url_of(tls_server[0], "https", "localhost")
    with pytest.raises(ConfigurationError, match=r"junk\.pem cannot be used") as caught:
        exchange_once(config(endpoint_url=url, verify=junk), botocore.session.Session())
    assert not caught.value.retryable


def test_ca_bundle_taken_away_while_it_is_looked_at(
    tls_server: tuple[HTTPServer, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it and the next it is gone: the same error, which names it."""
    bundle = tmp_path / "gone.pem"
    monkeypatch.setattr(transport, "verification", lambda *_: str(bundle))
    url = url_of(tls_server[0], "https", "localhost")

    with pytest.raises(ConfigurationError, match=r"gone\.pem cannot be used: No such file"):
        exchange_once(config(endpoint_url=url, verify=bundle), botocore.session.Session())


def test_broken_aws_config_is_named(config_file: Callable[[str], None]) -> None:
    """A config file that cannot be parsed is our error, with botocore's as its cause."""
    config_file("[profile\nbroken")

    with pytest.raises(ConfigurationError, match="cannot be read"):
        transport.resolve_endpoint(config(), botocore.session.Session())
