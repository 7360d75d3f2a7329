"""X.509-SVIDs from a SPIFFE agent: a real gRPC server in another process, and broken ones."""

from __future__ import annotations

import copy
import gc
import logging
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st

from backends.spiffe import Agent, granted, spiffe_id, until_heard
from rolesanywhere_auth import RenewalEvent, RolesAnywhereConfig, RolesAnywhereCredentials
from rolesanywhere_auth.errors import (
    CertificateLoadError,
    ConfigurationError,
    IdentityError,
    MissingExtraError,
    PrivateKeyLoadError,
    SigningError,
)
from rolesanywhere_auth.identity import Identity, IdentitySource
from rolesanywhere_auth.keys import _svid_follower, check_signature
from rolesanywhere_auth.keys._workload_api import Address, Ended, Stream, parse_response
from rolesanywhere_auth.keys.spiffe import SPIFFEStore, open_store
from rolesanywhere_auth.keys.stores import KeyStore
from rolesanywhere_auth.testing import CertificateAuthority, Emulator
from rolesanywhere_auth.testing.authority import Leaf

DATA = b"to be signed"


def now() -> datetime:
    """The present."""
    return datetime.now(timezone.utc)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Of short name: the path of a socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="spiffe") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Agent]:
    """One agent for the module."""
    agent = Agent(f"unix:{folder}/agent.sock")
    yield agent
    agent.stop()


