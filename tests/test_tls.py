"""TLS connections that a fork does not cut in two."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from urllib3.util.wait import wait_for_read

from rolesanywhere_auth import forking, tls
from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.testing import CertificateAuthority


class Peer:
    """A TLS server for one connection at a time, and the CA that vouches for it."""

    def __init__(self, folder: Path) -> None:
        authority = CertificateAuthority("TLS Root")
        leaf = authority.issue("127.0.0.1", dns_names=("localhost",), client_auth=False)
        files = leaf.write_to(folder)
        self.bundle = folder / "ca.pem"
        self.bundle.write_text(authority.certificate_pem)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(files.certificate, files.private_key)

    def answer(self, *, first: Callable[[socket.socket], object] = lambda _: None) -> socket.socket:
        """The client's end of a connection; the other one does *first*, and shakes hands."""
        near, far = socket.socketpair()

        def shake() -> None:
            first(far)
            try:
                with self.context.wrap_socket(far, server_side=True) as secured:
                    secured.sendall(b"hello")
            except OSError:  # the client did not like it
                far.close()

        self.thread = threading.Thread(target=shake, daemon=True)
        self.thread.start()
        return near


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """For connections within this process."""
    return Peer(tmp_path_factory.mktemp("peer"))


@pytest.fixture
def context(peer: Peer) -> Iterator[ssl.SSLContext]:
    """A client's, made as each sign-in makes it, which trusts the peer."""
    session = tls.GuardedSession()
    made = session._get_ssl_context()
    made.load_verify_locations(str(peer.bundle))
    yield made
    session.close()


@pytest.mark.parametrize("timeout", [None, 10.0])
def test_hands_are_shaken(peer: Peer, context: ssl.SSLContext, timeout: float | None) -> None:
    """The connection works and keeps its time-out, none included."""
    plain = peer.answer()
    plain.settimeout(timeout)
    with context.wrap_socket(plain, server_hostname="localhost") as secured:
        assert secured.recv(5) == b"hello"
        assert secured.gettimeout() == timeout
        assert secured.version() == "TLSv1.3"
    peer.thread.join()


def test_a_full_line_is_waited_for(peer: Peer, context: ssl.SSLContext) -> None:
    """The handshake goes on once its first message can be written."""
    sent, go = [0], threading.Event()

    def drain(far: socket.socket) -> None:
        go.wait(10)
        while sent[0]:
            sent[0] -= len(far.recv(sent[0]))

    plain = peer.answer(first=drain)
    plain.settimeout(0)
    try:
        while True:
            sent[0] += plain.send(bytes(65536))
    except BlockingIOError:
        plain.settimeout(10)
    timer = threading.Timer(0.02, go.set)
    timer.start()
    with context.wrap_socket(plain, server_hostname="localhost") as secured:
        assert secured.recv(5) == b"hello"
    timer.join()
    peer.thread.join()


def test_a_silent_peer(context: ssl.SSLContext) -> None:
    """The socket's time-out counts for the handshake, and the connection is closed after it."""
    plain, silent = socket.socketpair()
    plain.settimeout(0.01)
    number = plain.fileno()
    with pytest.raises(TimeoutError, match="handshake"):
        context.wrap_socket(plain, server_hostname="localhost")
    with pytest.raises(OSError, match=r"(?i)bad file descriptor"):
        socket.socket(fileno=number)
    silent.close()


def test_another_name(peer: Peer, context: ssl.SSLContext) -> None:
    """A certificate of another name is refused as ever."""
    context.check_hostname = True  # urllib3 compares names itself
    with pytest.raises(ssl.SSLCertVerificationError, match="other"):
        context.wrap_socket(peer.answer(), server_hostname="other")
    peer.thread.join()


class Watched:
    """A lock that counts."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.depth = 0
        self.times = 0

    def acquire(self, **kwargs: Any) -> bool:
        self.depth += 1
        self.times += 1
        return self._lock.acquire(**kwargs)

    def release(self) -> None:
        self.depth -= 1
        self._lock.release()


def test_a_fork_waits_for_the_work_and_not_for_the_peer(
    peer: Peer, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within each step of the handshake the lock of `forking` is held, and not between them."""
    lock = Watched()
    monkeypatch.setattr(forking, "_lock", lock)
    seen: list[int] = []
    steps: list[int] = []
    go = threading.Event()

    def wait(*given: Any) -> bool:
        seen.append(lock.depth)
        go.set()
        return wait_for_read(*given)

    monkeypatch.setattr(tls, "wait_for_read", wait)
    shake = ssl.SSLSocket.do_handshake

    def step(self: ssl.SSLSocket) -> None:
        if not self.server_side:
            steps.append(lock.depth)
        shake(self)

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", step)
    late = peer.answer(first=lambda _: go.wait(10))
    with context.wrap_socket(late, server_hostname="localhost"):
        pass
    peer.thread.join()
    assert set(steps) == {1}
    assert seen
    assert set(seen) == {0}


def test_a_bundle_is_read_once(peer: Peer, tmp_path: Path) -> None:
    """For each connection urllib3 asks for it anew, which is a tenth of a second of work."""
    context = tls.GuardedSession()._get_ssl_context()
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(peer.bundle.read_bytes())
    context.load_verify_locations(str(bundle))
    bundle.unlink()
    context.load_verify_locations(str(bundle))
    assert context.cert_store_stats()["x509_ca"] == 1


def test_what_is_not_a_file_is_always_loaded(peer: Peer) -> None:
    """Only a file's name says that it is the same again."""
    context = tls.GuardedSession()._get_ssl_context()
    for number in (1, 2):
        text = CertificateAuthority(f"CA {number}").certificate_pem
        context.load_verify_locations(cadata=text)
        assert context.cert_store_stats()["x509_ca"] == number


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n", None])
def test_a_bundle_without_certificates(tmp_path: Path, content: bytes | None) -> None:
    """It is named, and so are the settings that it may come from."""
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    context = tls.GuardedSession()._get_ssl_context()
    with pytest.raises(ConfigurationError, match=r"bundle\.pem cannot be used.*AWS_CA_BUNDLE"):
        context.load_verify_locations(str(bundle))


def test_a_context_of_another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who replaces Python's contexts gets his own, as it is."""

    class Foreign(ssl.SSLContext):
        pass

    monkeypatch.setattr("botocore.httpsession.SSLContext", Foreign)
    assert type(tls.GuardedSession()._get_ssl_context()) is Foreign
