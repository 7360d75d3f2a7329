"""The flags of AWS's helper: taken as the migration page says (for stores: test_store_flags.py)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import role_flags

from rolesanywhere_auth import cli
from rolesanywhere_auth._flag_values import config_of, passphrase_of
from rolesanywhere_auth._flags import EXCLUSIVE
from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.secrets import SecretReference
from rolesanywhere_auth.testing import CertificateAuthority, Emulator

# `aws_signing_helper` 1.8, by its source.
SIGN_IN = (
    *("role-arn", "profile-arn", "trust-anchor-arn", "session-duration", "region", "endpoint"),
    *("no-verify-ssl", "with-proxy", "debug", "certificate", "private-key", "intermediates"),
    *("cert-selector", "system-store-name", "use-latest-expiring-certificate", "pkcs11-lib"),
    *("reuse-pin", "tpm-key-password", "no-tpm-key-password", "role-session-name"),
    "pkcs8-password",
)
HELPER = {
    "credential-process": SIGN_IN,
    "update": (*SIGN_IN, "profile", "once"),
    "sign-string": (
        *("certificate", "private-key", "debug", "cert-selector", "system-store-name"),
        *("use-latest-expiring-certificate", "pkcs11-lib", "reuse-pin", "tpm-key-password"),
        *("no-tpm-key-password", "pkcs8-password", "format", "digest"),
    ),
    "read-certificate-data": (
        *("certificate", "cert-selector", "system-store-name", "pkcs11-lib", "debug"),
    ),
}
OF_STORES = frozenset({"cert-selector", "system-store-name", "use-latest-expiring-certificate"})
ROW = re.compile(r"^\| `(--[a-z0-9-]+)` \| (accepted|no effect) \|", re.MULTILINE)


@pytest.fixture(scope="module")
def page(repository: Path) -> dict[str, str]:
    """What the page says of each flag."""
    return dict(ROW.findall((repository / "docs/migration.md").read_text()))


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str | None]]:
    """A value of each flag that works with the emulator; None for switches."""
    with Emulator() as emulator:
        setup = emulator.set_up(accept_role_session_name=True)
        folder = tmp_path_factory.mktemp("aws")
        yield {
            "role-arn": setup.role_arn,
            "profile-arn": setup.profile_arn,
            "trust-anchor-arn": setup.trust_anchor_arn,
            "endpoint": setup.endpoint_url,
            "certificate": str(setup.certificate),
            "private-key": str(setup.private_key),
            "intermediates": str(setup.certificate),
            "session-duration": "900",
            "region": "eu-west-1",
            "role-session-name": "name",
            "cert-selector": "Key=x509Subject,Value=CN=app",
            "system-store-name": "MY",
            "pkcs11-lib": "/usr/lib/softhsm/libsofthsm2.so",
            "tpm-key-password": "x",
            "pkcs8-password": "x",
            "profile": "app",
            "format": "text",
            "digest": "SHA384",
            "folder": str(folder),
            **dict.fromkeys(("no-verify-ssl", "with-proxy", "debug", "reuse-pin", "once")),
            **dict.fromkeys(("no-tpm-key-password", "use-latest-expiring-certificate")),
        }


def test_the_page_has_every_flag(page: dict[str, str]) -> None:
    """Each flag of the helper's commands has its row, and there is no other."""
    of_serve = {"--port", "--hop-limit"}  # see tests/serve
    assert set(page) == {f"--{name}" for names in HELPER.values() for name in names} | of_serve


