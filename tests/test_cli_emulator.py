"""``rolesanywhere-auth emulator``: a server that other programs find by its environment."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rolesanywhere_auth import cli


def variables(text: str) -> dict[str, str]:
    """What a POSIX shell makes of the lines."""
    done = subprocess.run(
        ["sh", "-c", f"{text}\nenv -0"], capture_output=True, text=True, check=True, env={}
    )
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


def serve(
    arguments: list[str], meanwhile: Callable[[dict[str, str]], object], tmp_path: Path
) -> int:
    """Runs the command in this process, *meanwhile* beside it, and ends it by SIGTERM."""
    export = tmp_path / "env"
    errors: list[BaseException] = []

    def other_program() -> None:
        try:
            end = time.monotonic() + 30
            while not export.exists():
                if time.monotonic() > end or not main.is_alive():
                    raise TimeoutError("the emulator did not start")
                time.sleep(0.01)
            meanwhile(variables(export.read_text()))
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)
        os.kill(os.getpid(), signal.SIGTERM)

    main = threading.current_thread()
    thread = threading.Thread(target=other_program)
    thread.start()
    try:
        status = cli.main(["emulator", "--export", str(export), *arguments])
    finally:
        thread.join()
    if errors:
        raise errors[0]
    assert not export.exists()
    return status


@pytest.fixture
def without_signals() -> Iterator[None]:
    """The handlers of signals are afterwards what they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Should the emulator not start, its end must not be that of the tests.
    signal.signal(signal.SIGTERM, lambda *_: None)
    guarded = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGINT) == before[signal.SIGINT]
    assert signal.getsignal(signal.SIGTERM) == guarded
    signal.signal(signal.SIGTERM, before[signal.SIGTERM])


@pytest.fixture
def flags() -> Callable[[dict[str, str]], list[str]]:
    """The flags of credential-process, of an environment; those of AWS's own helper."""

    def of(environment: dict[str, str]) -> list[str]:
        return [
            "credential-process",
            *("--trust-anchor-arn", environment["ROLESANYWHERE_TRUST_ANCHOR_ARN"]),
            *("--profile-arn", environment["ROLESANYWHERE_PROFILE_ARN"]),
            *("--role-arn", environment["ROLESANYWHERE_ROLE_ARN"]),
            *("--certificate", environment["ROLESANYWHERE_CERTIFICATE"]),
            *("--private-key", environment["ROLESANYWHERE_PRIVATE_KEY"]),
        ]

    return of


