"""`adapter.c`, compiled."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from backends import run


@lru_cache
def adapter(name: str) -> str:
    """The path of the module; each name is another copy, with another module behind it."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = f"{folder}/{name}-adapter.so"
    source = Path(__file__).with_name("adapter.c")
    run("cc", "-shared", "-fPIC", "-O1", "-o", file, str(source), "-ldl")
    return file
