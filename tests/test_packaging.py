from __future__ import annotations

import configparser
import email
import email.message
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import rolesanywhere_auth

ROOT = Path(__file__).parents[1]


WHEEL = f"rolesanywhere_auth-{rolesanywhere_auth.__version__}-py3-none-any.whl"
SDIST = f"rolesanywhere_auth-{rolesanywhere_auth.__version__}.tar.gz"


def build(source: Path, target: Path, *, umask: int) -> None:
    """Builds sdist and wheel from the files in *source*, dated by SOURCE_DATE_EPOCH."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(target)],
        cwd=source,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
        umask=umask,
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what would be published, built from the checkout."""
    target = tmp_path_factory.mktemp("built")
    build(ROOT, target, umask=0o022)
    return target


@pytest.fixture(scope="module")
def wheel(built: Path) -> Iterator[zipfile.ZipFile]:
    """The wheel as it would be published."""
    with zipfile.ZipFile(built / WHEEL) as archive:
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


def test_sdist_holds_what_the_tests_need(built: Path) -> None:
    """Whoever has the sdist has every file of the package, tests, benchmarks, docs and scripts."""
    with tarfile.open(built / SDIST) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}

    folders = ("rolesanywhere_auth", "tests", "benchmarks", "docs", "scripts")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and "__pycache__" not in name and not name.startswith("docs/_build/"):
            assert name in inside
    alone = {"README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "pyproject.toml", "tox.ini"}
    assert alone <= inside


def test_build_is_reproducible(built: Path, tmp_path: Path) -> None:
    """The unpacked sdist, elsewhere and under another umask, gives the same two files."""
    source = tmp_path / "un packed"
    source.mkdir()
    subprocess.run(["tar", "-xzf", built / SDIST, "-C", source, "--strip-components=1"], check=True)

    build(source, tmp_path / "again", umask=0o077)

    assert (tmp_path / "again" / WHEEL).read_bytes() == (built / WHEEL).read_bytes()
    assert (tmp_path / "again" / SDIST).read_bytes() == (built / SDIST).read_bytes()


def test_every_source_file_names_its_licence(wheel: zipfile.ZipFile) -> None:
    """A file that is copied out of the wheel still says under which terms."""
    for name in wheel.namelist():
        if name.endswith(".py"):
            assert wheel.read(name).startswith(b"# SPDX-License-Identifier: Apache-2.0\n"), name


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


def test_nothing_is_capped(metadata: email.message.Message) -> None:
    """No newer release of Python or of a library is shut out: it may bring a security fix."""
    for requirement in (metadata["Requires-Python"], *metadata.get_all("Requires-Dist", [])):
        assert not re.search(r"<|==|~=|!=", requirement.partition(";")[0]), requirement


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
