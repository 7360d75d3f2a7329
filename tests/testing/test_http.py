from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from children import running_process

from rolesanywhere_auth.testing import Emulator
from rolesanywhere_auth.testing.fronts.http import HTTPFront
from rolesanywhere_auth.testing.service.faults import RawAnswer
from rolesanywhere_auth.testing.service.wire import Refusal, Response


def exchange(endpoint_url: str, data: bytes) -> bytes:
    """What the server says to *data* until it hangs up."""
    url = urlsplit(endpoint_url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(data)
        with contextlib.suppress(OSError):  # it may have hung up already
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(status.split()[1]), headers, body


def get(emulator: Emulator) -> http.client.HTTPConnection:
    """A connection to the HTTP front."""
    url = urlsplit(emulator.endpoint_url)
    return http.client.HTTPConnection(url.hostname, url.port, timeout=10)


def ask(connection: http.client.HTTPConnection) -> bytes:
    """One request on *connection*."""
    connection.request("GET", "/crls")
    return connection.getresponse().read()


def test_connection_is_kept_alive(emulator):
    """Several requests go over one connection."""
    connection = get(emulator)
    connection.connect()
    before = connection.sock.getsockname()

    for _ in range(3):
        connection.request("GET", "/crls")
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())) == (200, {"crls": []})

    assert connection.sock.getsockname() == before
    connection.close()


def test_each_answer_has_a_request_id_and_a_date(emulator):
    """Refusals carry the headers too, and no two the same ID."""
    answers = [
        parsed(
            exchange(
                emulator.endpoint_url, b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
        )
        for _ in range(2)
    ]

    ids = {headers["x-amzn-requestid"] for _, headers, _ in answers}
    assert len(ids) == 2
    assert {headers["date"] for _, headers, _ in answers} == {"Mon, 04 May 2026 12:00:00 GMT"}


def test_chunked_body_is_read(emulator, create_session):
    """A chunked body with extensions and trailers is put together."""
    body = b'{"name":"a","roleArns":[]}'
    head = b"POST /profiles HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"5;x=y\r\n" + body[:5] + b"\r\n15\r\n" + body[5:] + b"\r\n0\r\nTrailer: z\r\n\r\n"

    status, _, answer = parsed(exchange(emulator.endpoint_url, head + chunks))

    assert status == 201
    assert json.loads(answer)["profile"]["name"] == "a"


@pytest.mark.parametrize(
    "chunks", [b"x\r\n", b"-1\r\n", b"5\r\nab\r\n0\r\n\r\n", b"2\r\nabcd\r\n", b""]
)
def test_broken_chunks_are_refused(emulator, chunks):
    """A chunked body that is not one is a 400."""
    head = b"POST /profiles HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    status, headers, body = parsed(exchange(emulator.endpoint_url, head + chunks))

    assert (status, headers["x-amzn-errortype"]) == (400, "SerializationException")
    assert "chunk" in json.loads(body)["message"]


def test_chunks_may_end_with_the_connection(emulator):
    """Missing trailers after the last chunk do no harm."""
    head = b"POST /profiles HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert parsed(exchange(emulator.endpoint_url, head + b"0\r\n"))[0] == 400


@pytest.mark.parametrize(
    ("header", "status", "text"),
    [
        (b"Transfer-Encoding: gzip", 400, "Transfer-Encoding gzip"),
        (b"Content-Length: many", 400, "Content-Length must be a number"),
        (b"Content-Length: -1", 400, "Content-Length must be a number"),
        (b"Content-Length: " + b"9" * 5000, 400, "Content-Length must be a number"),
        (b"Content-Length: 99999999999", 413, "4194304 are allowed"),
        (b"Content-Length: 10", 400, "ends after 2 of 10 bytes"),
    ],
)
def test_body_that_cannot_be_read_is_refused(emulator, header, status, text):
    """Each way to garble a body has an answer that says what is wrong."""
    data = b"POST /crls HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\nab"

    found, headers, body = parsed(exchange(emulator.endpoint_url, data))

    assert found == status
    assert text in json.loads(body)["message"]
    assert headers["connection"] == "close"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /crls HTTP/9.9\r\n\r\n", 505),
        (b"BREW /crls HTTP/1.1\r\n\r\n", 501),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /crls HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"POST /sessions HTTP/1.1\r\nX-Amz-X509-Chain: " + b"x" * 80_000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01", 400),
    ],
)
def test_malformed_request_gets_an_answer_in_json(emulator, capfd, data, status):
    """What http.server refuses itself is answered in JSON, and nothing is printed."""
    found, headers, body = parsed(exchange(emulator.endpoint_url, data))

    assert found == status
    assert headers["x-amzn-errortype"].endswith("Exception")
    assert json.loads(body)["message"]
    assert capfd.readouterr() == ("", "")


