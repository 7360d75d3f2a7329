"""``rolesanywhere-auth serve``: flags, what it prints, and how it ends."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from children import running_process
from commands import sign_in_flags

from rolesanywhere_auth import ConfigurationError, cli
from rolesanywhere_auth.cli import serve
from rolesanywhere_auth.serve import CredentialServer
from rolesanywhere_auth.testing import Emulator


@pytest.fixture(scope="module")
def flags() -> Iterator[list[str]]:
    """Those that sign in at an emulator."""
    with Emulator() as emulator:
        yield sign_in_flags(emulator.set_up())


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder for what lives no longer than he is logged in."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    return folder


@pytest.fixture
def without_signals() -> Iterator[None]:
    """The handlers of signals are afterwards what they were."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    guarded = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) is guarded
    signal.signal(signal.SIGTERM, before)


def parsed(arguments: list[str]) -> Namespace:
    """The options."""
    return cli.parser("serve").parse_args(["serve", *arguments])


def run(arguments: list[str], export: Path, meanwhile: Callable[[dict[str, str]], object]) -> int:
    """Runs the command in this process, *meanwhile* beside it, and ends it by SIGTERM."""
    errors: list[BaseException] = []
    main = threading.current_thread()

    def other_program() -> None:
        try:
            end = time.monotonic() + 30
            while not export.exists():
                if time.monotonic() > end or not main.is_alive():
                    raise TimeoutError("the server did not start")
                time.sleep(0.01)
            lines = export.read_text().splitlines()
            words = [shlex.split(line)[1].split("=", 1) for line in lines]
            meanwhile(dict(words))
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=other_program)
    thread.start()
    try:
        status = cli.main(["serve", "--export", str(export), *arguments])
    finally:
        thread.join()
    if errors:
        raise errors[0]
    return status


def fetched(url: str, token_file: str) -> dict[str, Any]:
    """What a client gets."""
    request = urllib.request.Request(url, headers={"Authorization": Path(token_file).read_text()})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@pytest.mark.usefixtures("without_signals")
