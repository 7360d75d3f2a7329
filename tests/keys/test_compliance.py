"""What every key store has to do, shown with real ones: see `backends/`."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from children import children_of
from cryptography import x509

from backends import Backend, HasSecrets, Place, each_of, run, store_class
from rolesanywhere_auth import RolesAnywhereConfig, boto3_session
from rolesanywhere_auth.errors import (
    CertificateLoadError,
    IdentityError,
    PassphraseError,
    PrivateKeyLoadError,
)
from rolesanywhere_auth.identity import Identity, IdentitySource
from rolesanywhere_auth.keys import check_signature
from rolesanywhere_auth.testing import CertificateAuthority, Emulator

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

DATA = b"AWS4-X509-ECDSA-SHA256\n20261122T000000Z\n" + b"0" * 110


def now() -> datetime:
    """The present moment."""
    return datetime.now(timezone.utc)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """One for all: with an STS behind it."""
    with Emulator(aws=True) as started:
        yield started


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """Who certifies all keys but those that sign in."""
    return CertificateAuthority()


@pytest.fixture
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backend]:
    """A fresh store. What it needs is installed by scripts/test and scripts/test-extended."""
    kind = store_class(request.param)
    missing = kind.missing()
    if missing:
        pytest.fail(f"{request.param} needs {', '.join(missing)}")
    store = kind(tmp_path)
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    yield store
    store.stop()


@pytest.fixture
def place(backend: Backend, authority: CertificateAuthority) -> Place:
    """A key of the first kind."""
    return backend.make(backend.key_types[0], authority)


def source_of(place: Place) -> IdentitySource:
    """A new one, without anything remembered."""
    return IdentitySource(**place.arguments())


def check(identity: Identity) -> None:
    """Sign with the identity's key and check that with its certificate."""
    signer = identity.signer
    public_key: Any = x509.load_der_x509_certificate(identity.leaf.der).public_key()
    check_signature(public_key, signer.sign(DATA), DATA, source="test")


@each_of()
def test_signs_in(backend: Backend, emulator: Emulator) -> None:
    """A key of each kind signs in at the emulator, and the session works at STS."""
    setup = emulator.set_up()
    places = [backend.make(kind, setup.authority) for kind in backend.key_types]

    for place in places:
        config = RolesAnywhereConfig(**{**setup.config_arguments(), **place.arguments()})
        sts = boto3_session(config).client("sts", endpoint_url=emulator.aws_endpoint_url)
        assert ":assumed-role/app" in sts.get_caller_identity()["Arn"], place


def in_threads(number: int, work: Callable[[], None]) -> tuple[list[threading.Thread], list[Any]]:
    """Start *work* in threads; the second list gets what they raise."""
    failures: list[Any] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=guarded, daemon=True) for _ in range(number)]
    for each in threads:
        each.start()
    return threads, failures


@each_of()
def test_threads_and_forks(place: Place) -> None:
    """Threads sign while the process forks; so do the children."""
    source = source_of(place)
    identity = source.current(now=now())
    number, each = 8, 200
    begun = threading.Barrier(number + 1)

    def sign() -> None:
        begun.wait()
        for _ in range(each):
            check(identity)

    def sign_in_child() -> bytes:
        check(identity)
        check(source.current(now=now()))
        return b"signed"

    threads, failures = in_threads(number, sign)
    begun.wait()
    with children_of(sign_in_child, count=4, patience=120) as answers:
        assert answers == [b"signed"] * 4
    for thread in threads:
        thread.join(120)

    assert failures == []
    assert not any(thread.is_alive() for thread in threads)
    check(identity)


IMPORTS = """
import json, sys
sys.modules["OpenSSL"] = None  # where it is installed, botocore imports it, and that X.509
from datetime import datetime, timezone
from rolesanywhere_auth import forking
from rolesanywhere_auth.identity import IdentitySource

source = IdentitySource(**json.load(sys.stdin))
found = {True: [], False: []}

class Finder:
    def find_spec(self, name, path=None, target=None):
        locks = [forking._lock, *(each._lock for each in forking._guards)]
        found[any(each._is_owned() for each in locks)].append(name)

sys.meta_path.insert(0, Finder())
identity = source.current(now=datetime.now(timezone.utc))
identity.signer.sign(b"data")
source.poll(now=datetime.now(timezone.utc))
print(json.dumps(list(found.values())))
"""


@each_of(lambda store: store.for_children is not None)
def test_forks_wait_for_imports(
    backend: Backend, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that finds a module half-imported by a thread that is not there waits for ever."""
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):  # it imports, before all
        monkeypatch.delenv(name, raising=False)
    assert backend.for_children is not None
    printed = run(
        *(sys.executable, "-c", IMPORTS),
        stdin=json.dumps(place.arguments()).encode(),
        **backend.for_children,
    )

    guarded, unguarded = json.loads(printed.splitlines()[-1])
    assert "rolesanywhere_auth.keys.files" in guarded
    assert unguarded == []


@each_of(lambda store: issubclass(store, HasSecrets))
def test_a_wrong_secret_is_tried_once(backend: Backend, place: Place) -> None:
    """It is refused as such, is not tried a second time, and the right one works afterwards."""
    assert isinstance(backend, HasSecrets)
    wrong = backend.with_wrong_secret(place)
    before = backend.refusals(place)

    for source in (source_of(wrong),) * 3 + (source_of(wrong),):
        with pytest.raises(PassphraseError) as caught:
            source.current(now=now())
        assert str(wrong.passphrase) not in str(caught.value)

    after = backend.refusals(place)
    assert after is None or before is None or after - before == 1
    check(source_of(place).current(now=now()))


@each_of()
def test_a_missing_key(backend: Backend, place: Place) -> None:
    """Says that the key is not there, and which was looked for."""
    backend.remove_key(place)

    with pytest.raises((PrivateKeyLoadError, CertificateLoadError)) as caught:
        source_of(place).current(now=now())

    assert caught.value.source
    assert caught.value.source in str(caught.value)


@each_of()
def test_a_key_that_goes_missing(backend: Backend, place: Place) -> None:
    """An identity in use fails with an error of ours once its key is gone, and looked for."""
    source = source_of(place)
    identity = source.current(now=now())
    check(identity)

    backend.remove_key(place)
    source.poll(now=now() + timedelta(minutes=1))

    with pytest.raises(IdentityError):
        identity.signer.sign(DATA)


@each_of()
def test_a_restarted_store(backend: Backend, place: Place) -> None:
    """Keys go on signing when the store was away and is back."""
    source = source_of(place)
    identity = source.current(now=now())
    check(identity)

    backend.restart()

    check(identity)
    check(source.current(now=now()))


@each_of()
def test_a_renewed_certificate(
    backend: Backend, place: Place, authority: CertificateAuthority
) -> None:
    """A new certificate is noticed between sign-ins, and used from then on."""
    source = source_of(place)
    old = source.current(now=now())

    serial_number = backend.renew(place, authority)
    later = now() + timedelta(minutes=1)

    assert source.poll(now=later)
    assert source.current(now=later).serial_number == serial_number != old.serial_number
    check(source.current(now=later))
    assert not source.poll(now=later)