def test_chain_header_of_60_kilobytes_is_read(emulator):
    """Five of the largest certificates fit into the chain header."""
    data = (
        b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n"
        b"X-Amz-X509-Chain: " + b"x" * 60_000 + b"\r\n\r\n{}"
    )

    assert parsed(exchange(emulator.endpoint_url, data))[0] == 400


def test_old_request_line_gets_a_head(emulator):
    """A request line without a version is answered with a status line."""
    status, _, body = parsed(exchange(emulator.endpoint_url, b"GET /crls\r\n\r\n"))

    assert (status, json.loads(body)) == (200, {"crls": []})


def test_head_gets_no_body(emulator):
    """An answer to HEAD ends after its headers."""
    data = b"HEAD /crls HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    status, headers, body = parsed(exchange(emulator.endpoint_url, data))

    assert (status, body) == (404, b"")
    assert int(headers["content-length"]) > 0


def test_expecting_client_may_proceed_at_once(emulator):
    """A client that waits for "100 Continue" before its body need not wait for a timeout."""
    url = urlsplit(emulator.endpoint_url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(
            b"POST /profiles HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: 26\r\nConnection: close\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b'{"name":"a","roleArns":[]}')
        assert connection.recv(100).startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "rolesanywhere.eu-west-1.amazonaws.com",
        "rolesanywhere-fips.eu-west-1.api.aws",
    ],
)
def test_https_is_verified_by_the_bundle(emulator, host):
    """The certificate fits loopback and the service's names, in OpenSSL's strict mode too."""
    context = ssl.create_default_context(cafile=emulator.ca_bundle)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    port = urlsplit(emulator.https_endpoint_url).port

    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(b"GET /crls HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_openssl_verifies_the_server(emulator):
    """The openssl command line accepts the chain as well."""
    address = emulator.https_endpoint_url.removeprefix("https://")
    done = subprocess.run(
        [
            "openssl",
            "s_client",
            "-connect",
            address,
            "-CAfile",
            emulator.ca_bundle,
            "-verify_return_error",
            "-x509_strict",
            "-verify_hostname",
            "localhost",
        ],
        input=b"",
        capture_output=True,
        check=False,
        timeout=30,
    )

    assert b"Verification: OK" in done.stdout


def test_client_that_speaks_no_tls_is_no_trouble(emulator, capfd, caplog):
    """A plain request to the HTTPS port ends the connection, prints nothing and harms nobody."""
    caplog.set_level(logging.DEBUG, "rolesanywhere_auth.testing")
    with contextlib.suppress(ConnectionResetError):
        exchange(emulator.https_endpoint_url, b"GET / HTTP/1.1\r\n\r\n")

    test_https_is_verified_by_the_bundle(emulator, "localhost")
    assert capfd.readouterr() == ("", "")


def test_port_is_free_after_stop(now):
    """After stop nobody listens, open connections end, and the files are gone."""
    emulator = Emulator(clock=lambda: now).start()
    endpoint, bundle = urlsplit(emulator.endpoint_url), emulator.ca_bundle
    connection = get(emulator)
    ask(connection)

    emulator.stop()

    with pytest.raises((http.client.HTTPException, ConnectionError)):
        ask(connection)
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((endpoint.hostname, endpoint.port), timeout=10)
    assert not Path(bundle).parent.exists()


def test_connection_during_stop_is_closed(emulator):
    """A client that arrives while the server stops gets no answer, and does not hang."""
    front = HTTPFront(emulator._service)
    front.start()
    front._server.close_connections()

    with contextlib.suppress(ConnectionResetError):
        endpoint_url = f"http://127.0.0.1:{front.port}"
        assert exchange(endpoint_url, b"GET /crls HTTP/1.1\r\n\r\n") == b""
    front.stop()


def test_connection_that_shakes_hands_during_stop_is_closed(emulator):
    """The socket that speaks TLS is closed in any case, and not left to the garbage collector."""
    made = []

    class Stopping:
        """A TLS context; the server stops at the end of the handshake."""

        def wrap_socket(self, connection, **arguments):
            made.append(emulator._fronts["https"]._server._tls.wrap_socket(connection, **arguments))
            front._server.close_connections()
            return made[0]

    front = HTTPFront(emulator._service, tls=Stopping())
    front.start()
    trusted = ssl.create_default_context(cafile=emulator.ca_bundle)
    with (
        socket.create_connection(("127.0.0.1", front.port), timeout=10) as connection,
        contextlib.suppress(OSError),
        trusted.wrap_socket(connection, server_hostname="localhost") as secured,
    ):
        secured.recv(1)
    front.stop()

    assert [each.fileno() for each in made] == [-1]


def test_stop_does_not_wait_for_children(emulator):
    """A child that was started while it ran, and has its sockets too, does not keep it running."""
    front = HTTPFront(emulator._service)
    front.start()
    sockets = [front._ending.fileno(), front._ended.fileno()]
    wait = [sys.executable, "-c", "input()"]
    with running_process(wait, stdin=subprocess.PIPE, pass_fds=sockets) as child:
        stopping = threading.Thread(target=front.stop, daemon=True)
        stopping.start()
        stopping.join(30)
        assert not stopping.is_alive()
        assert child.poll() is None
        child.communicate(b"\n")


def test_many_clients_at_once_are_served(emulator, create_session):
    """Threads that sign in at the same time all get sessions of their own."""
    setup = emulator.set_up()
    found = []

    def sign_in():
        found.append(create_session(setup).session["credentials"]["accessKeyId"])

    threads = [threading.Thread(target=sign_in) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(found)) == 16


# Injected faults


def test_injected_answers_come_in_order(emulator, create_session):
    """Each injected answer serves one call; then the service answers again."""
    setup = emulator.set_up()
    emulator.inject(
        Refusal(429, "ThrottlingException", "Rate exceeded"),
        Response(201, {"credentialSet": []}),
        (503, {"Retry-After": "2"}, b"{}"),
    )

    throttled, empty, busy, served = [create_session(setup) for _ in range(4)]

    assert throttled.refusal == (429, "ThrottlingException", "Rate exceeded")
    assert (empty.status, empty.body) == (201, {"credentialSet": []})
    assert (busy.status, busy.headers["retry-after"]) == (503, "2")
    assert served.status == 201
    assert len(emulator.events) == 1


def test_injected_bytes_go_out_as_they_are(emulator, request_to):
    """A body that is no JSON, and a Date of one's own, reach the client."""
    date = "Sun, 03 May 2026 12:00:00 GMT"
    emulator.inject((200, {"Date": date, "Content-Type": "text/html"}, b"<html>"))
    connection = get(emulator)
    connection.request("POST", "/sessions", body=b"{}")
    response = connection.getresponse()

    assert (response.status, response.read()) == (200, b"<html>")
    assert response.headers.get_all("Date") == [date]
    connection.close()


def test_raw_answer_keeps_its_own_headers(emulator):
    """A RawAnswer goes out with its own length, even a wrong one."""
    emulator.inject(RawAnswer(200, (("Content-Length", "3"), ("x-amzn-RequestId", "mine")), b"abc"))
    connection = get(emulator)
    connection.request("POST", "/sessions", body=b"{}")
    response = connection.getresponse()

    assert (response.status, response.read()) == (200, b"abc")
    assert response.headers.get_all("Content-Length") == ["3"]
    assert response.headers.get_all("x-amzn-RequestId") == ["mine"]
    connection.close()


def test_dropped_connection_has_no_answer(emulator, create_session):
    """A drop closes the connection without a byte."""
    emulator.inject("drop")

    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        create_session(emulator.set_up())


def test_callable_fault_sees_the_request_and_may_wait(emulator, create_session):
    """A callable can hold a call back until the test lets it pass."""
    setup = emulator.set_up()
    arrived, proceed = threading.Event(), threading.Event()
    seen = []

    def wait(request):
        seen.append(request.method + request.path)
        arrived.set()
        proceed.wait(10)
        return "pass"

    emulator.inject(wait)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(create_session(setup)))
    thread.start()
    assert arrived.wait(10)
    assert answers == []
    # Others are served while one waits.
    assert create_session(setup).status == 201
    proceed.set()
    thread.join()

    assert answers[0].status == 201
    assert seen == ["POST/sessions"]