def test_it_serves_until_it_is_told_to_stop(
    flags: list[str], tmp_path: Path, runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exported variables lead to both roles; token files and export are gone afterwards."""
    role = flags[flags.index("--role-arn") + 1]
    export = tmp_path / "env"

    def use(variables: dict[str, str]) -> None:
        for suffix in ("", "_BATCH"):
            file = variables[f"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE{suffix}"]
            assert Path(file).parents[1] == runtime / "rolesanywhere-auth"
            url = variables[f"AWS_CONTAINER_CREDENTIALS_FULL_URI{suffix}"]
            assert fetched(url, file)["AccessKeyId"].startswith("ASIA")
        with urllib.request.urlopen(
            urllib.request.Request(
                f"{variables['AWS_EC2_METADATA_SERVICE_ENDPOINT']}/latest/api/token", method="PUT"
            )
        ) as answer:
            assert answer.status == 200

    status = run([*flags, "--port", "0", "--role", f"batch={role}"], export, use)

    assert status == 0
    assert not export.exists()
    assert not list((runtime / "rolesanywhere-auth").iterdir())
    out, err = capsys.readouterr()
    assert out == ""
    assert "answering at http://127.0.0.1:" in err
    assert "warning" not in err


@pytest.mark.usefixtures("without_signals", "runtime")
def test_other_addresses_come_with_a_warning(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And without IMDS, which would give credentials to whoever asks."""

    def use(variables: dict[str, str]) -> None:
        assert "AWS_EC2_METADATA_SERVICE_ENDPOINT" not in variables

    assert run([*flags, "--port", "0", "--host", "0.0.0.0"], tmp_path / "env", use) == 0
    assert "is not loopback" in capsys.readouterr().err


@pytest.mark.usefixtures("without_signals", "runtime")
def test_a_unix_socket(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It listens there, and there is no IMDS, which nobody could find."""
    path = tmp_path / "socket"

    def use(variables: dict[str, str]) -> None:
        assert path.is_socket()
        assert "AWS_EC2_METADATA_SERVICE_ENDPOINT" not in variables
        assert "serve-unix" in variables["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]

    assert run([*flags, "--unix-socket", str(path)], tmp_path / "env", use) == 0
    assert f"answering at {path}" in capsys.readouterr().err


@pytest.mark.usefixtures("runtime")
def test_as_a_service(flags: list[str], command: list[str], tmp_path: Path) -> None:
    """A process with systemd's socket and notification: ready, serving, stopped by SIGTERM."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        # one that is free, and not the 3 that systemd's protocol wants
        high = fcntl.fcntl(listener, fcntl.F_DUPFD, 50)
        start = f'export LISTEN_PID=$$ LISTEN_FDS=1; exec 3<&{high} {high}<&-; exec "$@"'
        with running_process(
            ["bash", "-c", start, "-", *command, "serve", *flags, "--debug"],
            env={
                **os.environ,
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "RUNTIME_DIRECTORY": str(tmp_path),
                "PYTHONUNBUFFERED": "1",
            },
            pass_fds=[high],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            os.close(high)
            assert manager.recv(100).startswith(b"READY=1")
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/credentials"
            found = fetched(url, str(tmp_path / "app.token"))
            token = (tmp_path / "app.token").read_text()
            process.terminate()
            assert manager.recv(100) == b"STOPPING=1"
            out, err = process.communicate(timeout=30)

    assert process.returncode == 0
    assert f"export AWS_CONTAINER_CREDENTIALS_FULL_URI={url}\n" in out
    assert f"export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE={tmp_path}/app.token\n" in out
    assert "answered 200" in err
    for secret in (found["SecretAccessKey"], found["Token"], token):
        assert secret not in out + err
    assert not (tmp_path / "app.token").exists()


@pytest.mark.usefixtures("runtime")
def test_what_cannot_work_is_one_line(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is taken, a role of another account, two of one name."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        for more, reason in (
            (["--port", port], f"cannot listen on 127.0.0.1 port {port}"),
            (["--role", "x=arn:aws:iam::999999999999:role/x"], "all must be in one account"),
            (["--role", "app=arn:aws:iam::111122223333:role/x"], "two roles are named 'app'"),
            (["--certificate", "/no/such/file"], "/no/such/file"),
        ):
            assert cli.main(["serve", *flags, "--port", "0", *more]) == 1
            out, err = capsys.readouterr()
            assert out == ""
            (line,) = err.splitlines()
            assert reason in line


@pytest.mark.usefixtures("runtime")
def test_a_failure_before_the_command_looks_is_told(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server's thread may have failed, and closed all, as soon as it began: why is said."""
    real = CredentialServer.begin

    def begin(self: CredentialServer) -> None:
        real(self)
        assert self._thread is not None
        self._thread.join()

    monkeypatch.setattr(CredentialServer, "begin", begin)
    assert cli.main(["serve", *flags, "--port", "0", "--certificate", "/no/such/file"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "/no/such/file" in line


@pytest.mark.usefixtures("without_signals", "runtime")
def test_a_service_that_takes_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for, however long, and nothing is exported before its answer."""
    export = tmp_path / "env"
    seen: list[tuple[bool, bool]] = []
    real = CredentialServer.await_ready

    with Emulator() as emulator, emulator.faults.hang() as fault:

        def await_ready(self: CredentialServer, seconds: float | None = None) -> bool:
            ready = real(self, seconds)
            seen.append((ready, export.exists()))
            if len(seen) == 2:
                fault.release()
            return ready

        def use(variables: dict[str, str]) -> None:
            url = variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
            file = variables["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
            assert fetched(url, file)["AccessKeyId"].startswith("ASIA")

        monkeypatch.setattr(CredentialServer, "await_ready", await_ready)
        assert run([*sign_in_flags(emulator.set_up()), "--port", "0"], export, use) == 0

    assert seen[:2] == [(False, False), (False, False)]
    assert (True, False) in seen


@pytest.mark.usefixtures("without_signals", "runtime")
def test_a_stop_while_the_service_hangs(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM before the first credentials ends it at once; an earlier run's export is gone."""
    export = tmp_path / "env"
    export.write_text("export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:1\n")
    with Emulator() as emulator, emulator.faults.hang() as fault:

        def stop() -> None:
            fault.wait_until_hit(timeout=30)
            os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=stop)
        thread.start()
        options = [*flags, "--port", "0", "--endpoint", emulator.endpoint_url]
        status = cli.main(["serve", *options, "--export", str(export)])
        thread.join()

    assert status == 0
    assert not export.exists()
    assert capsys.readouterr().out == ""


def test_a_server_that_ends_by_itself(
    flags: list[str], runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends with it."""
    seen: list[float | None] = []

    def await_ready(self: CredentialServer, seconds: float | None = None) -> bool:
        seen.append(seconds)
        if len(seen) > 1:
            raise ConfigurationError("gone")
        return real(self, 30)

    real = CredentialServer.await_ready
    monkeypatch.setattr(CredentialServer, "await_ready", await_ready)

    assert cli.main(["serve", *flags, "--port", "0"]) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--port", "65536"], "is no number from 0 to 65535"),
        (["--port", "x"], "is no number"),
        (["--hop-limit", "0"], "is no number from 1 to 255"),
        (["--token-lifetime", "9"], "is no number from 10"),
        (["--role", "x"], "is not NAME=ARN"),
        (["--role", "=x"], "is not NAME=ARN"),
    ],
)
def test_wrong_flags(
    flags: list[str], arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They end in 2, with what is wrong."""
    with pytest.raises(SystemExit) as caught:
        parsed([*flags, *arguments])

    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_the_helpers_flags_and_defaults(flags: list[str]) -> None:
    """Port 9911 as AWS's helper; what it calls by a name is called so here."""
    options = parsed([*flags, "--hop-limit", "2", "--session-duration", "900"])

    assert (options.port, options.hop_limit, options.session_duration) == (9911, 2, 900)
    assert parsed(flags).imds is None
    assert parsed([*flags, "--no-imds"]).imds is False


def test_roles_by_other_profiles(flags: list[str]) -> None:
    """A role's name may hold a comma; the profile behind it begins with arn."""
    profile = flags[flags.index("--profile-arn") + 1].rpartition("/")[0]
    options = parsed(
        [
            *flags,
            *("--name", "first"),
            *("--role", "a=arn:aws:iam::111122223333:role/x,y"),
            *("--role", f"b=arn:aws:iam::111122223333:role/x,{profile}/other"),
        ]
    )
    found = serve.roles_of(options)

    assert list(found) == ["first", "a", "b"]
    assert found["a"].role_arn.endswith("role/x,y")
    assert found["a"].profile_arn == found["first"].profile_arn
    assert found["b"].role_arn.endswith("role/x")
    assert found["b"].profile_arn.endswith("/other")


@pytest.fixture
def profiles(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A config file with two profiles, the second of another role; the settings of the first."""
    values = dict(zip(flags[::2], flags[1::2], strict=True))
    settings = {
        "trust_anchor_arn": values["--trust-anchor-arn"],
        "profile_arn": values["--profile-arn"],
        "role_arn": values["--role-arn"],
        "certificate": values["--certificate"],
        "private_key": values["--private-key"],
        "endpoint_url": values["--endpoint"],
    }
    file = tmp_path / "config"
    with file.open("w") as text:
        for name, role in (("one", settings["role_arn"]), ("two", f"{settings['role_arn']}-two")):
            text.write(f"[profile {name}]\nrolesanywhere =\n")
            text.writelines(
                f"  {key} = {value}\n" for key, value in {**settings, "role_arn": role}.items()
            )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    return settings


@pytest.mark.usefixtures("without_signals", "runtime")
def test_a_profile_is_served(profiles: dict[str, str], tmp_path: Path) -> None:
    """Its credentials are at the path of its name, and those of further roles at theirs."""
    served: list[str] = []

    def use(variables: dict[str, str]) -> None:
        for suffix in ("", "_BATCH"):
            file = variables[f"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE{suffix}"]
            url = variables[f"AWS_CONTAINER_CREDENTIALS_FULL_URI{suffix}"]
            assert fetched(url, file)["RoleArn"] == profiles["role_arn"]
            served.append(Path(file).name)

    flags = ["--profile", "one", "--role", f"batch={profiles['role_arn']}", "--port", "0"]

    assert run(flags, tmp_path / "env", use) == 0
    assert served == ["one.token", "batch.token"]


def test_where_roles_come_from(
    flags: list[str], profiles: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags, profiles in their order, the environment, and --role, which goes with the first."""
    for key, value in profiles.items():
        monkeypatch.setenv(f"ROLESANYWHERE_{key.upper()}", value)
    role = profiles["role_arn"]

    found = serve.roles_of(
        parsed(
            [
                *("--environment", "--profile", "two", "--profile", "one", "--role", f"x={role}-x"),
                *(*flags, "--name", "flags", "--session-duration", "900"),
            ]
        )
    )

    assert list(found) == ["flags", "two", "one", "app", "x"]
    arns = [each.role_arn for each in found.values()]
    assert arns == [role, f"{role}-two", role, role, f"{role}-x"]
    durations = [each.session_duration for each in found.values()]
    assert durations == [900, 3600, 3600, 3600, 900]
    assert list(serve.roles_of(parsed(["--environment"]))) == ["app"]
    assert list(serve.roles_of(parsed(["--profile", "two", "--name", "first"]))) == ["first"]


@pytest.mark.usefixtures("profiles")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no role is given: give --profile, --environment, or --trust-anchor-arn"),
        (["--role", "x=arn:aws:iam::111122223333:role/x"], "no role is given"),
        (["--profile", "three"], "there is no profile three"),
        (["--profile", "one", "--profile", "one"], "two roles are named 'one'"),
        (["--environment"], "the environment lacks ROLESANYWHERE_TRUST_ANCHOR_ARN"),
        (
            ["--profile", "one", "--certificate", "app.pem"],
            "with --certificate, --trust-anchor-arn and --profile-arn and --role-arn must be given",
        ),
        (["--profile", "one", "--session-duration", "900"], "with --session-duration, --trust"),
    ],
)
def test_roles_that_are_not_there(arguments: list[str], reason: str) -> None:
    """The error says what to give."""
    with pytest.raises(ConfigurationError) as caught:
        serve.roles_of(parsed(arguments))
    assert reason in str(caught.value)


@pytest.mark.usefixtures("without_signals")
@pytest.mark.parametrize("asked", [True, False])
def test_metrics_where_they_are_asked_for(
    flags: list[str], runtime: Path, tmp_path: Path, asked: bool
) -> None:
    """``--metrics`` adds a path for Prometheus, which is not there otherwise."""
    statuses: list[int] = []

    def scrape(variables: dict[str, str]) -> None:
        url = variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"].replace("v1/credentials", "metrics")
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                assert b"rolesanywhere_credentials_expiry_timestamp_seconds{" in answer.read()
                statuses.append(answer.status)
        except urllib.error.HTTPError as error:
            statuses.append(error.code)
            error.close()

    more = ["--metrics"] if asked else []
    assert run([*flags, "--port", "0", *more], tmp_path / "export", scrape) == 0
    assert statuses == [200 if asked else 404]


def test_credential_process_does_not_load_the_server() -> None:
    """Its start stays as short as it was."""
    code = (
        "import sys; from rolesanywhere_auth import cli; cli.parser('credential-process'); "
        "print(*(name for name in sys.modules if 'serve' in name or name == 'asyncio'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "\n"
