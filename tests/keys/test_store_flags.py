"""The flags of AWS's helper for operating systems' stores: the whole way to credentials."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import role_flags
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from backends import store_class
from backends.os_fake import FakeStore, soon
from rolesanywhere_auth import ConfigurationError, RolesAnywhereConfig, cli
from rolesanywhere_auth._flag_values import key_source, sources
from rolesanywhere_auth.testing import Emulator
from rolesanywhere_auth.testing._setup import Setup
from rolesanywhere_auth.testing.authority import Leaf

PLATFORMS = {"win32": "windows_fake", "darwin": "macos_fake"}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """Where certificates sign in."""
    with Emulator() as started:
        yield started


@pytest.fixture(scope="module")
def setup(emulator: Emulator) -> Setup:
    """A role for the certificates of its authority."""
    return emulator.set_up()


@pytest.fixture(params=PLATFORMS)
def store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[FakeStore]:
    """Windows' store or the Keychain, on what then is such a system."""
    make = store_class(PLATFORMS[request.param])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", request.param)
        made = make(tmp_path)
        assert isinstance(made, FakeStore)
        yield made
        made.stop()


@pytest.fixture(scope="module")
def leaves(setup: Setup) -> tuple[Leaf, ...]:
    """The first two have one subject; the second expires later."""
    names = [("app", 10), ("app", 20), ("other", 30)]
    return tuple(
        setup.authority.issue(name, organization="Example", not_valid_after=soon(days))
        for name, days in names
    )


@pytest.fixture
def filled(store: FakeStore, leaves: tuple[Leaf, ...]) -> tuple[Leaf, ...]:
    """They are in the store."""
    for each in leaves:
        store.add(each)
    return leaves


@pytest.fixture
def role(setup: Setup) -> list[str]:
    """The flags for the role, and none for the certificate."""
    return role_flags(setup)


def by_serial(leaf: Leaf) -> str:
    """The selector that has one certificate alone."""
    issuer = leaf.certificate.issuer.rfc4514_string()
    return f"Key=x509Issuer,Value={issuer} Key=x509Serial,Value={leaf.serial_number:X}"


CASES: dict[str, tuple[Callable[[Leaf, Path], list[str]], int]] = {
    "serial": (lambda leaf, _: ["--cert-selector", by_serial(leaf)], 0),
    "newest": (
        lambda *_: [
            *("--cert-selector", "Key=x509Subject,Value=CN=app,O=Example"),
            "--use-latest-expiring-certificate",
        ],
        1,
    ),
    "go": (lambda *_: ["--cert-selector=Key=x509Subject,Value=CN=other,O=Example"], 2),
    "json": (
        lambda *_: ["--cert-selector", '[{"Key": "x509Subject", "Value": "CN=other,O=Example"}]'],
        2,
    ),
    "file": (lambda leaf, folder: ["--cert-selector", selector_file(leaf, folder)], 0),
    "name": (lambda *_: ["--system-store-name", "my", "--use-latest-expiring-certificate"], 2),
    "all": (lambda *_: ["--use-latest-expiring-certificate"], 2),
    "reference": (
        lambda *_: [
            *("--certificate", "store:?subject-includes=CN=app"),
            "--use-latest-expiring-certificate",
        ],
        1,
    ),
    "twice": (
        lambda *_: [
            *("--certificate", "store:?newest=true&subject-includes=CN=app"),
            "--use-latest-expiring-certificate",
        ],
        1,
    ),
}
"""Flags, and which certificate they mean."""


def selector_file(leaf: Leaf, folder: Path) -> str:
    """A selector in a file."""
    file = folder / "selector.json"
    file.write_text(json.dumps([{"Key": "x509Serial", "Value": f"{leaf.serial_number:x}"}]))
    return f"file://{file}"


