"""``credential_process = aws_signing_helper …`` read in-process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rolesanywhere_auth import ConfigurationError, RolesAnywhereConfig

ANCHOR = "arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/a"
PROFILE = "arn:aws:rolesanywhere:eu-west-1:111122223333:profile/p"
ROLE = "arn:aws:iam::111122223333:role/app"
FLAGS = (
    f"--trust-anchor-arn {ANCHOR} --profile-arn={PROFILE} --role-arn {ROLE} "
    "--certificate '/etc/my pki/app.pem'"
)
LEAST = RolesAnywhereConfig(
    trust_anchor_arn=ANCHOR, profile_arn=PROFILE, role_arn=ROLE, certificate="/etc/my pki/app.pem"
)


def read(line: str) -> RolesAnywhereConfig:
    """The configuration of a command line."""
    return RolesAnywhereConfig.from_credential_process(command_line=line)


@pytest.mark.parametrize(
    "program",
    [
        "aws_signing_helper",
        "/usr/local/bin/aws_signing_helper",
        '"C:/Program Files/aws_signing_helper.exe"',
        "rolesanywhere-auth",
        "/opt/venv/bin/python3.11 -m rolesanywhere_auth",
    ],
)
def test_the_programs_that_are_known(program: str) -> None:
    """The helper and our own command, by whatever path."""
    assert read(f"{program} credential-process {FLAGS}") == LEAST


def test_every_flag_for_files() -> None:
    """The flags of the helper for files mean what they mean there."""
    config = read(
        f"aws_signing_helper credential-process {FLAGS} --private-key app.key "
        "--intermediates chain.pem --pkcs8-password hunter2 --session-duration 900 "
        "--role-session-name host-42 --region eu-west-1 --endpoint https://ra.example "
        "--no-verify-ssl --with-proxy --debug"
    )

    assert config == RolesAnywhereConfig(
        trust_anchor_arn=ANCHOR,
        profile_arn=PROFILE,
        role_arn=ROLE,
        certificate="/etc/my pki/app.pem",
        private_key="app.key",
        certificate_chain="chain.pem",
        passphrase="hunter2",
        session_duration=900,
        role_session_name="host-42",
        endpoint_url="https://ra.example",
        verify=False,
    )


def test_what_only_go_flags_understand() -> None:
    """Values of switches behind =, and empty values, which are the helper's defaults."""
    line = (
        f"aws_signing_helper credential-process {FLAGS} --no-verify-ssl=false --debug=T "
        "--pkcs8-password '' --private-key= --endpoint ''"
    )

    assert read(line) == LEAST


def test_our_own_cache_flag() -> None:
    """--cache of our command takes a folder or nothing."""
    start = "rolesanywhere-auth credential-process"

    assert read(f"{start} --cache {FLAGS}").cache is True
    assert read(f"{start} --cache /run/app {FLAGS}").cache == "/run/app"


def test_of_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile is found as botocore finds it."""
    path = tmp_path / "config"
    line = f"credential_process = aws_signing_helper credential-process {FLAGS}\n"
    path.write_text(f"[profile app]\n{line}[default]\n{line[:-1]} --session-duration 900\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))

    assert RolesAnywhereConfig.from_credential_process("app") == LEAST
    assert RolesAnywhereConfig.from_credential_process().session_duration == 900


def test_errors_name_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile without the setting, and one whose flags cannot work."""
    path = tmp_path / "config"
    path.write_text(
        "[profile none]\nregion = eu-west-1\n"
        f"[profile bad]\ncredential_process = aws_signing_helper credential-process {FLAGS} "
        "--session-duration 1\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))

    with pytest.raises(ConfigurationError, match=f"profile none in {path}: credential_process is"):
        RolesAnywhereConfig.from_credential_process("none")
    with pytest.raises(ConfigurationError, match=f"profile bad in {path}.*session_duration must"):
        RolesAnywhereConfig.from_credential_process("bad")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "does not begin with `aws_signing_helper"),
        ("vault read aws", "does not begin with `aws_signing_helper"),
        ("aws_signing_helper serve", "does not begin with `aws_signing_helper"),
        ("python3 -m http.server credential-process", "does not begin with"),
        ("aws_signing_helper credential-process 'a", "cannot be split: No closing quotation"),
        ("aws_signing_helper credential-process", "arguments are required: --trust-anchor-arn"),
        (f"aws_signing_helper credential-process {FLAGS} --nonsense 1", "--nonsense cannot be"),
        (f"aws_signing_helper credential-process {FLAGS} -h", "--help asks for no credentials"),
        (
            f"aws_signing_helper credential-process {FLAGS} --debug=maybe",
            "it is neither true nor false",
        ),
        (f"aws_signing_helper credential-process {FLAGS} --private-key", "expected one argument"),
        (f"aws_signing_helper credential-process {FLAGS} --session-duration 1h", "invalid int"),
    ],
)
def test_what_cannot_be_served(line: str, said: str) -> None:
    """Another command, a broken one, or one with unknown flags is an error that says which."""
    with pytest.raises(ConfigurationError, match=r"^command_line: ") as caught:
        read(line)
    assert said in str(caught.value)


def test_values_of_unknown_flags_are_not_shown() -> None:
    """One may be a password; so may a word that mangled quotes left over."""
    start = f"aws_signing_helper credential-process {FLAGS}"
    for rest in (
        "--secret-thing=hunter2",
        "--secret-thing hunter2",
        "--debug hunter2",
        "hunter2 hunter3",
    ):
        with pytest.raises(ConfigurationError) as caught:
            read(f"{start} {rest}")
        assert "hunter" not in str(caught.value)
    assert "2 words belong to no flag" in str(caught.value)


def test_profile_or_line() -> None:
    """Both at once is a mistake."""
    with pytest.raises(ConfigurationError, match="not both"):
        RolesAnywhereConfig.from_credential_process("app", command_line="x")


def test_nothing_below_the_commands_needs_them() -> None:
    """The line is read without the package of the command line, which stands on all else."""
    code = (
        "import sys; from rolesanywhere_auth import RolesAnywhereConfig\n"
        "RolesAnywhereConfig.from_credential_process(command_line=sys.argv[1])\n"
        "sys.exit('rolesanywhere_auth.cli' in sys.modules)"
    )
    line = f"aws_signing_helper credential-process {FLAGS}"
    subprocess.run([sys.executable, "-c", code, line], check=True)
