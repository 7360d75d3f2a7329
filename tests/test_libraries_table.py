"""The table of docs/data-libraries.md: each row has a version that is asked for, and a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "data-libraries.md"


class Row(NamedTuple):
    """One library and one way."""

    library: str
    version: str
    takes: str
    test: str


def rows() -> list[Row]:
    """The lines below the table's head."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index("| library | from | takes | renewal shown by |") + 2
    table = lines[start : lines.index("", start)]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in table]


ROWS = rows()


def floors() -> dict[str, str]:
    """The oldest version of each package that pyproject.toml asks for, in any place."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return dict(
        re.findall(r'^(?:\w+ = \[)? *"([\w-]+)(?:\[[\w,-]+\])?>=([\d.]+)"', text, re.MULTILINE)
    )


def anchor(heading: str) -> str:
    """As the documentation's links have it."""
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.test.rpartition(":")[2].strip("`"))
def test_row_holds(row: Row) -> None:
    """The version is the oldest that tests may install; its test is there, and its example."""
    package, version = re.fullmatch(r"`([\w-]+)` ([\d.]+)", row.version).groups()  # type: ignore[union-attr]
    assert floors()[package] == version
    file, _, name = row.test.strip("`").partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    target = re.search(r"\]\((?:#([\w-]+)|([\w-]+\.md))\)", row.library + row.takes)
    assert target is not None
    if target[2]:
        assert (PAGE.parent / target[2]).exists()
    else:
        headings = re.findall(r"^##+ (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        assert target[1] in {anchor(heading) for heading in headings}


def test_every_library_has_a_row() -> None:
    """What is installed to be tried is in the table, and a test of a library belongs to a row."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    groups = re.findall(r"^(?:apps|engines) = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    installed = set(re.findall(r'^  "([\w-]+)', "".join(groups), re.MULTILINE))
    tools = {"coverage", "distributed", "filelock", "moto", "pytest"}
    web = {"celery", "django", "django-storages", "fastapi", "gunicorn", "httpx2", "uvicorn"}

    shown = {row.version.split("`")[1] for row in ROWS}

    assert len(groups) == 2
    assert installed - tools - web <= shown
    assert len({row.test for row in ROWS}) == len(ROWS)