@pytest.mark.parametrize("command", HELPER)
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_flags_are_taken(
    command: str,
    values: dict[str, str | None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each flag alone, added to what the command needs: it does its work, or has no effect."""
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{values['folder']}/credentials")
    needed = ["role-arn", "profile-arn", "trust-anchor-arn", "endpoint", "certificate"]
    needed = [*(name for name in needed if name in HELPER[command])]
    base = [
        f"--{name}={values[name]}" for name in [*needed, *["private-key"] * ("sign" in command)]
    ]
    if "role-arn" in HELPER[command]:
        base.append(f"--private-key={values['private-key']}")
    if command == "update":
        base.append("--once")
    for name in HELPER[command]:
        if name in OF_STORES:
            continue
        given = (
            [] if name in needed else [f"--{name}={values[name]}" if values[name] else f"--{name}"]
        )
        status = cli.main([command, *base, *given])
        _, err = capsys.readouterr()
        assert (status, name in err) == (0, False), (name, err)


def test_help_names_what_works(command: list[str], page: dict[str, str]) -> None:
    """--help has every flag."""
    done = subprocess.run(
        [*command, "update", "--help"], capture_output=True, text=True, check=True
    )
    shown = set(re.findall(r"--[a-z0-9-]+", done.stdout))
    assert shown >= {name for name in page if name[2:] in HELPER["update"]}


@pytest.mark.parametrize("pair", EXCLUSIVE, ids="x".join)
def test_contradictions(
    pair: tuple[str, str], values: dict[str, str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two flags of which one at most makes sense are one line that names both."""
    needed = ("role-arn", "profile-arn", "trust-anchor-arn")
    given = [f"{name}={values.get(name[2:]) or 'true'}" for name in pair]
    for switch in ("--no-tpm-key-password", "--use-latest-expiring-certificate"):
        given = [each.replace(f"{switch}=true", switch) for each in given]
    arguments = ["credential-process", *(f"--{name}={values[name]}" for name in needed), *given]
    assert cli.main(arguments) == 1
    expected = f"rolesanywhere-auth: give {pair[0]} or {pair[1]}, not both\n"
    assert capsys.readouterr().err == expected


def test_switches_take_a_value(
    values: dict[str, str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    """As in Go, a switch may be followed by =true or =false, and by nothing else."""
    arguments = ["sign-string", f"--private-key={values['private-key']}"]
    assert cli.main([*arguments, "--debug=false", "--reuse-pin=T"]) == 0
    assert json.loads(capsys.readouterr().out)
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, "--debug=perhaps"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "argument --debug: it is neither true nor false" in said
    assert "perhaps" not in said  # it may be a password


def test_no_certificate(values: dict[str, str | None], capsys: pytest.CaptureFixture[str]) -> None:
    """Without --certificate there is one line that asks for it."""
    needed = ("role-arn", "profile-arn", "trust-anchor-arn")
    assert cli.main(["credential-process", *(f"--{name}={values[name]}" for name in needed)]) == 1
    assert "--certificate is missing" in capsys.readouterr().err


MODULE = "/usr/lib/x y.so"
PATH = "module-path=/usr/lib/x%20y.so"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("pkcs11:token=a", f"pkcs11:token=a?{PATH}"),
        (
            "PKCS11:token=a?pin-source=/p",
            f"PKCS11:token=a?pin-source=/p&{PATH}",
        ),
        ("pkcs11:object=b?module-name=softhsm2", "pkcs11:object=b?module-name=softhsm2"),
        (
            "pkcs11:object=b?pin-source=/p&module-path=/m",
            "pkcs11:object=b?pin-source=/p&module-path=/m",
        ),
        ("/etc/pki/app.pem", "/etc/pki/app.pem"),
    ],
)
def test_the_module_goes_into_the_uri(
    reference: str, expected: str, values: dict[str, str | None]
) -> None:
    """--pkcs11-lib is the module-path of every pkcs11: reference that names none itself."""
    needed = ("role-arn", "profile-arn", "trust-anchor-arn")
    options = cli.parser("credential-process").parse_args(
        [
            "credential-process",
            *(f"--{name}={values[name]}" for name in needed),
            *(f"--certificate={reference}", f"--private-key={reference}", f"--pkcs11-lib={MODULE}"),
        ]
    )
    config = config_of(options)
    assert (config.certificate, config.private_key) == (expected, expected)


def test_where_secrets_come_from() -> None:
    """The text itself, a file, or any reference; a malformed one is not shown."""

    def found(*given: str) -> object:
        return passphrase_of(cli.parser("sign-string").parse_args(["sign-string", *given]))

    assert found() is None
    assert found("--pkcs8-password=") is None
    assert found("--pkcs8-password=a") == "a"
    assert found("--tpm-key-password=a") == "a"
    assert found("--passphrase-file=/x") == SecretReference("file:/x")
    assert found("--passphrase-from=env:X") == SecretReference("env:X")
    with pytest.raises(ConfigurationError, match="--passphrase-from") as caught:
        found("--passphrase-from=s3cret")
    assert "s3cret" not in str(caught.value)


def test_a_descriptor_has_the_passphrase(
    values: dict[str, str | None], tmp_path: Path, command: list[str]
) -> None:
    """The passphrase comes through a pipe, and is in no argument list."""
    key = tmp_path / "secret.key"
    subprocess.run(
        [
            *("openssl", "pkcs8", "-topk8", "-in", str(values["private-key"]), "-out", str(key)),
            *("-passout", "pass:s3cret"),
        ],
        check=True,
    )
    script = 'exec 3<<<"s3cret"; exec "$@" --passphrase-from fd:3'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command, "sign-string", "--private-key", str(key)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)


def test_a_token_signs_in_by_the_helpers_flags(tmp_path: Path, command: list[str]) -> None:
    """Certificate and key in SoftHSM, the module by --pkcs11-lib, the PIN from the environment."""
    backends = pytest.importorskip("backends.softhsm")
    missing = backends.Store.missing()
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    store = backends.Store(tmp_path)
    authority = CertificateAuthority()
    reference = store.make("ec-p256", authority).certificate.partition("?")[0]
    with Emulator() as emulator:
        setup = emulator.set_up(authority=authority)
        sign_in = role_flags(setup)
        key = ("--certificate", reference, "--pkcs11-lib", backends.MODULE, "--passphrase-from")
        environment = {**os.environ, **store.environment(), "THE_PIN": backends.PIN}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        for arguments in (
            ("credential-process", *sign_in, *key, "env:THE_PIN", "--reuse-pin"),
            ("sign-string", *key, "env:THE_PIN"),
            ("read-certificate-data", *key, "env:THE_PIN"),
        ):
            done = subprocess.run(
                [*command, *arguments], capture_output=True, text=True, check=False, env=environment
            )
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout
        assert len(emulator.events) == 1
