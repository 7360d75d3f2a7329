from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import servers
from bench import Bench, examined

from rolesanywhere_auth import RolesAnywhereConfig, create_session
from rolesanywhere_auth.diagnosis import Diagnosis, wire
from rolesanywhere_auth.diagnosis.network import STEPS


def walked(config: RolesAnywhereConfig, **options: Any) -> Diagnosis:
    """The way to the service, examined."""
    return examined(config, STEPS, **options)


def test_http_beyond_this_machine_is_warned_of(bench: Bench) -> None:
    """Credentials would travel in clear text; the way is examined all the same."""
    found = walked(bench.config(endpoint_url="http://rolesanywhere.invalid"))

    assert found["endpoint"].status == "warn"
    assert found["dns"].status == "fail"
    assert found["tls"].evidence == "needs dns, which failed"


@pytest.mark.parametrize(
    ("variable", "origin"),
    [
        ("HTTPS_PROXY", "HTTPS_PROXY"),
        ("https_proxy", "https_proxy"),
        ("Https_Proxy", "the system's setting"),
    ],
)
def test_way_through_a_proxy(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, variable: str, origin: str
) -> None:
    """Proxy and TLS are examined, names and connections are the proxy's; no password is shown."""
    config = bench.config(
        endpoint_url=bench.emulator.https_endpoint_url,
        verify=bench.emulator.ca_bundle,
        proxies=None,
    )
    with servers.listening(servers.proxy) as port:
        monkeypatch.setenv(variable, f"http://user:proxy-password@127.0.0.1:{port}")
        found = walked(config)

    assert found.ok, found
    assert f"by way of http://********@127.0.0.1:{port} ({origin})" in found["proxy"].evidence
    assert found["dns"].evidence == "the proxy looks the name up"
    assert found["tcp"].evidence == "the proxy connects"
    assert found["tls"].status == found["clock"].status == "pass"
    assert "proxy-password" not in str(found.as_dict())


def test_http_through_a_proxy(bench: Bench) -> None:
    """Without TLS there is no CONNECT: the proxy gets the request itself."""
    handler = servers.answering("404 Not Found", "x-amzn-RequestId: 1")
    with servers.listening(handler) as port:
        found = walked(bench.config(proxies={"http": f"127.0.0.1:{port}"}))

    assert f"by way of http://127.0.0.1:{port} (proxies of the conf" in found["proxy"].evidence
    assert found["service"].status == "pass"
    assert found["clock"].evidence == "the answer has no date of the service"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_knows_no_connect(bench: Bench, scheme: str) -> None:
    """Something that is no proxy at all is told from one that refuses."""
    with servers.listening(servers.head_of) as port:
        config = bench.config(
            endpoint_url=bench.emulator.https_endpoint_url,
            proxies={"https": f"{scheme}://127.0.0.1:{port}"},
            connect_timeout=1,  # It waits for the end of TLS's greeting, and we for its answer.
        )
        found = walked(config)["proxy"]

    assert found.status == "fail"
    assert "does not connect to 127.0.0.1:" in found.evidence


def test_proxy_that_is_spoken_to_by_tls(bench: Bench) -> None:
    """The way is examined through it, and the library signs in through it."""
    certificate, key, authority = bench.foreign_tls(dns_names=("localhost",))
    bundle = "".join(Path(each).read_text() for each in (bench.emulator.ca_bundle, authority))
    handler = servers.by_tls(servers.proxy, certificate, key)
    with servers.listening(handler) as port:
        config = bench.config(
            endpoint_url=bench.emulator.https_endpoint_url,
            verify=bench.write("both.pem", bundle),
            proxies={"https": f"https://user:proxy-password@localhost:{port}"},
        )
        found = walked(config)
        assert create_session(config).expiration

    assert found.ok, found
    assert "which connects to 127.0.0.1:" in found["proxy"].evidence
    assert found["tls"].evidence.startswith("TLSv1.")


