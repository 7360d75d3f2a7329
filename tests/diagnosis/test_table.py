from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
import table
from broken import BROKEN


def test_table_is_up_to_date() -> None:
    """docs/doctor.md shows the set-ups that are tested."""
    done = subprocess.run(
        [sys.executable, table.__file__], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_forty_causes() -> None:
    """More than forty set-ups fail, each with its own name, and none with empty words."""
    count = Counter(setup.status for setup in BROKEN)

    assert count["FAIL"] >= 40
    assert len({setup.name for setup in BROKEN}) == len(BROKEN)
    assert min(len(setup.says) for setup in BROKEN) > 2


def test_page_without_a_place_is_refused() -> None:
    """The table is not lost silently when somebody takes its place away."""
    assert table.written(f"a\n{table.BEGIN}old{table.END}b\n").startswith(f"a\n{table.BEGIN}")
    with pytest.raises(ValueError, match="has no place"):
        table.written("a page\n")
