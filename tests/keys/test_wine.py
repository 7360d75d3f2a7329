"""Windows' certificate stores for real: a Windows Python under wine, made by scripts/setup-wine.

Wine has RSA keys of CryptoAPI, which persist, and of CNG, which do not; nothing else.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from commands import role_flags
from cryptography.hazmat.primitives import hashes

import rolesanywhere_auth
from rolesanywhere_auth.testing import CertificateAuthority, Emulator
from rolesanywhere_auth.testing._setup import Setup
from rolesanywhere_auth.testing.authority import Leaf

pytestmark = pytest.mark.extended

HERE = Path(__file__).parent
_containers = itertools.count()


class Wine:
    """Windows, as far as it goes."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder = folder
        self.python = python
        self.waiting: list[dict[str, Any]] = []
        """What the next process does first: starting one takes seconds."""
        # The package alone: what stands beside it was built for another system.
        (folder / "rolesanywhere_auth").symlink_to(Path(rolesanywhere_auth.__file__).parent)

    def run(self) -> list[Any]:
        """Do what is waiting, in a process; results, or errors with name and message."""
        answers = self.folder / "answers.json"
        answers.unlink(missing_ok=True)
        done = subprocess.run(
            [self.python, f"Z:{HERE / 'wine_driver.py'}"],
            input=json.dumps({"answers": f"Z:{answers}", "requests": self.waiting}),
            env={**os.environ, "WINE_PYTHONPATH": f"Z:{self.folder}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert answers.exists(), done.stdout
        *before, last = json.loads(answers.read_text())
        self.waiting.clear()
        assert not any("error" in each for each in before), before
        return [*before, last]

    def ask(self, do: str, **request: Any) -> Any:
        """What the driver answers to this, after what was waiting."""
        self.waiting.append({"do": do, **request})
        return self.run()[-1]

    def result(self, do: str, **request: Any) -> Any:
        """The result; an error fails the test."""
        answer = self.ask(do, **request)
        assert "result" in answer, answer["traceback"]
        return answer["result"]

    def install(self, leaf: Leaf, *, place: str = "CurrentUser/MY") -> str:
        """Have a key and certificate put into a store, the chain into that of intermediates.

        Returns:
            The key's container.
        """
        container = f"test-{os.getpid()}-{next(_containers)}"
        self.waiting.append(
            {"do": "install", "place": place, "container": container, **material(leaf)}
        )
        return container


def material(leaf: Leaf) -> dict[str, Any]:
    """A leaf as the driver takes it."""
    return {
        "key": leaf.private_key_pem,
        "certificate": leaf.certificate_pem,
        "authorities": [leaf.chain_pem] if leaf.chain_pem else [],
    }


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Wine:
    """A Windows Python with this library."""
    python = Path(os.environ.get("WINE_PYTHON", ""))
    if not python.is_file():
        pytest.fail("WINE_PYTHON names no Windows Python: see scripts/test-extended")
    return Wine(tmp_path_factory.mktemp("wine"), python)


@pytest.fixture(autouse=True)
def empty(wine: Wine) -> None:
    """Have the stores emptied."""
    wine.waiting[:] = [
        {"do": "clear", "place": place}
        for place in ("CurrentUser/MY", "CurrentUser/CA", "LocalMachine/MY", "LocalMachine/CA")
    ]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """Listens on loopback, for Windows' programs too; with an STS behind it."""
    with Emulator(aws=True) as started:
        yield started


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """Who certifies keys that do not sign in."""
    return CertificateAuthority()


def config_of(setup: Setup, **changed: Any) -> dict[str, Any]:
    """The configuration, but for certificate and key."""
    arguments = {**setup.config_arguments(), **changed}
    return {
        key: value
        for key, value in arguments.items()
        if value is not None and not isinstance(value, Path)
    }


@pytest.mark.parametrize("place", ["CurrentUser/MY", "LocalMachine/MY"])
def test_signs_in(wine: Wine, emulator: Emulator, place: str) -> None:
    """A key that another process put into a store signs in, with the intermediate from there."""
    root = CertificateAuthority()
    setup = emulator.set_up(authority=root.intermediate(), anchor=root)
    wine.install(setup.authority.issue("app-on-windows", key_type="rsa-2048"), place=place)
    wine.run()
    reference = f"store:{place}?subject-includes=CN=app-on-windows"

    found = wine.result(
        "sign_in",
        config=config_of(setup, certificate=reference),
        sts=emulator.aws_endpoint_url,
    )

    assert ":assumed-role/app" in found["arn"]
    assert "rolesanywhere_auth.keys.windows" in found["loaded"]


def test_signs_in_by_cng(wine: Wine, emulator: Emulator) -> None:
    """A key of CNG signs in as well."""
    setup = emulator.set_up()
    leaf = setup.authority.issue("app", key_type="rsa-2048")

    found = wine.result(
        "sign_in_by_cng", config=config_of(setup), sts=emulator.aws_endpoint_url, **material(leaf)
    )

    assert ":assumed-role/app" in found["arn"]
    assert found["kinds"] == ["CNGKey"]


def test_threads(wine: Wine, authority: CertificateAuthority) -> None:
    """Eight threads make 200 signatures each, all of them right."""
    wine.install(authority.issue("app", key_type="rsa-2048"))

    assert wine.result("sign_in_threads", reference="store:") == {"failures": []}


def test_a_renewed_certificate(wine: Wine, authority: CertificateAuthority) -> None:
    """A newer certificate with another key is noticed and used."""
    old = authority.issue("app", key_type="rsa-2048", not_valid_after=soon(10))
    new = authority.issue("app", key_type="rsa-2048", not_valid_after=soon(20))
    wine.install(old)

    found = wine.result(
        "renew",
        reference="store:?newest=true",
        place="CurrentUser/MY",
        container=f"renewed-{os.getpid()}",
        **material(new),
    )

    assert found == {
        "before": old.serial_number,
        "quiet": False,
        "noticed": True,
        "after": new.serial_number,
        "again": False,
    }


def soon(days: int) -> datetime:
    """In some days."""
    return datetime.now(timezone.utc) + timedelta(days=days)


def test_selectors(wine: Wine, authority: CertificateAuthority) -> None:
    """Of several the one that is asked for is taken; else the error lists them."""
    leaves = [
        authority.issue(name, key_type="rsa-2048", dns_names=[f"{name}.example.com"])
        for name in ("one", "two")
    ]
    for leaf in leaves:
        wine.install(leaf)

    several = wine.ask("load", reference="store:")
    assert several["error"] == "CertificateLoadError"
    assert "2 certificates fit" in several["message"]
    expected: list[int] = []
    for leaf in leaves:
        assert f"serial={leaf.serial_number:x}" in several["message"]
        name = leaf.certificate.subject.rfc4514_string()
        for criterion in (
            f"subject={name}",
            f"serial={leaf.serial_number:x}",
            f"san=DNS:{name[3:]}.example.com",
            f"thumbprint={leaf.certificate.fingerprint(hashes.SHA1()).hex()}",
        ):
            reference = f"store:CurrentUser/My?{criterion}"
            wine.waiting.append({"do": "load", "reference": reference})
            expected.append(leaf.serial_number)
    found = wine.run()
    assert [each["result"]["serial"] for each in found] == expected


def test_the_helpers_flags(wine: Wine, emulator: Emulator) -> None:
    """The command finds the certificate by the flags of aws_signing_helper, and lists it."""
    setup = emulator.set_up()
    old, new = (
        setup.authority.issue("flags", key_type="rsa-2048", not_valid_after=soon(days))
        for days in (10, 20)
    )
    for each in (old, new, setup.authority.issue("other", key_type="rsa-2048")):
        wine.install(each)
    role = role_flags(setup)
    selector = ["--cert-selector", "Key=x509Subject,Value=CN=flags", "--system-store-name", "MY"]
    newest = "--use-latest-expiring-certificate"
    for arguments in (
        ["credential-process", *role, *selector, newest],
        ["read-certificate-data", *selector],
    ):
        wine.waiting.append({"do": "command", "arguments": arguments})

    signed_in, listed = (each["result"] for each in wine.run()[-2:])

    assert (signed_in["status"], signed_in["err"]) == (0, "")
    assert json.loads(signed_in["out"])["AccessKeyId"].startswith("ASIA")
    assert emulator.events[-1].serial_number == str(new.serial_number)
    assert (listed["status"], listed["out"].count("Hex Fingerprint: ")) == (0, 2)


def test_a_missing_key(wine: Wine, authority: CertificateAuthority) -> None:
    """A certificate whose container is gone: the error says what Windows said, and what to do."""
    container = wine.install(authority.issue("app", key_type="rsa-2048"))
    wine.waiting.append({"do": "remove_container", "container": container})

    answer = wine.ask("load", reference="store:")

    assert answer["error"] == "PrivateKeyLoadError"
    assert "store:: Windows does not give the private key: " in answer["message"]
    assert "import the certificate with its key again" in answer["message"]


def test_no_such_store(wine: Wine) -> None:
    """A store that is not there is named, with Windows' reason."""
    answer = wine.ask("load", reference="store:CurrentUser/NoSuchStore")

    assert answer["error"] == "CertificateLoadError"
    assert "store:CurrentUser/NoSuchStore: " in answer["message"]


def test_an_empty_store(wine: Wine) -> None:
    """A store without certificates with keys says so."""
    answer = wine.ask("load", reference="store:")

    assert answer["error"] == "CertificateLoadError"
    assert "there is no certificate with a private key" in answer["message"]