def test_fail_next_refuses_that_many_calls(emulator, create_session):
    """fail_next() refuses a number of calls with one text."""
    setup = emulator.set_up()
    emulator.fail_next(2, retry_after=3)

    first, second, third = [create_session(setup) for _ in range(3)]

    assert (
        first.refusal
        == second.refusal
        == (503, "ServiceUnavailableException", "Service unavailable")
    )
    assert first.headers["retry-after"] == "3"
    assert third.status == 201
    emulator.fail_next(status=500, code="InternalServerException", message="Sorry")
    assert create_session(setup).refusal == (500, "InternalServerException", "Sorry")


def test_faults_leave_the_control_plane_alone(emulator, create_session):
    """Only CreateSession takes injected answers, and clear() forgets them."""
    emulator.fail_next()

    assert emulator.control_plane().list_crls()["crls"] == []
    emulator.clear()
    assert create_session(emulator.set_up()).status == 201


def test_fault_of_the_emulator_is_an_answer_and_a_log_record(emulator, create_session, caplog):
    """If the emulator itself fails, the client gets a 500 and the log the reason."""

    def broken(moment):
        raise ZeroDivisionError

    setup = emulator.set_up()
    emulator._service.directory.mint = broken
    try:
        answer = create_session(setup)
    finally:
        del emulator._service.directory.mint

    assert answer.refusal[:2] == (500, "InternalServerException")
    assert "ZeroDivisionError" in answer.refusal[2]
    assert "The emulator failed at POST /sessions" in caplog.text
