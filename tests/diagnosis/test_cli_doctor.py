"""``rolesanywhere-auth doctor``: where the set-up comes from, the forms of output, exit codes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import Any

import pytest
from bench import ADMINISTRATOR, Bench
from moto.sts.models import sts_backends

from rolesanywhere_auth import cli
from rolesanywhere_auth.testing._setup import Setup


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The report as JSON, with the exit status."""
    status = cli.main(["doctor", "--format", "json", *arguments])
    out, err = capsys.readouterr()
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    assert status == (0 if found["ok"] else 1)
    return {**found, **{check["name"]: check for check in found["checks"]}}


def flags(setup: Setup, **changes: str) -> list[str]:
    """The flags of credential-process."""
    given = {
        "trust-anchor-arn": setup.trust_anchor_arn,
        "profile-arn": setup.profile_arn,
        "role-arn": setup.role_arn,
        "certificate": str(setup.certificate),
        "private-key": str(setup.private_key),
        "endpoint": setup.endpoint_url,
        **changes,
    }
    return [f"--{name}={value}" for name, value in given.items()]


def test_flags_describe_a_set_up(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """The flags of credential-process are enough; the session lasts as long by default."""
    found = report(capsys, *flags(bench.set_up()))

    assert found["ok"]
    assert found["configuration"]["evidence"].startswith("from the flags: the role arn:aws:iam")
    assert found["session"]["facts"]["lifetime_seconds"] > 3500


def test_duration_of_the_flags(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """--session-duration is what is asked for."""
    found = report(capsys, *flags(bench.set_up()), "--session-duration", "1200")

    assert 1100 < found["session"]["facts"]["lifetime_seconds"] <= 1200


def test_contradicting_flags_are_a_failure(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """What credential-process refuses to begin with is said by the first check."""
    found = report(capsys, *flags(bench.set_up()), "--pkcs8-password=a", "--tpm-key-password=b")

    assert found["first_failure"] == "configuration"
    assert found["configuration"]["evidence"].startswith("give --pkcs8-password or --tpm-key")


def test_selector_of_a_store(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """The helper's selectors name a certificate too, also in place of a profile's files."""
    setup = bench.set_up()
    bench.configure(bench.settings())
    selector = "--cert-selector=Key=x509Subject,Value=CN=app"
    arns = [flag for flag in flags(setup) if "-arn=" in flag]

    for given, origin in ((arns, "the flags"), (["--profile=app"], "the profile app")):
        found = report(capsys, *given, selector)
        assert found["configuration"]["evidence"].startswith(f"from {origin}")
        assert found["certificate"]["status"] == "fail"
        assert "store:" in found["certificate"]["evidence"]
        assert "app.key" not in json.dumps(found)


def test_environment_describes_a_set_up(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Without flags and profile the variables count."""
    for name, value in bench.settings().items():
        bench.monkeypatch.setenv(f"ROLESANYWHERE_{name.upper()}", str(value))

    found = report(capsys)

    assert found["ok"]
    assert found["configuration"]["evidence"].startswith("from profile and environment")


def test_nothing_describes_a_set_up(capsys: pytest.CaptureFixture[str]) -> None:
    """That is the first failure, and everything else waits for it."""
    found = report(capsys)

    assert found["first_failure"] == "configuration"
    assert "has no block `rolesanywhere =`" in found["configuration"]["evidence"]
    assert {check["status"] for check in found["checks"][1:]} == {"skipped"}


@pytest.mark.parametrize("program", ["aws_signing_helper", "rolesanywhere-auth"])
def test_profile_with_a_credential_process(
    bench: Bench, capsys: pytest.CaptureFixture[str], program: str
) -> None:
    """The command of a profile is examined, and not run."""
    line = " ".join([program, "credential-process", *flags(bench.set_up())])
    bench.configure(f"[profile app]\ncredential_process = {line}\n")

    assert report(capsys, "--profile", "app")["ok"]


def test_flags_go_over_a_profile(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Each flag replaces one setting; the Region follows the trust anchor."""
    bench.configure(
        bench.settings(
            trust_anchor_arn="arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/x",
            profile_arn="arn:aws:rolesanywhere:us-east-1:111122223333:profile/x",
            region="us-east-1",
        )
    )
    bench.monkeypatch.setenv("KEY_PASSPHRASE", "sesame-open")
    setup = bench.set_up()
    key = bench.write("other.key", setup.leaf.encrypted_private_key_pem("sesame-open"))
    given = flags(setup, endpoint=bench.emulator.https_endpoint_url, **{"private-key": key})
    given.remove(f"--role-arn={setup.role_arn}")

    found = report(
        capsys, "--profile=app", *given, "--passphrase-from=env:KEY_PASSPHRASE", "--no-verify-ssl"
    )

    assert found["arns"]["evidence"].startswith("account 111122223333, Region eu-west-1")
    assert found["private-key"]["evidence"] == f"P-256, in {key}"
    assert found["tls"]["status"] == "warn"
    assert found["sign-in"]["status"] == "fail"  # the profile's role is another anchor's


def test_unknown_profiles(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A profile that is not there is named, of the set-up and of the administrator."""
    bench.configure(bench.settings())

    found = report(capsys, "--profile", "ap")
    assert "there is no profile ap in" in found["configuration"]["evidence"]
    assert found["configuration"]["fix"] == "did you mean app?"

    found = report(capsys, "--profile", "app", "--as", "nobody")
    assert found["first_failure"] == "administrator"
    assert "(nobody)" in found["administrator"]["evidence"]


def test_strict_makes_warnings_count(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate with few days left fails a health check that asks for more."""
    given = flags(bench.set_up())

    assert cli.main(["doctor", *given, "--strict"]) == 0
    assert cli.main(["doctor", *given, "--expiry-days", "365.5"]) == 0
    assert cli.main(["doctor", *given, "--expiry-days", "365.5", "--strict"]) == 1
    assert "WARN  validity" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["--format=xml", "--expiry-days=soon", "--no-such-flag"])
def test_wrong_arguments(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They end in 2, and nothing is examined."""
    with pytest.raises(SystemExit) as exited:
        cli.main(["doctor", wrong])

    assert exited.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("setting", "colour"), [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)]
)
def test_colour_on_a_terminal(command: list[str], setting: dict[str, str], colour: bool) -> None:
    """A terminal gets colours, unless NO_COLOR is set to something."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*command, "doctor"],
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={**os.environ, **setting},
            check=False,
        )
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)

    assert (done.returncode, done.stderr) == (1, b"")
    assert ("\x1b[31;1mFAIL\x1b[0m  configuration" in shown) == colour
    assert ("\x1b" in shown) == colour


def test_no_log_holds_a_secret(bench: Bench, command: list[str]) -> None:
    """At DEBUG, with an administrator and STS, in a process of its own: nothing of either's."""
    setup = bench.set_up()
    key = setup.leaf.encrypted_private_key_pem("sesame-open")
    settings = bench.settings(
        setup, private_key=bench.write("e.key", key), passphrase="env:KEY_PASSPHRASE"
    )
    bench.configure(settings, administrator=True)

    done = subprocess.run(
        [*command, "doctor", "--profile", "app", "--as", ADMINISTRATOR, "--debug"],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "KEY_PASSPHRASE": "sesame-open",
            "AWS_ENDPOINT_URL_STS": bench.emulator.aws_endpoint_url,
        },
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass  caller-identity" in done.stdout
    assert "botocore" in done.stderr  # something was logged
    sessions = sts_backends["111122223333"]["aws"].assumed_roles
    assert sessions
    secrets = [value for s in sessions for value in (s.secret_access_key, s.session_token)]
    private = "".join(setup.leaf.private_key_pem.splitlines()[1:-1])
    for secret in (*secrets, bench.keys[1], "sesame-open", "PRIVATE KEY", private[:40]):
        assert secret not in done.stdout + done.stderr


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """--help says what the exit codes mean, and has the flags of credential-process."""
    with pytest.raises(SystemExit):
        cli.main(["doctor", "--help"])

    text = " ".join(capsys.readouterr().out.split())
    assert "Exits with 0 if all is well, 1 if a check failed, 2 if the arguments are wrong" in text
    for flag in ("--as PROFILE", "--profile NAME", "--trust-anchor-arn ARN", "--passphrase-from"):
        assert flag in text
