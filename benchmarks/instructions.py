"""How many instructions a program executes: a figure that hardly varies, whatever else runs."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping

from benchmarks.stage import Stage


def can_count() -> bool:
    """Whether valgrind is installed, which counts."""
    return shutil.which("valgrind") is not None


def instructions(found: Stage, source: str, env: Mapping[str, str]) -> float:
    """Millions of instructions that a new interpreter executes for *source*."""
    tool = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
    done = found.execute([*tool, sys.executable, "-c", source], env)
    match = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    assert match is not None
    return int(match[1].replace(",", "")) / 1e6
