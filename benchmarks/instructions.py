"""How many instructions a program executes: a figure that hardly varies, whatever else runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

from benchmarks.stage import Stage


def can_count() -> bool:
    """Whether valgrind is installed, which counts."""
    return shutil.which("valgrind") is not None


def instructions(found: Stage, source: str, env: Mapping[str, str]) -> float:
    """Millions of instructions that a new interpreter executes for *source*."""
    tool = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
    done = run(found, [*tool, sys.executable, "-c", source], env)
    match = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    assert match is not None
    return int(match[1].replace(",", "")) / 1e6


def run(
    found: Stage, arguments: Sequence[str], env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command in the clean environment of all contenders."""
    done = subprocess.run(
        arguments,
        env=found.environment(env),
        cwd=found.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"a measured program failed:\n{done.stderr}")
    return done
