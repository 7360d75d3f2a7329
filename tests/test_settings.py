"""``rolesanywhere_auth.settings``, against botocore's own session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ConfigParseError, ProfileNotFound

from rolesanywhere_auth.settings import Settings, default_session

NAMES = {
    "ca_bundle": ("AWS_CA_BUNDLE", "/etc/one.pem"),
    "use_fips_endpoint": ("AWS_USE_FIPS_ENDPOINT", "true"),
    "use_dualstack_endpoint": ("AWS_USE_DUALSTACK_ENDPOINT", "TRUE"),
    "ignore_configured_endpoint_urls": ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
    "data_path": ("AWS_DATA_PATH", "/srv/models"),
    "region": ("AWS_DEFAULT_REGION", "eu-west-1"),
}
CONFIG = """
[default]
ca_bundle = /etc/default.pem
use_fips_endpoint = true

[profile app]
ca_bundle = /etc/app.pem
use_fips_endpoint = false
use_dualstack_endpoint = true
ignore_configured_endpoint_urls = true
endpoint_url = https://app.example
services = local
data_path = /srv/models
s3 =
    addressing_style = path

[profile both]
ca_bundle = /etc/config.pem
region = eu-west-1

[services local]
rolesanywhere =
    endpoint_url = https://local.example
"""
CREDENTIALS = """
[both]
ca_bundle = /etc/credentials.pem

[alone]
use_dualstack_endpoint = true

[default]
region = eu-central-1
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config and a credentials file, and nothing else in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config").write_text(CONFIG)
    (tmp_path / "credentials").write_text(CREDENTIALS)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


def outcome(source: Any) -> dict[str, Any]:
    """All that signing in asks a session; an exception where it raises one."""
    found: dict[str, Any] = {}
    for name in [*NAMES, "profile", "config_file", "credentials_file"]:
        try:
            found[name] = source.get_config_variable(name)
        except ProfileNotFound as error:
            found[name] = str(error)
    try:
        found["scoped"] = source.get_scoped_config()
    except ProfileNotFound as error:
        found["scoped"] = str(error)
    found["full"] = source.full_config
    found["paths"] = None
    if "profile" not in str(found["data_path"]):
        found["paths"] = source.get_component("data_loader").search_paths
    return found


def assert_the_same() -> dict[str, Any]:
    """Both agree; what they say."""
    ours = outcome(Settings())
    assert ours == outcome(botocore.session.Session())
    return ours


@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
@pytest.mark.parametrize("profile", [None, "default", "app", "both", "alone", "missing", ""])
def test_profiles(profile: str | None, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting comes from the profile that botocore takes, of either file."""
    if profile is not None:
        monkeypatch.setenv(variable, profile)
    found = assert_the_same()
    if profile == "both":
        assert found["ca_bundle"] == "/etc/credentials.pem"


def test_the_older_variable_counts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_DEFAULT_PROFILE goes before AWS_PROFILE, as botocore has it."""
    monkeypatch.setenv("AWS_PROFILE", "both")
    monkeypatch.setenv("AWS_DEFAULT_PROFILE", "app")
    assert assert_the_same()["ca_bundle"] == "/etc/app.pem"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [None, "", "false", "0", "yes", "True"])
@pytest.mark.parametrize("profile", [None, "app", "missing"])
def test_the_environment(
    name: str, value: str | None, profile: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment goes before the profile, with botocore's own reading of yes and no."""
    variable, usual = NAMES[name]
    monkeypatch.setenv(variable, usual if value is None else value)
    if profile is not None:
        monkeypatch.setenv("AWS_PROFILE", profile)
    found = assert_the_same()
    if value is None:
        assert found[name] in {usual, True}


@pytest.mark.parametrize("gone", [("config",), ("credentials",), ("config", "credentials")])
@pytest.mark.parametrize("profile", [None, "app", "alone"])
def test_files_that_are_not_there(
    gone: tuple[str, ...], profile: str | None, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either file may be missing."""
    for name in gone:
        (files / name).unlink()
    if profile is not None:
        monkeypatch.setenv("AWS_PROFILE", profile)
    assert_the_same()


def test_files_at_their_usual_places(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without variables, ``~/.aws`` is read."""
    (files / ".aws").mkdir()
    for name in ("config", "credentials"):
        (files / name).rename(files / ".aws" / name)
    monkeypatch.delenv("AWS_CONFIG_FILE")
    monkeypatch.delenv("AWS_SHARED_CREDENTIALS_FILE")
    assert assert_the_same()["ca_bundle"] == "/etc/default.pem"


def test_a_damaged_file(files: Path) -> None:
    """What botocore raises of a damaged file is raised here too."""
    (files / "config").write_text("no section")
    for source in (Settings(), botocore.session.Session()):
        with pytest.raises(ConfigParseError):
            source.get_config_variable("ca_bundle")


def test_files_are_read_once(files: Path) -> None:
    """As a session does, what was read is kept."""
    settings = Settings()
    assert settings.get_config_variable("ca_bundle") == "/etc/default.pem"
    (files / "config").unlink()
    assert settings.get_config_variable("ca_bundle") == "/etc/default.pem"


def test_the_rest_of_the_interface() -> None:
    """There is one component, and no handler for events."""
    settings = Settings()
    assert settings.emit_first_non_none_response("before-send.x.Y", request=object()) is None
    assert settings.get_component("data_loader").load_data("partitions")["partitions"]
    with pytest.raises(ValueError, match="no component event_emitter"):
        settings.get_component("event_emitter")


def test_a_real_session_where_sessions_are_in_use() -> None:
    """In a process that has loaded botocore's sessions, one of them is made."""
    assert isinstance(default_session(), botocore.session.Session)


def run(code: str, environ: Mapping[str, str]) -> Any:
    """What *code* prints as JSON, in a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_no_session_where_none_is_in_use() -> None:
    """`RolesAnywhereCredentials` loads neither sessions nor clients."""
    code = """if True:
        import json, sys
        from rolesanywhere_auth.credentials import RolesAnywhereCredentials
        from rolesanywhere_auth.settings import default_session
        made = type(default_session()).__name__
        print(json.dumps([made, "botocore.session" in sys.modules,
                          "botocore.client" in sys.modules]))"""
    assert run(code, os.environ) == ["Settings", False, False]