@pytest.fixture
def agent(running: Agent, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """The agent, which grants nothing yet and is named by the environment."""
    gc.collect()  # followers of earlier tests go
    running.refuse()
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", f"unix://{folder}/agent.sock")
    return running


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """An agent's CA, under a root that is the trust anchor."""
    return CertificateAuthority().intermediate()


def issue(authority: CertificateAuthority, name: str = "app", **more: Any) -> Leaf:
    """An X.509-SVID."""
    return authority.issue(name, uris=[spiffe_id(name)], **more)


@pytest.fixture
def leaf(agent: Agent, authority: CertificateAuthority) -> Leaf:
    """Granted by the agent, alone."""
    leaf = issue(authority)
    agent.grant({"app": leaf})
    return leaf


def followers() -> list[threading.Thread]:
    """The threads that follow an agent; those of other tests' servers come and go."""
    return [each for each in threading.enumerate() if each.name == "rolesanywhere-auth-spiffe"]


def eventually(done: Callable[[], Any]) -> None:
    """Wait until *done*; for what other processes and threads do."""
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def check(identity: Identity, leaf: Leaf) -> None:
    """It is this leaf with its chain, and signs with its key."""
    assert identity.serial_number == leaf.serial_number
    assert [each.der for each in identity.intermediates] == [
        each.public_bytes(Encoding.DER) for each in leaf.chain
    ]
    public_key: Any = leaf.certificate.public_key()
    check_signature(public_key, identity.signer.sign(DATA), DATA, source="test")


# references


def test_the_environment_names_the_agent(leaf: Leaf, folder: Path) -> None:
    """``spiffe:`` alone is certificate, intermediates and key."""
    identity = Identity.load("spiffe:", now=now())

    check(identity, leaf)
    assert len(identity.intermediates) == 1
    assert identity.source == f"spiffe: (SPIFFE_ENDPOINT_SOCKET=unix://{folder}/agent.sock)"


def test_the_reference_names_the_agent(
    leaf: Leaf, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket in the reference needs no environment; also as private_key of the same."""
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET")
    reference = f"spiffe:unix://{folder}/agent.sock"

    check(Identity.load(reference, now=now()), leaf)
    check(Identity.load(reference, private_key=reference, now=now()), leaf)


def test_tcp(authority: CertificateAuthority) -> None:
    """An agent may listen on an IP address."""
    agent = Agent("127.0.0.1:0")
    leaf = issue(authority)
    agent.grant({"app": leaf})

    check(Identity.load(f"spiffe:tcp://127.0.0.1:{agent.port}", now=now()), leaf)
    agent.stop()


def test_one_of_several(agent: Agent, authority: CertificateAuthority) -> None:
    """The first by default; another by its SPIFFE ID or the operator's hint."""
    names = ("a", "b", "c")
    leaves = {name: issue(authority, name) for name in names}
    agent.grant(leaves, {"b": "internal", "c": "external"})

    for reference, name in {
        "spiffe:": "a",
        "spiffe:?id=spiffe://example.org/b": "b",
        "spiffe://example.org/c": "c",
        "spiffe:?hint=internal": "b",
        "spiffe:?id=spiffe%3A%2F%2Fexample.org%2Fc&hint=external": "c",
    }.items():
        check(Identity.load(reference, now=now()), leaves[name])
    with pytest.raises(CertificateLoadError, match=r"no such identity, but spiffe://example.org/a"):
        Identity.load("spiffe://example.org/d", now=now())
    with pytest.raises(CertificateLoadError, match=r"example.org/b \(hint 'internal'\)"):
        Identity.load("spiffe://example.org/c?hint=internal", now=now())


@pytest.mark.parametrize(
    "reference",
    [
        "spiffe:?id=",
        "spiffe:?id",
        "spiffe:?ident=x",
        "spiffe:?hint=a&hint=b",
        "spiffe:/run/agent.sock",
        "spiffe:unix:agent.sock",
        "spiffe:unix://host/agent.sock",
        "spiffe:unix:///agent.sock#x",
        "spiffe:tcp://127.0.0.1",
        "spiffe:tcp://localhost:80",
        "spiffe:tcp://127.0.0.1:80/path",
        "spiffe:tcp://me@127.0.0.1:80",
        "spiffe:tcp://127.0.0.1:x",
        "spiffe:tcp://:80",
        "spiffe:http://127.0.0.1:80",
        "spiffe:tcp://[::1:80",
    ],
)
def test_references_that_make_no_sense(reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused without a connection (SPIFFE Workload Endpoint, 4)."""
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///agent.sock")
    with pytest.raises(ConfigurationError, match="spiffe:"):
        open_store(reference, passphrase=None)


def test_addresses() -> None:
    """Both kinds, percent-encoding and both kinds of IP address."""
    assert Address.parse("unix:///a%20b", name="x") == (socket.AF_UNIX, "/a b")
    assert Address.parse("unix:/a", name="x") == (socket.AF_UNIX, "/a")
    assert Address.parse("tcp://10.0.0.1:8081", name="x") == (socket.AF_INET, ("10.0.0.1", 8081))
    assert Address.parse("tcp://[::1]:8081", name="x") == (socket.AF_INET6, ("::1", 8081))


def test_no_agent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the reference nor by the environment, or by that in a wrong way."""
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET", raising=False)
    with pytest.raises(ConfigurationError, match="SPIFFE_ENDPOINT_SOCKET is not set"):
        Identity.load("spiffe:", now=now())
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", "/run/agent.sock")
    with pytest.raises(ConfigurationError, match="SPIFFE_ENDPOINT_SOCKET: the address"):
        Identity.load("spiffe:", now=now())


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without h2 the extra is named."""
    monkeypatch.setitem(sys.modules, "rolesanywhere_auth.keys._workload_api", None)
    with pytest.raises(MissingExtraError, match=r"rolesanywhere-auth\[spiffe\]") as caught:
        open_store("spiffe:", passphrase=None)
    assert caught.value.extra == "spiffe"


def test_another_client_sees_the_same(leaf: Leaf) -> None:
    """The tests' agent is one to the package spiffe too."""
    code = (
        "from spiffe import WorkloadApiClient\n"
        "with WorkloadApiClient() as client: svid = client.fetch_x509_svid()\n"
        "print(svid.spiffe_id, f'{svid.leaf.serial_number:x}', len(svid.cert_chain))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == f"spiffe://example.org/app {leaf.serial_number:x} 2\n"


# rotation


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """One for the module."""
    with Emulator() as started:
        yield started


def test_a_pushed_certificate_renews_the_session(agent: Agent, emulator: Emulator) -> None:
    """The agent's new SVID is signed in with at once, though the old session has most of its life
    left, and nothing of the key gets into logs.
    """
    emulator.clear()
    setup = emulator.set_up()
    first, second = (issue(setup.authority) for _ in range(2))
    agent.grant({"app": first})
    seen: list[RenewalEvent] = []
    arguments = {**setup.config_arguments(), "private_key": None, "certificate_chain": None}
    config = RolesAnywhereConfig(**{**arguments, "certificate": "spiffe:"})
    credentials = RolesAnywhereCredentials(config, on_event=seen.append)
    old = credentials.get_frozen_credentials()

    agent.grant({"app": second})
    eventually(lambda: [event.kind for event in seen].count("succeeded") == 2)

    assert credentials.get_frozen_credentials() != old
    assert seen[-1].serial_number == second.serial_number
    renewal = weakref.ref(credentials._renewal)
    store = credentials._sign_in.identities
    del credentials
    eventually(lambda: renewal() is None)  # the store, which would wake it, does not keep it alive
    with until_heard(f"{first.serial_number:x}") as wait:
        agent.grant({"app": first})
        wait()
    assert store.poll(now=now())
    assert pickle.loads(pickle.dumps(config)) == config


def test_the_agents_certificate_is_followed_between_sign_ins(
    agent: Agent, leaf: Leaf, authority: CertificateAuthority
) -> None:
    """`poll` sees the new one; the old signer goes on while its identity is granted."""
    source = IdentitySource("spiffe:")
    old = source.current(now=now())
    renewed = issue(authority)
    with until_heard(f"{renewed.serial_number:x}") as wait:
        agent.grant({"app": renewed})
        wait()

    assert source.poll(now=now())
    check(source.current(now=now()), renewed)
    check(old, leaf)


def test_rotation_between_certificate_and_key(
    agent: Agent, leaf: Leaf, authority: CertificateAuthority
) -> None:
    """The key is that of the certificate which was given out, not of the one that came since."""
    store = open_store("spiffe:", passphrase=None)
    certificates = store.certificates()
    with until_heard("the agent sent") as wait:
        agent.grant({"app": issue(authority)})
        wait()

    key: Any = leaf.certificate.public_key()
    signer = store.signer([key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)])
    assert certificates[0] == leaf.certificate.public_bytes(Encoding.DER)
    check_signature(key, signer.sign(DATA), DATA, source="test")


def test_an_identity_that_is_taken_back_signs_no_more(
    agent: Agent, authority: CertificateAuthority
) -> None:
    """What the agent's answer no longer has must not be used (SPIFFE Workload API, 5.2.1), until
    it is granted again.
    """
    one, other = issue(authority, "one"), issue(authority, "other")
    agent.grant({"one": one, "other": other})
    first = Identity.load("spiffe://example.org/one", now=now())
    second = Identity.load("spiffe://example.org/other", now=now())
    with until_heard("the agent sent") as wait:
        agent.grant({"other": issue(authority, "other")})
        wait()

    eventually(lambda: not granted_still(first))
    with pytest.raises(SigningError, match=r"no longer grants spiffe://example.org/one"):
        first.signer.sign(DATA)
    check(second, other)

    agent.refuse(text="entry deleted")
    eventually(lambda: not granted_still(second))
    with pytest.raises(SigningError, match=r"no longer grants .*entry deleted"):
        second.signer.sign(DATA)

    agent.grant({"one": one, "other": other})
    eventually(lambda: granted_still(first) and granted_still(second))
    check(first, one)


def granted_still(identity: Identity) -> bool:
    """Whether it signs."""
    try:
        identity.signer.sign(DATA)
    except SigningError:
        return False
    return True


# failures


def test_a_refused_workload(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """The agent's own words at once, each time anew; granted later, it works without ado."""
    source = IdentitySource("spiffe:")
    for text in ("no identity issued", "bad\x1b[2J\nline \u00e4"):
        agent.refuse(text=text)
        began = time.monotonic()
        with pytest.raises(CertificateLoadError, match="Register this workload") as caught:
            source.current(now=now())
        assert time.monotonic() - began < 5
        assert not caught.value.retryable
    assert "the agent said: bad [2J line \u00e4 (gRPC status 7)" in str(caught.value)


def test_an_agent_that_is_not_ready(agent: Agent) -> None:
    """UNAVAILABLE may heal by itself."""
    agent.refuse("UNAVAILABLE", "still starting")
    store = open_store("spiffe:", passphrase=None)
    for _ in range(2):
        with pytest.raises(CertificateLoadError, match="still starting") as caught:
            store.certificates()
        assert caught.value.retryable


def test_an_agent_that_grants_nothing(agent: Agent) -> None:
    """An answer without an identity is a refusal."""
    agent.grant({})
    with pytest.raises(CertificateLoadError, match=r"has no identity.*Register"):
        Identity.load("spiffe:", now=now())


def test_an_agent_that_does_not_answer(agent: Agent, folder: Path) -> None:
    """It is waited for so long, and no longer."""
    agent.tell(silence=True)
    address = Address.parse(f"unix://{folder}/agent.sock", name="x")
    store = SPIFFEStore(address, source="spiffe:", time_limit=0.2)
    with pytest.raises(CertificateLoadError, match="spiffe:: there was no answer in time"):
        store.certificates()
    with pytest.raises(Ended, match="no answer in time"):
        Stream(address, deadline=time.monotonic())


def test_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket, or one that nobody listens on."""
    dead = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as left:
        monkeypatch.chdir(tmp_path)  # the whole path may be too long
        left.bind("dead")
    for path, text in ((tmp_path / "none", "No such file"), (dead, "Connection refused")):
        with pytest.raises(CertificateLoadError, match=f"{text}.*See that the agent") as caught:
            Identity.load(f"spiffe:unix://{path}", now=now())
        assert caught.value.retryable
        assert str(path) in str(caught.value)


def test_a_restarted_agent(
    agent: Agent, leaf: Leaf, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is away the certificate stays in use; then it is followed again."""
    monkeypatch.setattr(_svid_follower, "LONGEST_PAUSE", 0.1)
    source = IdentitySource("spiffe:")
    check(source.current(now=now()), leaf)
    with until_heard("No such file") as wait:
        agent.tell(down=True)
        wait()
    check(source.current(now=now()), leaf)
    assert not source.poll(now=now())
    gone = now() + timedelta(days=400)
    with pytest.raises(CertificateLoadError, match="No such file"):  # why it was not renewed
        source.current(now=gone)

    renewed = issue(authority)
    with until_heard(f"{renewed.serial_number:x}") as wait:
        agent.grant({"app": renewed})
        agent.tell(up=True)
        wait()
    assert source.poll(now=now())
    check(source.current(now=now()), renewed)


def test_a_certificate_that_makes_no_sense(agent: Agent, authority: CertificateAuthority) -> None:
    """What the agent sends is checked like any file."""
    leaf = issue(authority)
    for name, text, kind in (
        ("chain", "MAA=", CertificateLoadError),
        ("key", "MAA=", PrivateKeyLoadError),
        ("chain", "QUJD", CertificateLoadError),
    ):
        agent.tell(grant=[granted("app", leaf, {}) | {name: text}])
        with pytest.raises(kind, match="spiffe:") as caught:
            Identity.load("spiffe:", now=now())
        assert isinstance(caught.value, IdentityError)


# threads and processes


def test_the_thread_ends_with_its_store(agent: Agent, leaf: Leaf) -> None:
    """Nothing of a store that is not used any more stays, neither thread nor connection."""
    eventually(lambda: not followers())  # of earlier tests
    identity = Identity.load("spiffe:", now=now())
    assert len(followers()) == 1
    assert agent.tell()["streams"] == 1
    del identity
    gc.collect()
    eventually(lambda: not followers())
    eventually(lambda: agent.tell()["streams"] == 0)


def test_the_thread_ends_while_the_agent_is_away(
    agent: Agent, leaf: Leaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not sleep out its pause."""
    monkeypatch.setattr(_svid_follower, "_pause", lambda failures: 600.0 if failures else 0.0)
    eventually(lambda: not followers())  # of earlier tests
    store = open_store("spiffe:", passphrase=None)
    store.certificates()
    agent.tell(down=True)
    eventually(partial(failing, store))
    assert len(followers()) == 1
    del store
    gc.collect()
    eventually(lambda: not followers())
    agent.tell(up=True)


def failing(store: KeyStore) -> bool:
    """Whether it says that its agent cannot be reached."""
    try:
        store.stamp()
    except CertificateLoadError:
        return True
    return False


def test_without_threads_the_agent_is_asked_each_time(
    agent: Agent,
    leaf: Leaf,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no thread can be started, new certificates are noticed by looking."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    source = IdentitySource("spiffe:")
    check(source.current(now=now()), leaf)
    renewed = issue(authority)
    agent.grant({"app": renewed})

    assert source.poll(now=now())
    check(source.current(now=now()), renewed)


def test_no_thread_while_the_interpreter_shuts_down(
    agent: Agent, leaf: Leaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting one would hang."""
    before = set(threading.enumerate())
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    check(Identity.load("spiffe:", now=now()), leaf)
    assert set(threading.enumerate()) <= before


def test_several_threads_share_one_connection(agent: Agent, leaf: Leaf) -> None:
    """Who comes second waits for the first."""
    store = open_store("spiffe:", passphrase=None)
    before = agent.tell()["calls"]
    threads = [threading.Thread(target=store.certificates) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert agent.tell()["calls"] == before + 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_follows_for_itself(
    agent: Agent, leaf: Leaf, authority: CertificateAuthority
) -> None:
    """It signs with what its parent had, gets its own connection at its first look, and notices
    new certificates; the parent's connection goes on.
    """
    source = IdentitySource("spiffe:")
    source.current(now=now())
    renewed = issue(authority)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            check(source.current(now=now()), leaf)
            eventually(lambda: source.poll(now=now()))
            check(source.current(now=now()), renewed)
            status = 0
        finally:
            os._exit(status)
    eventually(lambda: agent.tell()["streams"] == 2)
    with until_heard(f"{renewed.serial_number:x}") as wait:
        agent.grant({"app": renewed})
        wait()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert source.poll(now=now())
    eventually(lambda: agent.tell()["streams"] == 1)


# secrets


def test_the_key_is_not_shown(leaf: Leaf, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in a repr, nor in a log, nor in a pickle or a copy."""
    caplog.set_level(logging.DEBUG)
    identity = Identity.load("spiffe:", now=now())
    identity.signer.sign(DATA)
    store = open_store("spiffe:", passphrase=None)
    store.certificates()
    (svid,) = store._state.svids

    shown = f"{caplog.text} {identity.signer!r} {store!r} {store.__dict__!r} {svid!r}"
    assert "<SPIFFESigner spiffe://example.org/app>" in shown
    assert "<SPIFFEStore spiffe: (SPIFFE" in shown
    for form in (repr(svid.key), svid.key.hex(), repr(svid.key)[2:40]):
        assert form not in shown
    for value in (svid, identity.signer, store):
        for way in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="pickle"):
                way(value)


# what is no agent


@contextmanager
def served(folder: Path, talk: Callable[[socket.socket], None]) -> Iterator[Stream]:
    """A stream to a server that does *talk* with its first connection."""
    path = folder / "other.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        address = Address(socket.AF_UNIX, str(path))
        stream = Stream(address, deadline=time.monotonic() + 20)
        try:
            yield stream
        finally:
            stream.close()
            thread.join(20)
            path.unlink()


def ended(stream: Stream) -> str:
    """Why there is no answer."""
    with pytest.raises(Ended) as caught:
        stream.read(deadline=time.monotonic() + 20)
    return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no SPIFFE agent: it speaks HTTP/1"),
        (b"\0\0\0\4\0\0\0\0\1", "no SPIFFE agent: HTTP/2 failed (ProtocolError)"),
    ],
)
def test_other_servers(folder: Path, answer: bytes, expected: str) -> None:
    """Who does not speak HTTP/2 is told from an agent at once."""

    def talk(peer: socket.socket) -> None:
        peer.sendall(answer)
        while peer.recv(65536):  # until the client goes
            pass

    with served(folder, talk) as stream:
        assert expected in ended(stream)


def test_a_closed_connection(folder: Path) -> None:
    """Whoever closes before an answer is said too."""
    with served(folder, lambda peer: peer.recv(1) and None) as stream:
        assert ended(stream) in ("the agent closed the connection", "Connection reset by peer")


def http2(*answer: tuple[str, Any]) -> Callable[[socket.socket], None]:
    """What an HTTP/2 server says: the names are methods of h2."""

    def talk(peer: socket.socket) -> None:
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        http.initiate_connection()
        events: list[Any] = []
        while not any(isinstance(event, h2.events.StreamEnded) for event in events):
            events += http.receive_data(peer.recv(65536))
        for method, arguments in answer:
            getattr(http, method)(*arguments)
        peer.sendall(http.data_to_send())
        while peer.recv(65536):  # until the client goes
            pass

    return talk


HEADERS = ("send_headers", (1, [(":status", "200")]))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([("send_headers", (1, [(":status", "404")], True))], "no SPIFFE agent: HTTP status 404"),
        ([HEADERS, ("end_stream", (1,))], "the agent ended the stream"),
        ([HEADERS, ("reset_stream", (1,))], "the agent ended the stream"),
        ([("close_connection", ())], "the agent ended the stream"),
        ([HEADERS, ("send_data", (1, b"\1\0\0\0\0"))], "compressed or larger"),
        ([HEADERS, ("send_data", (1, b"\0\xff\xff\xff\xff"))], "compressed or larger"),
        ([HEADERS, ("send_data", (1, b"\0\0\0\0\2\x0a\5"))], "cut short"),
        (
            [("send_headers", (1, [(":status", "200"), ("grpc-status", "x")], True))],
            "the agent said:  (gRPC status x)",
        ),
        (
            [
                HEADERS,
                ("send_headers", (1, [("grpc-status", "13"), ("grpc-message", "%41")], True)),
            ],
            "the agent said: A (gRPC status 13)",
        ),
        ([("send_headers", (1, [(":status", "200"), ("x", b"\xff")]))], "UnicodeDecodeError"),
    ],
)
def test_answers_of_others(folder: Path, answer: list[Any], expected: str) -> None:
    """What no agent says, and the ways in which a stream may end."""
    with served(folder, http2(*answer)) as stream:
        assert expected in ended(stream)
        assert ended(stream)  # it stays so


def test_answers_in_pieces_and_pings(folder: Path) -> None:
    """Messages are put together, and a ping is answered in between."""
    message = b"\x0a\x0a\x0a\1a\x12\2\x30\0\x1a\1k"
    frame = len(message).to_bytes(5, "big") + message
    pieces = [
        ("send_data", (1, frame[:3])),
        ("send_data", (1, frame[3:8])),
        ("ping", (b"12345678",)),
        ("send_data", (1, frame[8:])),
    ]
    with served(folder, http2(HEADERS, *pieces, ("send_data", (1, frame + frame)))) as stream:
        for _ in range(3):
            (svid,) = stream.read(deadline=time.monotonic() + 20)
            assert (svid.spiffe_id, svid.chain, svid.key) == ("a", (b"0\0",), b"k")


@given(message=st.binary(max_size=40))
@example(message=b"\x0a")
@example(message=b"\x0b")
@example(message=b"\x08\x96\x01\x11" + bytes(8) + b"\x1d" + bytes(4))
@example(message=b"\x0a\x0a\x0a\1\xff\x12\2\x30\0\x1a\1k")
@example(message=b"\x0a\x0a\x0a\1a\x12\2\x31\0\x1a\1k")
@example(message=b"\x0a\0")
def test_any_bytes_are_understood_or_refused(message: bytes) -> None:
    """Nothing but `Ended` comes of a broken message."""
    try:
        found = parse_response(message)
    except Ended:
        return
    assert all(svid.spiffe_id and svid.chain and svid.key for svid in found)


def test_parts_that_must_be_there() -> None:
    """An SVID without certificate or key is none (SPIFFE Workload API, 4.5)."""
    with pytest.raises(Ended, match="lacks the SPIFFE ID, certificate or key"):
        parse_response(b"\x0a\x03\x0a\1a")
    assert parse_response(b"\x08\x96\x01\x11" + bytes(8) + b"\x1d" + bytes(4)) == ()
