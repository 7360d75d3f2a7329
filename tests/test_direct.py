"""One sign-in by Python's own HTTP client: when, and that it is the same as botocore's."""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.httpsession import get_cert_path
from commands import sign_in_flags

from rolesanywhere_auth import RolesAnywhereConfig, _direct, credentials
from rolesanywhere_auth._direct import Line, _default_bundle, create_session, is_simple
from rolesanywhere_auth.errors import (
    ConfigurationError,
    EndpointError,
    ThrottlingError,
    TransportError,
)
from rolesanywhere_auth.exchange import SessionCredentials
from rolesanywhere_auth.signing import HTTPRequest
from rolesanywhere_auth.testing import Emulator


@pytest.fixture
def config(emulator: Emulator) -> RolesAnywhereConfig:
    """One that signs in over HTTPS."""
    arguments = emulator.set_up().config_arguments()
    arguments |= {"endpoint_url": emulator.https_endpoint_url, "verify": emulator.ca_bundle}
    arguments |= {"proxies": None}
    return RolesAnywhereConfig(**arguments)


@pytest.fixture(autouse=True)
def no_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    """The long way is not taken unseen."""

    def refuse(config: RolesAnywhereConfig) -> SessionCredentials:
        raise AssertionError("by botocore")

    monkeypatch.setattr(credentials, "create_session", refuse)