@pytest.mark.parametrize("case", CASES)
def test_the_certificate_that_is_meant_signs_in(
    case: str,
    filled: tuple[Leaf, ...],
    role: list[str],
    emulator: Emulator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the command, and by reading the command line of a profile."""
    make, index = CASES[case]
    flags = make(filled[index], tmp_path)

    status = cli.main(["credential-process", *role, *flags])
    out, err = capsys.readouterr()

    assert (status, err) == (0, "")
    assert json.loads(out)["AccessKeyId"].startswith("ASIA")
    assert emulator.events[-1].serial_number == str(filled[index].serial_number)
    words = ["aws_signing_helper", "credential-process", *role, *flags]
    join = subprocess.list2cmdline if sys.platform == "win32" else shlex.join
    config = RolesAnywhereConfig.from_credential_process(command_line=join(words))
    assert str(config.certificate).startswith("store:")
    assert config.private_key is None


def test_no_flag_at_all_means_the_store(
    store: FakeStore,
    leaves: tuple[Leaf, ...],
    role: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As with the helper; several certificates are an error that lists them."""
    store.add(leaves[0])
    assert cli.main(["credential-process", *role]) == 0
    assert json.loads(capsys.readouterr().out)
    assert cli.main(["sign-string", "--format", "text"]) == 0
    bytes.fromhex(capsys.readouterr().out)

    store.add(leaves[2])
    assert cli.main(["credential-process", *role]) == 1
    assert "2 certificates fit" in capsys.readouterr().err


def test_a_key_without_its_certificate_is_no_store(
    store: FakeStore, role: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Who gives a key file has forgotten the certificate's."""
    assert cli.main(["credential-process", *role, "--private-key", "app.key"]) == 1
    assert "--certificate is missing" in capsys.readouterr().err


def test_certificates_are_listed(
    filled: tuple[Leaf, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """read-certificate-data shows all that fit, in the helper's form, so that one can choose."""
    wanted = {
        (): filled,
        ("--cert-selector", "Key=x509Subject,Value=CN=app,O=Example"): filled[:2],
        ("--system-store-name", "MY", "--cert-selector", by_serial(filled[2])): filled[2:],
        ("--certificate", "store:?subject-includes=CN=app&newest=true"): filled[:2],
        ("--cert-selector", "Key=x509Subject,Value=CN=nobody"): (),
    }
    for flags, leaves in wanted.items():
        assert cli.main(["read-certificate-data", *flags]) == 0
        out = capsys.readouterr().out
        shown = [f"Hex Fingerprint: {sha1(each)}\n" for each in leaves]
        assert [each in out for each in shown] == [True] * len(leaves)
        assert out.count("Hex Fingerprint") == len(leaves)
        assert out.startswith("Matching identities\n" if leaves else "No matching identities\n")


def test_an_odd_certificate_is_listed_too(
    store: FakeStore, leaves: tuple[Leaf, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Stores hold such: a name that cannot be read does not keep the others from being shown."""
    der = leaves[0].certificate.public_bytes(Encoding.DER)
    broken = der.replace(b"\x0c\x03app", b"\x0c\x03\xff\xff\xff")  # no UTF-8
    assert broken != der
    store.entries.append(store.entry(broken, leaves[0].private_key))
    store.add(leaves[2])

    assert cli.main(["read-certificate-data"]) == 0
    out = capsys.readouterr().out
    assert out.count("Hex Fingerprint") == 2
    assert f"Hex Fingerprint: {sha1(leaves[2])}\n" in out
    assert f"Subject: (unreadable subject, serial number {leaves[0].serial_number:x})\n" in out


def sha1(leaf: Leaf) -> str:
    """As openssl x509 -fingerprint has it, but for the colons."""
    parsed = x509.load_der_x509_certificate(leaf.certificate.public_bytes(Encoding.DER))
    return parsed.fingerprint(hashes.SHA1()).hex()


def options(command: str, *flags: str) -> Any:
    """What argparse makes of flags."""
    return cli.parser(command).parse_args([command, *flags])


def test_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is the same on all systems, but for the name of a store."""
    for platform, place in (("win32", "CurrentUser/My Store%3F"), ("darwin", "")):
        monkeypatch.setattr(sys, "platform", platform)
        found = options(
            "sign-string",
            *("--cert-selector", "Key=x509Serial,Value=1F", "--system-store-name", "My Store?"),
            "--use-latest-expiring-certificate",
        )
        assert key_source(found) == f"store:{place}?serial=1F&newest=true"
        assert sources(found) == (f"store:{place}?serial=1F&newest=true", None)
        assert sources(options("read-certificate-data")) == ("store:", None)


def test_files_have_no_newest() -> None:
    """The flag is for stores: a file's certificate is the one that it is, as with the helper."""
    flags = ("--certificate", "app.pem", "--use-latest-expiring-certificate")
    assert sources(options("sign-string", *flags)) == ("app.pem", None)


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("Key=x509Name,Value=CN=app", "'x509Name' is not among"),
        ("CN=app", "cert selector 'CN=app': write Key=x509Subject,Value=CN=app"),
        ("[1]", "cert selector: it cannot be used"),
        ("file://nowhere.json", "nowhere.json cannot be used"),
    ],
)
def test_a_selector_that_makes_no_sense(selector: str, said: str) -> None:
    """The error says what to write."""
    with pytest.raises(ConfigurationError) as caught:
        sources(options("read-certificate-data", "--cert-selector", selector))
    assert said in str(caught.value)


def test_a_system_without_a_store(
    role: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There the error says what there is instead."""
    monkeypatch.setattr(sys, "platform", "linux")
    flags = ["--cert-selector", "Key=x509Serial,Value=1F"]
    assert cli.main(["credential-process", *role, *flags]) == 1
    assert "has no certificate store that holds keys" in capsys.readouterr().err
