"""Writes the table of docs/doctor.md: ``python tests/diagnosis/table.py --write`` in the checkout.

It is made of the set-ups in ``broken.py``, each of which a test builds and shows to the doctor.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "doctor.md"
BEGIN = "<!-- made by `python tests/diagnosis/table.py --write`; do not edit -->\n"
END = "<!-- end of what is made -->\n"


def tables() -> str:
    """Both tables: what fails, and what only warns."""
    from broken import BROKEN

    failing = [each for each in BROKEN if each.status == "FAIL"]
    warned = [each for each in BROKEN if each.status == "WARN"]
    return (
        f"### What fails\n\n{_table(failing)}\n"
        f"### What works, and should be looked at\n\n{_table(warned)}"
    )


def _table(setups: Sequence[object]) -> str:
    rows = [["set-up", "check", "the line says"], ["---"] * 3]
    for setup in setups:
        says = f"`` {setup.says} ``" if "`" in setup.says else f"`{setup.says}`"  # type: ignore[attr-defined]
        option = " (`--as`)" if setup.administrator else ""  # type: ignore[attr-defined]
        rows.append([f"{setup.title}{option}", f"`{setup.check}`", says])  # type: ignore[attr-defined]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def written(page: str) -> str:
    """*page* with the present tables.

    Raises:
        ValueError: It has no place for them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place between {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def main(argv: list[str] | None = None) -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(prog="table.py", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/doctor.md")
    chosen = parser.parse_args(argv)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "keys"), str(Path(__file__).parent)]
    page = PAGE.read_text(encoding="utf-8")
    made = written(page)
    if chosen.write:
        PAGE.write_text(made, encoding="utf-8")
    elif made != page:
        print("docs/doctor.md is out of date; run tests/diagnosis/table.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
