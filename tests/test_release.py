"""The wheel as users get it: in empty environments, without the checkout."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import rolesanywhere_auth
from rolesanywhere_auth.testing import Emulator

pytestmark = pytest.mark.extended

ROOT = Path(__file__).parents[1]
VERSION = rolesanywhere_auth.__version__
WHEEL = f"rolesanywhere_auth-{VERSION}-py3-none-any.whl"
SDIST = f"rolesanywhere_auth-{VERSION}.tar.gz"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
TESTS = ("test_errors.py", "test_events.py", "test_flight.py", "test_public_api.py")
"""Tests that need no more than pytest; the last signs in to the emulator."""


_INSTALLING = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("AWS_", "PYTHON", "PYTEST_", "ROLESANYWHERE_", "VIRTUAL_ENV"))
}
"""This machine's way to its package index, read before tests are cut off from the network."""


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """What *command* prints, without this environment's Python and AWS; it must succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=_INSTALLING | {"UV_PYTHON_DOWNLOADS": "never"} | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def uv(*words: str | Path, cwd: Path) -> None:
    """Runs uv, which installs what pip installs, from a cache where it can."""
    run(sys.executable, "-m", "uv", *words, "--quiet", cwd=cwd)


def interpreter(version: str) -> str:
    """The Python of *version* on this machine."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    here = [sys.executable] if version == HERE else []
    found = [*here, *map(str, pyenv.glob(f"versions/{version}.*/bin/python3"))]
    on_path = shutil.which(f"python{version}")
    if not found and not on_path:
        pytest.skip(f"there is no Python {version} here")
    return (found or [on_path])[0]


def environment(folder: Path, version: str, *packages: str | Path) -> Path:
    """A new virtual environment with *packages* and what they ask for; its ``bin``."""
    uv("venv", "--python", interpreter(version), folder, cwd=folder.parent)
    uv("pip", "install", "--python", folder / "bin" / "python", *packages, cwd=folder.parent)
    return folder / "bin"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``scripts/release`` makes of a fresh clone; the clone is gone afterwards."""
    clone = tmp_path_factory.mktemp("clone")
    kept = tmp_path_factory.mktemp("dist")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "_build", "dist", "build", "*.egg-info")
    shutil.copytree(ROOT, clone, ignore=ignored, dirs_exist_ok=True)
    shutil.copy(ROOT / ".gitignore", clone)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    run("git", "init", "--quiet", cwd=clone)
    run("git", "add", "--all", cwd=clone)
    run("git", *identity, "commit", "--quiet", "--message", "all", cwd=clone)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # this one's uv
    run("scripts/release", "--draft", cwd=clone, PATH=path)
    for file in (clone / "dist").iterdir():
        shutil.move(file, kept)
    shutil.rmtree(clone)
    return kept


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """The service, in this environment; moto is not in the new ones."""
    with Emulator(aws=True) as emulator:
        yield emulator


def test_release_has_sdist_wheel_inventory_and_checksums(dist: Path) -> None:
    """SHA256SUMS names the three files, and their contents."""
    lines = (dist / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}

    assert sums.keys() == {SDIST, WHEEL, f"rolesanywhere_auth-{VERSION}.cdx.json"}
    assert {path.name for path in dist.iterdir()} == sums.keys() | {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest


def test_inventory_lists_what_the_wheel_brings(dist: Path) -> None:
    """The CycloneDX file is about this version, and has botocore, boto3 and cryptography."""
    [path] = dist.glob("*.cdx.json")
    bom = json.loads(path.read_text())
    root = bom["metadata"]["component"]
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in bom["dependencies"]}

    assert (bom["bomFormat"], root["name"], root["version"]) == (
        "CycloneDX",
        "rolesanywhere-auth",
        VERSION,
    )
    assert {ref.partition("==")[0] for ref in needs[root["bom-ref"]]} == {
        "boto3",
        "botocore",
        "cryptography",
    }
    assert all(re.match(r"pkg:pypi/.+@\d", part["purl"]) for part in bom["components"])


def test_release_refuses_what_is_not_committed(tmp_path: Path) -> None:
    """What would not be in the commit is named, and nothing is built."""
    (tmp_path / "scripts").mkdir()
    for name in ("lib.sh", "release"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    run("git", "init", "--quiet", cwd=tmp_path)

    done = subprocess.run(
        ["scripts/release"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "commit or remove first: ?? scripts/" in done.stderr
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("version", PYTHONS)
def test_wheel_alone_runs_the_readme(
    version: str, dist: Path, emulator: Emulator, tmp_path: Path
) -> None:
    """An empty environment with the wheel and nothing else has the command, and signs in."""
    emulator.clear()
    setup = emulator.set_up(common_name=f"python-{version}")
    programs = environment(tmp_path / "environment", version, dist / WHEEL)
    assert run(programs / "rolesanywhere-auth", "--version", cwd=tmp_path) == (
        f"rolesanywhere-auth {VERSION}\n"
    )

    with zipfile.ZipFile(dist / WHEEL) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        readme = archive.read(name).decode()
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    program = example[1]
    for shown, real in {
        r"arn:aws:rolesanywhere:[^\"]*:trust-anchor/[^\"]*": setup.trust_anchor_arn,
        r"arn:aws:rolesanywhere:[^\"]*:profile/[^\"]*": setup.profile_arn,
        r"/etc/pki/app\.pem": str(setup.certificate),
        r"/etc/pki/app\.key": str(setup.private_key),
    }.items():
        program, count = re.subn(shown, real, program)
        assert count == 1
    program += "import rolesanywhere_auth\nprint(rolesanywhere_auth.__file__)\n"
    (tmp_path / "example.py").write_text(program)

    out = run(
        programs / "python", "example.py", cwd=tmp_path, AWS_ENDPOINT_URL=emulator.aws_endpoint_url
    )

    assert Path(out.strip()).is_relative_to(tmp_path / "environment")
    [event] = emulator.events
    assert event.outcome == "success"
    assert emulator.sessions[0].tags["x509Subject/CN"] == f"python-{version}"


def test_wheel_passes_the_sdists_tests(dist: Path, tmp_path: Path) -> None:
    """The tests of the sdist run against the installed wheel, with no source beside them."""
    packages = (dist / WHEEL, "pytest>=9")
    programs = environment(tmp_path / "environment", HERE, *packages)
    source = tmp_path / "source"
    source.mkdir()
    run("tar", "-xzf", dist / SDIST, "-C", source, "--strip-components=1", cwd=tmp_path)
    shutil.rmtree(source / "rolesanywhere_auth")

    out = run(
        programs / "pytest",
        "-q",
        *(f"tests/{name}" for name in TESTS),
        cwd=source,
    )

    assert re.search(r"^\d+ passed", out, re.MULTILINE), out
    assert "failed" not in out