def test_login_of_a_proxy_by_tls_is_for_its_eyes_alone(bench: Bench) -> None:
    """Whatever stands there instead of the proxy sees no user and no password."""
    certificate, key, _ = bench.foreign_tls(dns_names=("localhost",))
    seen: list[bytes] = []

    def plain(connection: socket.socket) -> None:
        seen.append(connection.recv(4096))

    handlers = (servers.hang_up, plain), (servers.by_tls(plain, certificate, key),)
    for each in handlers:
        with servers.listening(*each) as port:
            config = bench.config(
                endpoint_url=bench.emulator.https_endpoint_url,
                verify=bench.emulator.ca_bundle,
                proxies={"https": f"https://user:proxy-password@localhost:{port}"},
            )
            found = walked(config)["proxy"]
        assert found.status == "fail"
    assert "no TLS with the proxy https://********@localhost:" in found.evidence
    assert seen  # the first half of a handshake
    assert b"Authorization" not in b"".join(seen)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:proxy/password@127.0.0.1:1",
        "http://user:proxy#password@127.0.0.1:1",
        "http://user:12/password@127.0.0.1:1",
        "http://user:proxy-password-\u00e9@127.0.0.1:1",
        "http://127.0.0.1:99999",
        "http://[::1",
    ],
)
def test_malformed_url_of_a_proxy(bench: Bench, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """It is a failure, and no traceback with a half of the password."""
    monkeypatch.setenv("HTTPS_PROXY", url)
    config = bench.config(endpoint_url=bench.emulator.https_endpoint_url, proxies=None)

    found = walked(config)["proxy"]

    assert found.status == "fail"
    assert found.evidence == "the proxy's URL (HTTPS_PROXY) cannot be read"
    assert "%2F for /" in found.fix


def test_empty_url_of_a_proxy(bench: Bench) -> None:
    """It is no proxy, as for a sign-in."""
    config = bench.config(
        endpoint_url=bench.emulator.https_endpoint_url,
        verify=bench.emulator.ca_bundle,
        proxies={"https": ""},
    )

    found = walked(config)["proxy"]

    assert found.evidence == "none is set for this endpoint"


def test_refusal_of_a_proxy_is_one_line(bench: Bench) -> None:
    """Its words cannot steer a terminal."""
    handlers = (servers.hang_up, servers.answering("403 \x1b[32mpass"))
    with servers.listening(*handlers) as port:
        config = bench.config(
            endpoint_url=bench.emulator.https_endpoint_url,
            proxies={"https": f"http://127.0.0.1:{port}"},
        )
        found = walked(config)["proxy"]

    assert found.evidence.endswith("HTTP 403  [32mpass")


def test_proxy_that_changes_its_mind(bench: Bench) -> None:
    """A tunnel that is refused at the second time is said of the handshake."""
    # The doctor connects first to see whether anybody is there, then by CONNECT.
    handlers = (servers.proxy, servers.proxy, servers.answering("503 Busy"))
    with servers.listening(*handlers) as port:
        config = bench.config(
            endpoint_url=bench.emulator.https_endpoint_url,
            verify=bench.emulator.ca_bundle,
            proxies={"https": f"http://127.0.0.1:{port}"},
        )
        found = walked(config)["tls"]

    assert found.status == "fail"
    assert found.evidence.endswith("did not end: HTTP 503 Busy")


def test_port_that_does_not_answer(bench: Bench) -> None:
    """A connection that is neither refused nor accepted looks like a firewall."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # fill its queue: the system then leaves others unanswered
            other = stack.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(listener.getsockname())
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        found = walked(bench.config(endpoint_url=url, connect_timeout=0.3))["tcp"]

    assert found.status == "fail"
    assert found.evidence.endswith("no answer in time")
    assert "firewall" in found.fix


@pytest.mark.parametrize(
    ("variable", "origin"),
    [
        ("AWS_CA_BUNDLE", "AWS_CA_BUNDLE"),
        ("REQUESTS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
        ("profile", "ca_bundle of the profile"),
        (None, "the default"),
    ],
)
def test_origin_of_the_ca_bundle(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, variable: str | None, origin: str
) -> None:
    """The line names the bundle that counts and who chose it."""
    bundle = bench.emulator.ca_bundle
    if variable == "profile":
        file = bench.write("aws-config", f"[default]\nca_bundle = {bundle}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", file)
    elif variable is not None:
        monkeypatch.setenv(variable, bundle)

    found = walked(bench.config(endpoint_url=bench.emulator.https_endpoint_url))["tls"]

    assert f"({origin})" in found.evidence
    assert (found.status == "pass") == (variable is not None)
    assert (bundle in found.evidence) == (variable is not None)


def test_verification_by_the_default_when_asked_for(bench: Bench) -> None:
    """verify=True leaves the environment's bundle aside."""
    config = bench.config(endpoint_url=bench.emulator.https_endpoint_url, verify=True)

    found = walked(config)["tls"]

    assert found.status == "fail"
    assert "(the default)" in found.evidence


def test_certificate_for_another_purpose(bench: Bench) -> None:
    """What OpenSSL finds wrong, and is none of the usual causes, is told in its words."""
    authority = bench.set_up().authority
    leaf = authority.issue("server", dns_names=("localhost",))  # for clients only
    handler = servers.tls(
        bench.write("a.pem", leaf.certificate_pem), bench.write("a.key", leaf.private_key_pem)
    )
    with servers.listening(handler) as port:
        config = bench.config(
            endpoint_url=f"https://localhost:{port}",
            verify=bench.write("ca.pem", authority.certificate_pem),
        )
        found = walked(config)["tls"]

    assert found.status == "fail"
    assert "is not believed: uns" in found.evidence


def test_server_that_shows_its_certificate_once(bench: Bench) -> None:
    """Whose it is cannot be said then; that it was not believed can."""
    certificate, key, _ = bench.foreign_tls(dns_names=("localhost",))
    # It looks at the port, shakes hands, and looks at the certificate that it did not believe.
    handlers = (servers.head_of, servers.tls(certificate, key), servers.hang_up)
    with servers.listening(*handlers) as port:
        config = bench.config(
            endpoint_url=f"https://localhost:{port}", verify=bench.emulator.ca_bundle
        )
        found = walked(config)["tls"]

    assert "was issued by an unknown CA, which is not among" in found.evidence


def test_page_of_an_error_is_a_warning(bench: Bench) -> None:
    """A refusal that is not known to be the service's may still be that of something before it."""
    handler = servers.answering("403 Forbidden", "Content-Type: text/html", body=b"<p>Blocked</p>")
    with servers.listening(handler) as port:
        found = walked(bench.config(endpoint_url=f"http://127.0.0.1:{port}"))["service"]

    assert found.status == "warn"
    assert "nothing shows that this is the service: HTTP 403 (text/html)" in found.evidence


def test_all_is_well_over_tls(bench: Bench) -> None:
    """Each step passes, and says with what."""
    config = bench.config(
        endpoint_url=bench.emulator.https_endpoint_url, verify=bench.emulator.ca_bundle
    )
    found = walked(config)

    assert [check.status for check in found.checks] == ["pass"] * 9
    assert found["tls"].evidence.startswith("TLSv1.")
    assert found["service"].facts["status"] == 404
    assert abs(float(found["clock"].facts["seconds_ahead"] or 0)) < 60


def test_places() -> None:
    """Hosts, ports and their defaults; an IPv6 address in brackets."""
    assert wire.place_of("https://a.example/x") == wire.Place("a.example", 443)
    assert wire.place_of("http://[::1]") == wire.Place("::1", 80)
    assert str(wire.Place("::1", 80)) == "[::1]:80"
    assert str(wire.Place("a.example", 443)) == "a.example:443"


def test_name_that_cannot_be_one() -> None:
    """A label of 70 letters has no address, and is no traceback."""
    with pytest.raises(OSError, match="not a host name"):
        wire.addresses(f"{'a' * 70}.example", 443)


def test_context_is_as_strict_as_the_librarys() -> None:
    """What is verified here is what the library verifies."""
    from rolesanywhere_auth.diagnosis.network import _context
    from rolesanywhere_auth.tls import GuardedSession

    ours, theirs = _context(ssl.get_default_verify_paths().cafile or ""), GuardedSession()
    context = theirs._get_ssl_context()

    assert ours.verify_flags == context.verify_flags
    assert ours.minimum_version == context.minimum_version