def test_signs_in(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """Over HTTPS and HTTP, by the same request but for the User-Agent."""
    assert create_session(config).access_key.startswith("ASIA")
    create_session(replace(config, endpoint_url=emulator.endpoint_url))
    assert len(emulator.events) == 2


PROGRAM = """
import json, sys
from rolesanywhere_auth import cli
code = cli.main(sys.argv[1:])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_loads_no_http_client_of_others(emulator: Emulator) -> None:
    """The command ends without urllib3, boto3 and most of botocore having been imported."""
    done = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, "credential-process"),
            *sign_in_flags(emulator.set_up()),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert not {"urllib3", "boto3", "jmespath", "dateutil", "shutil"} & set(modules)


COMPLEX = [
    {"HTTPS_PROXY": "http://127.0.0.1:1"},
    {"no_proxy": "x"},
    {"AWS_USE_FIPS_ENDPOINT": "true"},
    {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
    {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
    {"AWS_DATA_PATH": "/x"},
    {"AWS_PROFILE": "absent"},
    {"AWS_CONFIG_FILE": "/"},
]


@pytest.mark.parametrize("environ", COMPLEX, ids=lambda each: next(iter(each)))
def test_botocore_is_asked_where_it_may_know_more(
    environ: dict[str, str], config: RolesAnywhereConfig
) -> None:
    """Proxies, endpoint variants, other data and unknown profiles are botocore's business."""
    nowhere = {"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}
    assert is_simple(config, nowhere)
    with pytest.raises(AssertionError, match="by botocore"):
        create_session(config, environ={**nowhere, **environ})


def test_settings_of_the_configuration_too(
    config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So are proxies and variants that the configuration names, and systems with proxy settings."""
    assert is_simple(config, os.environ)
    assert is_simple(replace(config, proxies={}), {"HTTPS_PROXY": "x", **os.environ})
    for other in (
        {"proxies": {"https": "http://127.0.0.1:1"}},
        {"use_fips_endpoint": True, "endpoint_url": None},
        {"use_dualstack_endpoint": True, "endpoint_url": None},
    ):
        assert not is_simple(replace(config, **other), os.environ)  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not is_simple(config, os.environ)


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("[profile app]\nregion = x\ncredential_process = y\n", True),
        ("[profile other]\nregion = x\n", False),
        ("[profile app]\nEndpoint_URL = https://x\n", False),
        ("[profile app]\nca_bundle = /x\n", False),
        ("[profile app]\nservices = x\n", False),
        ("[profile app]\nuse_fips_endpoint = true\n", False),
        ("[profile app]\nuse_dualstack_endpoint = true\n", False),
    ],
)
@pytest.mark.parametrize("variable", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_files_that_say_nothing_of_the_service_are_passed_by(
    text: str, variable: str, tmp_path: Path, config: RolesAnywhereConfig, *, simple: bool
) -> None:
    """A profile that merely exists is simple; one with settings of endpoints or TLS is not."""
    (tmp_path / "file").write_text(text)
    environ = {
        "AWS_PROFILE": "app",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        variable: str(tmp_path / "file"),
    }
    assert is_simple(config, environ) is simple


@pytest.mark.parametrize("region", ["eu-west-1", "cn-north-1", "us-gov-west-1"])
def test_endpoints_are_botocores(region: str, config: RolesAnywhereConfig) -> None:
    """Without a URL the rule of the Region's partition holds; variables come before it."""
    from rolesanywhere_auth.settings import Settings
    from rolesanywhere_auth.transport import resolve_endpoint

    partition = {"cn": "aws-cn", "us": "aws-us-gov"}.get(region[:2], "aws")
    moved = {
        name: getattr(config, name)
        .replace("arn:aws:", f"arn:{partition}:")
        .replace("eu-west-1", region)
        for name in ("trust_anchor_arn", "profile_arn", "role_arn")
    }
    other = replace(config, endpoint_url=None, region=None, **moved)  # type: ignore[arg-type]
    plain = _direct._Plain({})
    assert resolve_endpoint(other, plain) == resolve_endpoint(other, Settings())  # type: ignore[arg-type]


def test_variables_are_heeded(
    emulator: Emulator, config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_ENDPOINT_URL_ROLESANYWHERE and AWS_CA_BUNDLE lead where botocore would go."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", emulator.https_endpoint_url)
    bare = replace(config, endpoint_url=None, verify=None)
    with pytest.raises(TransportError, match="AWS_CA_BUNDLE"):
        create_session(bare)
    monkeypatch.setenv("AWS_CA_BUNDLE", emulator.ca_bundle)
    assert create_session(bare).account_id == "111122223333"
    monkeypatch.setenv("AWS_ENDPOINT_URL_ROLESANYWHERE", "ftp://x")
    with pytest.raises(EndpointError):
        create_session(bare)


def test_distrust_is_not_tried_again(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """An endpoint whose CA is unknown gets one handshake; verify=False goes through."""
    slept: list[float] = []
    with pytest.raises(TransportError) as caught:
        create_session(replace(config, verify=None), sleep=slept.append)
    assert not caught.value.retryable
    assert slept == []
    assert create_session(replace(config, verify=False)).token


def test_the_host_name_is_checked(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """A certificate of another name is distrusted."""
    port = emulator.https_endpoint_url.rpartition(":")[2]
    with pytest.raises(TransportError, match=r"match|valid for") as caught:
        create_session(replace(config, endpoint_url=f"https://127.1:{port}"))
    assert not caught.value.retryable


def test_failures_are_tried_again(emulator: Emulator, config: RolesAnywhereConfig) -> None:
    """A reset connection and a throttled call are tried again, after a pause."""
    slept: list[float] = []
    emulator.faults.next(1).reset()
    assert create_session(config, sleep=slept.append).token
    assert len(slept) == 1
    emulator.faults.next(3).refuse(status=429, code="ThrottlingException")
    with pytest.raises(ThrottlingError):
        create_session(config, sleep=slept.append)


def test_nobody_there(config: RolesAnywhereConfig) -> None:
    """A refused connection and a silent server are TransportErrors with endpoint and hint."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        mute = replace(config, endpoint_url=url, read_timeout=0.1)
        with pytest.raises(TransportError, match=r"timed out.*check the network"):
            create_session(mute, sleep=lambda _: None)
    with pytest.raises(TransportError, match=url) as caught:
        create_session(mute, sleep=lambda _: None)
    assert caught.value.retryable
    assert caught.value.endpoint == url


@pytest.mark.parametrize(("scheme", "impatient"), [("http", "read"), ("https", "connect")])
def test_each_timeout_is_its_own(config: RolesAnywhereConfig, scheme: str, impatient: str) -> None:
    """A silent server costs the time-out of what it keeps waiting; a handshake is connecting."""
    timeouts: dict[str, Any] = {"connect_timeout": 20, "read_timeout": 20}
    timeouts[f"{impatient}_timeout"] = 0.05
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(TransportError, match="timed out"):
            create_session(replace(config, endpoint_url=url, max_attempts=1, **timeouts))
    assert time.monotonic() - began < 10


def test_no_name_of_a_host(config: RolesAnywhereConfig) -> None:
    """A Region that is too long for a name in DNS is as one that is not there."""
    long = "x" * 64
    arns = {
        name: getattr(config, name).replace("eu-west-1", f"{long}-west-1")
        for name in ("trust_anchor_arn", "profile_arn")
    }
    with pytest.raises(TransportError, match=f"{long}-west-1"):
        create_session(
            replace(config, **arns, region=None, endpoint_url=None), sleep=lambda _: None
        )


def test_an_error_without_words_is_named(
    config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some errors of the HTTP client say nothing; then their type does."""
    from http.client import HTTPConnection, IncompleteRead

    class Silent(ConnectionError):
        pass

    def fail(self: HTTPConnection) -> None:
        raise Silent

    monkeypatch.setattr(HTTPConnection, "connect", fail)
    line = Line(config, endpoint="http://127.0.0.1:1", verify=True)
    with pytest.raises(TransportError, match="Silent"):
        line.send(HTTPRequest("POST", "http://127.0.0.1:1/sessions"))
    assert issubclass(IncompleteRead, Exception)


def test_a_bundle_that_holds_nothing(tmp_path: Path, config: RolesAnywhereConfig) -> None:
    """A CA bundle without a certificate is named."""
    (tmp_path / "empty.pem").touch()
    with pytest.raises(ConfigurationError, match=r"empty\.pem cannot be used"):
        create_session(replace(config, verify=tmp_path / "empty.pem"))


def test_the_default_bundle_is_botocores(monkeypatch: pytest.MonkeyPatch) -> None:
    """certifi's where it is installed, else botocore's own file; both hold CAs."""
    assert _default_bundle() == get_cert_path(True)
    monkeypatch.setitem(sys.modules, "certifi", None)
    bundle = _default_bundle()
    assert "botocore" in bundle
    assert ssl.create_default_context(cafile=bundle).cert_store_stats()["x509_ca"] > 100
    with pytest.raises(ConfigurationError, match="absent_package is not installed"):
        _direct._folder("absent_package")


def test_shares_sessions_of_the_host(
    emulator: Emulator, config: RolesAnywhereConfig, tmp_path: Path
) -> None:
    """With cache the second call takes what the first one got, as those by botocore do."""
    shared = replace(config, cache=tmp_path / "cache")
    first = create_session(shared)
    assert create_session(shared) == first
    assert credentials.SignIn(shared)() == first
    assert len(emulator.events) == 1


def test_the_default_cache_is_in_memory(
    config: RolesAnywhereConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cache=True is the folder in memory, by the environment that was given."""
    from rolesanywhere_auth import cache

    asked: list[str] = []

    def folder(runtime: str) -> Path:
        asked.append(runtime)
        raise ConfigurationError("none here")

    monkeypatch.setattr(cache, "default_folder", folder)
    with pytest.raises(ConfigurationError, match="none here"):
        create_session(replace(config, cache=True), environ={"XDG_RUNTIME_DIR": "/r"})
    assert asked == ["/r"]


def test_no_secret_is_logged(config: RolesAnywhereConfig, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG there is who signed in and where, and nothing that could be used."""
    caplog.set_level(logging.DEBUG)
    found = create_session(config)
    assert "signing in at https://" in caplog.text
    for secret in (found.access_key, found.secret_key, found.token):
        assert secret not in caplog.text
