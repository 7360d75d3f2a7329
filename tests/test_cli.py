"""The command line: the Go helper's flags for files and its JSON; each test a real process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from commands import sign_in_flags

from rolesanywhere_auth import __version__, cli
from rolesanywhere_auth.cli import demo
from rolesanywhere_auth.testing import Emulator
from rolesanywhere_auth.testing._setup import Setup


def flags(setup: Setup) -> list[str]:
    """The flags that sign in with *setup*."""
    return ["credential-process", *sign_in_flags(setup)]


def test_prints_what_credential_process_expects(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """One JSON object with the protocol's members on standard output, nothing on the other."""
    status = cli.main([*flags(emulator.set_up()), "--session-duration", "1800"])

    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert status == 0
    assert err == ""
    assert list(answer) == [
        "Version",
        "AccessKeyId",
        "SecretAccessKey",
        "SessionToken",
        "Expiration",
    ]
    assert answer["Version"] == 1
    assert answer["AccessKeyId"].startswith("ASIA")
    assert answer["Expiration"].endswith("Z")
    assert emulator.events[0].duration_seconds == 1800


def test_as_a_process(emulator: Emulator, command: list[str]) -> None:
    """``python -m rolesanywhere_auth`` is the same command."""
    done = subprocess.run(
        [*command, *flags(emulator.set_up())], capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout)["Version"] == 1


def test_interrupted_command_says_nothing(emulator: Emulator, command: list[str]) -> None:
    """Ctrl-C while the service takes its time ends in 130, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        running = subprocess.Popen(
            [*command, *flags(emulator.set_up()), "--endpoint", endpoint],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with server.accept()[0] as connection:
            assert connection.recv(1)
            running.send_signal(signal.SIGINT)
            said = running.communicate(timeout=30)

    assert (running.returncode, said) == (130, (b"", b""))


def test_reader_that_hangs_up(emulator: Emulator, command: list[str]) -> None:
    """Like other commands before ``head``, it ends without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*command, *flags(emulator.set_up())],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)

    assert (done.returncode, done.stderr) == (1, b"")