def test_another_program_signs_in(
    tmp_path: Path, command: list[str], flags: Any, without_signals: None, capsys: Any
) -> None:
    """--set-up makes all that is needed; a process with that environment gets credentials."""

    def other(environment: dict[str, str]) -> None:
        done = subprocess.run(
            [*command, *flags(environment)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["AccessKeyId"].startswith("ASIA")
        with urllib.request.urlopen(environment["AWS_ENDPOINT_URL_ROLESANYWHERE"]) as page:
            assert b"CN=app" in page.read()

    assert serve(["--set-up", str(tmp_path / "lab"), "--no-tls"], other, tmp_path) == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"the page is http://127\.0\.0\.1:\d+/ – Ctrl-C stops\nstopping\n", err)
    assert sorted(path.name for path in (tmp_path / "lab").iterdir()) == [
        "ca.key",
        "ca.pem",
        "client.key",
        "client.pem",
    ]


def test_seed_state_tls_and_names(
    tmp_path: Path, flags: Any, without_signals: None, capsys: Any
) -> None:
    """The seed's names are in the environment, HTTPS is verified by the bundle, the state stays."""
    seed = tmp_path / "seed.json"
    seed.write_text(
        json.dumps(
            {
                "trust_anchors": [
                    {"name": "lab-1", "generate": {"certificate": "c.pem", "private_key": "c.key"}}
                ],
                "roles": [{"name": "app", "trust_anchor": "lab-1"}],
                "profiles": [
                    {"name": "app", "roles": ["app"]},
                    {"name": "other app", "roles": ["app"]},
                ],
                "leaves": [{"name": "app", "trust_anchor": "lab-1", "folder": "it's here"}],
            }
        )
    )
    state, bundle = tmp_path / "state.json", tmp_path / "bundle.pem"
    seen: list[dict[str, str]] = []

    def other(environment: dict[str, str]) -> None:
        seen.append(environment)
        context = ssl.create_default_context(cafile=environment["ROLESANYWHERE_EMULATOR_CA_BUNDLE"])
        url = environment["ROLESANYWHERE_EMULATOR_HTTPS"]
        with urllib.request.urlopen(f"{url}/trustanchors", context=context) as answer:
            assert len(json.load(answer)["trustAnchors"]) == 1
        given = [*flags(environment), "--endpoint", environment["AWS_ENDPOINT_URL_ROLESANYWHERE"]]
        assert cli.main(given) == 0

    arguments = [
        *("--seed", str(seed), "--state", str(state), "--ca-bundle", str(bundle)),
        *("--region", "us-gov-west-1", "--account", "999988887777", "--name", "emulator.internal"),
    ]
    assert serve(arguments, other, tmp_path) == 0
    assert serve(arguments, other, tmp_path) == 0

    first, second = seen
    names = [name for name in first if name.startswith("ROLESANYWHERE_")]
    assert {"ROLESANYWHERE_PROFILE_ARN_OTHER_APP", "ROLESANYWHERE_TRUST_ANCHOR_ARN_LAB_1"} < {
        *names
    }
    assert first["ROLESANYWHERE_PROFILE_ARN"] == first["ROLESANYWHERE_PROFILE_ARN_APP"]
    assert first["ROLESANYWHERE_CERTIFICATE"] == str(tmp_path / "it's here" / "client.pem")
    assert first["AWS_REGION"] == "us-gov-west-1"
    assert first["ROLESANYWHERE_EMULATOR_CA_BUNDLE"] == str(bundle)
    for name in names:
        if "EMULATOR" not in name:
            assert first[name] == second[name]
    assert first["ROLESANYWHERE_ROLE_ARN"] == "arn:aws-us-gov:iam::999988887777:role/app"
    assert state.stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().out.count('"Version": 1') == 2


def test_aws_beside_it(tmp_path: Path, flags: Any, without_signals: None, capsys: Any) -> None:
    """With --aws the credentials are known to STS at AWS_ENDPOINT_URL."""
    import boto3

    def other(environment: dict[str, str]) -> None:
        given = [*flags(environment), "--endpoint", environment["AWS_ENDPOINT_URL_ROLESANYWHERE"]]
        assert cli.main(given) == 0
        keys = json.loads(capsys.readouterr().out)
        sts = boto3.client(
            "sts",
            region_name=environment["AWS_REGION"],
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
        )
        assert ":assumed-role/app/" in sts.get_caller_identity()["Arn"]

    arguments = ["--aws", "--no-tls", "--set-up", str(tmp_path / "lab")]
    assert serve(arguments, other, tmp_path) == 0


def test_environment_goes_to_standard_output(
    tmp_path: Path, command: list[str], without_signals: None
) -> None:
    """Without --export the lines are printed; a real process ends well on Ctrl-C and on SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [*command, "emulator", "--strict"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert "the page is" in process.stderr.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        found = variables(out)

        assert process.returncode == 0
        assert err == "stopping\n"
        assert found["AWS_ENDPOINT_URL_ROLESANYWHERE"].startswith("http://127.0.0.1:")
        assert not Path(found["ROLESANYWHERE_EMULATOR_CA_BUNDLE"]).exists()  # a temporary file


def test_other_addresses_are_warned_about(
    tmp_path: Path, without_signals: None, capsys: Any
) -> None:
    """Off loopback the emulator says what that means."""
    assert serve(["--host", "0.0.0.0", "--no-tls"], lambda _: None, tmp_path) == 0

    assert "warning: 0.0.0.0 is not loopback. This is no security boundary" in (
        capsys.readouterr().err
    )


def test_what_cannot_start_is_one_line(tmp_path: Path, without_signals: None, capsys: Any) -> None:
    """A taken port, an unreadable seed or state, a refused seed: status 1 and one line."""
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "refused.json").write_text(
        '{"roles": [{"name": "app", "max_session_duration": 1}]}'
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = {
            f"port {port}": ["--port", port],
            "bad.json is no JSON": ["--seed", str(tmp_path / "bad.json")],
            "No such file": ["--seed", str(tmp_path / "none.json")],
            "bad.json is no state": ["--state", str(tmp_path / "bad.json")],
            "3600 to 43200": ["--seed", str(tmp_path / "refused.json")],
        }
        for text, arguments in cases.items():
            assert cli.main(["emulator", *arguments]) == 1
            out, err = capsys.readouterr()
            assert out == ""
            assert err.startswith("rolesanywhere-auth: ")
            assert err.count("\n") == 1
            assert text in err


def test_stale_export_is_removed_at_once(
    tmp_path: Path, without_signals: None, capsys: Any
) -> None:
    """Whoever waits for the file does not find that of an earlier run."""
    export = tmp_path / "env"
    export.write_text("export OLD=1\n")

    assert cli.main(["emulator", "--export", str(export), "--state", str(tmp_path)]) == 1
    assert not export.exists()


@pytest.mark.parametrize("port", ["x", "-1", "65536", "٣"])
def test_port_is_a_number(port: str, capsys: Any) -> None:
    """Wrong arguments end in status 2 with usage."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["emulator", f"--port={port}"])

    assert caught.value.code == 2
    assert "is no port: 0 to 65535" in capsys.readouterr().err


def test_a_second_signal_has_its_usual_effect(without_signals: None) -> None:
    """The first asks for a graceful end; after that the handler is the one from before."""
    from rolesanywhere_auth.cli._signals import stopping

    before = signal.getsignal(signal.SIGTERM)
    with stopping() as stopped:
        assert signal.getsignal(signal.SIGTERM) != before
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.wait(5)
        assert signal.getsignal(signal.SIGTERM) == before


def test_other_commands_load_nothing_of_it() -> None:
    """credential-process starts without the emulator; help names every command all the same."""
    code = (
        "import sys; from rolesanywhere_auth import cli; cli.parser('credential-process'); "
        "print([name for name in sys.modules if 'emulator' in name or 'testing' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

    shown = cli.parser().format_help()
    for name in ("credential-process", "demo", "emulator"):
        assert name in shown


def test_lines_are_for_a_shell() -> None:
    """Whatever stands in a value, a shell reads just that."""
    from rolesanywhere_auth.cli.emulator import exports

    value = 'it\'s $HOME `x` "y"\n;'
    assert variables(exports({"A": value}))["A"] == value
    assert shlex.split(exports({"A": value})) == ["export", f"A={value}"]
