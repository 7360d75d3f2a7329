from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import Bench

from rolesanywhere_auth.testing import Emulator


@pytest.fixture(scope="module")
def aws() -> Iterator[Emulator]:
    """One emulator with IAM and STS behind it for a module."""
    with Emulator(aws=True) as emulator:
        yield emulator


@pytest.fixture
def bench(aws: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Where set-ups are built."""
    folder = Path(tempfile.mkdtemp(prefix="doctor-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, folder)
        cleanup.callback(aws.faults.clear)
        cleanup.callback(aws.clear)
        yield Bench(aws, folder, monkeypatch, cleanup)
