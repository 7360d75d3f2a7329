from __future__ import annotations

import http.client
import json
import socket
import ssl
from urllib.parse import urlsplit

import pytest

from rolesanywhere_auth.testing import Emulator
from rolesanywhere_auth.testing._listening import Listening


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def has_ipv6() -> bool:
    """Whether there is an IPv6 loopback."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_given_ports_are_used():
    """The ports are those that were asked for, of the service and of moto."""
    port, tls_port, aws_port = free_port(), free_port(), free_port()

    with Emulator(port=port, tls_port=tls_port, aws_port=aws_port, aws=True) as emulator:
        assert emulator.endpoint_url == f"http://127.0.0.1:{port}"
        assert emulator.https_endpoint_url == f"https://127.0.0.1:{tls_port}"
        assert emulator.aws_endpoint_url == f"http://127.0.0.1:{aws_port}"
        assert emulator.has_tls
        assert emulator.has_aws
        assert emulator.client("sts").get_caller_identity()["Account"] == "111122223333"


def test_taken_port_names_itself_and_leaves_nothing_open():
    """The error says which port; what was opened before is closed again."""
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]

        with pytest.raises(OSError, match=f"port {number} of 127.0.0.1"):
            Emulator(port=port, tls_port=number).start()
        with Emulator(port=port, tls_port=None) as emulator:
            assert emulator.endpoint_url.endswith(str(port))


def test_without_tls_there_is_none():
    """tls_port=None: no HTTPS, and whoever asks for it is told why."""
    with Emulator(tls_port=None) as emulator:
        assert not emulator.has_tls
        for name in ("https_endpoint_url", "ca_bundle"):
            with pytest.raises(RuntimeError, match="tls_port=None"):
                getattr(emulator, name)
        assert emulator.set_up().certificate.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::1", "localhost"])
def test_other_addresses(host):
    """An address of every interface is reached by loopback; IPv6 works, in brackets."""
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    with Emulator(host=host, tls_port=None) as emulator:
        url = urlsplit(emulator.endpoint_url)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
        connection.request("GET", "/crls")
        assert json.loads(connection.getresponse().read()) == {"crls": []}
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()


def test_tls_certificate_has_the_given_names():
    """The certificate is good for the names and addresses that clients use."""
    with Emulator(host_names=["emulator.internal", "10.1.2.3"]) as emulator:
        context = ssl.create_default_context(cafile=emulator.ca_bundle)
        url = urlsplit(emulator.https_endpoint_url)
        for name in ("emulator.internal", "10.1.2.3", "127.0.0.1", "::1"):
            with (
                socket.create_connection((url.hostname, url.port)) as plain,
                context.wrap_socket(plain, server_hostname=name) as secured,
            ):
                assert secured.version()


def test_urls_of_addresses():
    """What a client on this machine writes for each kind of address."""

    def url(host: str) -> str:
        return Listening(host, 0, 0, 0, ()).url("http", 80)

    assert url("0.0.0.0") == "http://127.0.0.1:80"
    assert url("::") == "http://[::1]:80"
    assert url("192.0.2.1") == "http://192.0.2.1:80"