def test_intermediates_name_and_region_are_passed_on(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """--intermediates, --role-session-name, --region and --with-proxy mean what the helper's do."""
    from rolesanywhere_auth.testing import CertificateAuthority

    root = CertificateAuthority("Root")
    setup = emulator.set_up(
        authority=root.intermediate(), anchor=root, accept_role_session_name=True
    )
    assert setup.chain

    status = cli.main(
        [
            *flags(setup),
            *("--intermediates", str(setup.chain)),
            *("--role-session-name", "host-42"),
            *("--region", "eu-west-1"),
            "--with-proxy",
        ]
    )

    assert status == 0, capsys.readouterr().err
    assert emulator.events[0].role_session_name == "host-42"


@pytest.mark.parametrize(
    ("way", "value"),
    [
        ("--passphrase-file", "passphrase"),
        ("--pkcs8-password", "s3cret"),
        ("--passphrase-from", "env:KEY_PASSPHRASE"),
    ],
)
def test_passphrase(
    way: str,
    value: str,
    emulator: Emulator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An encrypted key opens with a passphrase file, a reference, or the helper's own flag."""
    monkeypatch.setenv("KEY_PASSPHRASE", "s3cret")
    monkeypatch.chdir(tmp_path)
    setup = emulator.set_up()
    key = tmp_path / "encrypted.key"
    key.write_text(setup.leaf.encrypted_private_key_pem("s3cret"))
    file = tmp_path / "passphrase"
    file.write_text("s3cret\n")
    arguments = flags(setup)
    arguments[arguments.index("--private-key") + 1] = str(key)

    assert cli.main([*arguments, way, value]) == 0
    assert json.loads(capsys.readouterr().out)["Version"] == 1


def test_cache_serves_the_next_call(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --cache the second call needs no sign-in."""
    arguments = [*flags(emulator.set_up()), "--cache", str(tmp_path / "cache")]

    assert cli.main(arguments) == 0
    first = capsys.readouterr().out
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == first
    assert len(emulator.events) == 1


def test_wrong_input_is_one_line_and_status_1(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot work is one line on standard error that names file or setting, and status 1."""
    setup = emulator.set_up()
    missing = tmp_path / "gone.pem"
    arguments = flags(setup)
    arguments[arguments.index("--certificate") + 1] = str(missing)
    cases = {
        str(missing): arguments,
        "not both": [*flags(setup), "--passphrase-file", "x", "--pkcs8-password", "y"],
        "No such file": [*flags(setup), "--passphrase-file", str(missing)],
        "PIN is not set": [*flags(setup), "--passphrase-from", "env:PIN"],
        "--passphrase-from: neither env:NAME": [*flags(setup), "--passphrase-from", "hunter2"],
        "900 to 43200": [*flags(setup), "--session-duration", "5"],
    }
    for text, given in cases.items():
        assert cli.main(given) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith("rolesanywhere-auth: ")
        assert text in err
    assert emulator.events == []


def test_refusal_of_the_service_is_explained(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service's own words, and what is known to cause them."""
    setup = emulator.set_up()
    emulator.revoke(setup.leaf)

    assert cli.main(flags(setup)) == 1
    err = capsys.readouterr().err
    assert "Certificate revoked" in err
    assert "CRL" in err


def test_debug_shows_no_secret(emulator: Emulator, command: list[str]) -> None:
    """--debug logs to standard error; the credentials are on standard output alone."""
    done = subprocess.run(
        [*command, *flags(emulator.set_up()), "--debug"],
        capture_output=True,
        text=True,
        check=True,
    )

    answer = json.loads(done.stdout)
    assert "rolesanywhere_auth.credentials" in done.stderr
    for name in ("SecretAccessKey", "SessionToken"):
        assert answer[name] not in done.stderr


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_no_verify_ssl(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """--no-verify-ssl goes through where the CA is unknown; without it the error helps."""
    arguments = [*flags(emulator.set_up()), "--endpoint", emulator.https_endpoint_url]

    assert cli.main(arguments) == 1
    assert "AWS_CA_BUNDLE" in capsys.readouterr().err
    assert cli.main([*arguments, "--no-verify-ssl"]) == 0


def test_version_and_usage(command: list[str]) -> None:
    """--version names the version; no command, or an unknown flag, is status 2 and one line."""
    shown = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"rolesanywhere-auth {__version__}\n"

    for wrong in ([], ["credential-process", "--role", "x"]):
        done = subprocess.run([*command, *wrong], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("rolesanywhere-auth")
        assert done.stderr.endswith(" --help)\n")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        (["--passphrse", "hunter2"], "--passphrse, 1 value (not shown)"),
        (["--passphrse=hunter2"], "--passphrse"),
        (["-phunter2", "--x", "--x"], "-p, --x"),
        (["hunter2", "hunter2"], "2 values (not shown)"),
        (["--private-kye", "-----BEGIN PRIVATE KEY-----\nhunter2=\n"], "--private-kye, 1 value"),
        (["--a hunter2", "--HUNTER=hunter2"], "2 values (not shown)"),
    ],
)
@pytest.mark.parametrize("verb", ["serve", "doctor", "read-certificate-data"])
def test_what_stands_behind_an_unknown_flag_is_not_shown(
    wrong: list[str], shown: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be a password, and standard error a log."""
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main([verb, "--certificate", "c.pem", *wrong])

    said = capsys.readouterr().err
    assert f"rolesanywhere-auth: unrecognized arguments: {shown}" in said
    assert said.endswith(" (see rolesanywhere-auth --help)\n")
    assert "hunter2" not in said


@pytest.mark.parametrize("wrong", [["--pkcs8-password", "hunter2", "serve"], ["hunter2"]])
def test_what_stands_before_the_command_is_not_shown(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is what takes its place."""
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(wrong)

    said = capsys.readouterr().err
    assert said.startswith("rolesanywhere-auth: the command comes first; it is one of certificate,")
    assert "hunter2" not in said


def test_demo_runs(command: list[str]) -> None:
    """It ends in 0 and tells the whole story on stdout, whatever AWS settings the machine has."""
    settings = {
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_PROFILE": "no-such-profile",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
    }

    done = subprocess.run(
        [*command, "demo"], capture_output=True, text=True, check=False, env=os.environ | settings
    )

    assert (done.returncode, done.stderr) == (0, "")
    for text in (
        "assumed-role/demo/",
        "from outside AWS",
        "AccessDenied, as the role does not allow it",
        "HTTP 403 AccessDeniedException: Certificate revoked",
        "ERROR: renewal failed",
    ):
        assert text in done.stdout
    (serial,) = re.findall(r"serial number \(hex\) +([0-9a-f]+)\n", done.stdout)
    assert re.search(rf"assumed-role/demo/0?{serial}\n", done.stdout)
    assert re.findall(r"sign-ins so far +(\d)\n", done.stdout) == ["0", "1", "1", "2"]
    (calls,) = re.findall(r"calls, none of them lost +(\d+)\n", done.stdout)
    assert int(calls) >= 8 * 5
    steps = re.findall(r"^(\d)\. ", done.stdout, re.MULTILINE)
    assert steps == [str(number) for number in range(1, 9)]


def test_demo_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are back when the demo is over."""
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    before = dict(os.environ)

    with demo._no_settings():
        assert "AWS_REGION" not in os.environ
    assert dict(os.environ) == before


def test_demo_fails_when_something_is_wrong() -> None:
    """A call that fails, no renewal, and a refusal that does not come: each ends the demo."""

    def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        demo._call_until(fail, lambda: False)
    with pytest.raises(RuntimeError, match="not renewed"):
        demo._call_until(lambda: None, lambda: False, patience=0)
    with pytest.raises(RuntimeError, match="refused with ValueError"):
        demo._refusal(ValueError, lambda: None)


def test_demo_without_moto_names_the_extra(tmp_path: Path, command: list[str]) -> None:
    """Without the testing extra the demo says what to install."""
    (tmp_path / "moto.py").write_text("raise ImportError('hidden by the test')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}

    done = subprocess.run(
        [*command, "demo"], capture_output=True, text=True, check=False, env=environment
    )

    assert done.returncode == 1
    assert "pip install 'rolesanywhere-auth[testing]'" in done.stderr
