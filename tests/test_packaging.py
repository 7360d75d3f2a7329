from __future__ import annotations

import configparser
import email
import email.message
import importlib.metadata
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import rolesanywhere_auth

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel as it would be published, built from the checkout."""
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [path] = target.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    """The wheel's METADATA."""
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(wheel.read(name))


def test_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Every module is in the wheel, with the marker for type checkers; no tests, no docs."""
    package = ROOT / "rolesanywhere_auth"
    modules = {str(path.relative_to(ROOT)) for path in package.rglob("*.py")}
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert modules | {"rolesanywhere_auth/py.typed"} == inside


def test_wheel_carries_the_licence(wheel: zipfile.ZipFile, metadata: email.message.Message) -> None:
    """The licence is named by its SPDX identifier and its text is included."""
    [text] = [name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE")]

    assert metadata["License-Expression"] == "Apache-2.0"
    assert b"Version 2.0, January 2004" in wheel.read(text)


def test_wheel_describes_itself(metadata: email.message.Message) -> None:
    """Name, Python versions and the README reach the index; no address is invented."""
    assert metadata["Name"] == "rolesanywhere-auth"
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Description-Content-Type"] == "text/markdown"
    payload = metadata.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_core_needs_three_libraries(metadata: email.message.Message) -> None:
    """Whoever installs the package gets botocore, boto3 and cryptography, and no more."""
    core = {
        re.split(r"[^\w-]", requirement)[0]
        for requirement in metadata.get_all("Requires-Dist", [])
        if "extra ==" not in requirement
    }

    assert core == {"boto3", "botocore", "cryptography"}


def test_wheel_registers_the_command_and_the_pytest_plugin(wheel: zipfile.ZipFile) -> None:
    """Both entry points are there, and what they name can be imported."""
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(name).decode())

    command = parser["console_scripts"]["rolesanywhere-auth"]
    plugin = parser["pytest11"]["rolesanywhere_auth"]
    for group, value in {"console_scripts": command, "pytest11": plugin}.items():
        entry_point = importlib.metadata.EntryPoint("rolesanywhere", value, group)
        assert entry_point.load() is not None


def test_version_has_one_source(metadata: email.message.Message) -> None:
    """The package at run time, the wheel and the newest heading of the changelog agree."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(r"^## \[?(\d[^\s\]]*)", changelog, re.MULTILINE)

    assert heading is not None
    assert rolesanywhere_auth.__version__ == metadata["Version"] == heading[1]


def test_oldest_constraints_are_what_the_metadata_promises(
    metadata: email.message.Message,
) -> None:
    """The oldest releases tested are the lower bounds that an installer enforces."""
    lines = (ROOT / "tests" / "constraints" / "oldest.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    promised = {
        match[1]: match[2]
        for requirement in metadata.get_all("Requires-Dist", [])
        if (match := re.match(r"([\w-]+)(?:\[[\w,-]+\])?>=([\d.]+)", requirement))
    }

    assert promised.keys() <= tested.keys()
    for name, lowest in promised.items():
        assert tested[name] == lowest or tested[name].startswith(f"{lowest}.0"), name
