"""Runs the documentation: README.md, every page of docs/, and the docstrings' examples.

A page's blocks run from top to bottom in one empty directory and one namespace:

* ``python``: executed; lines that start with ``>>>`` are a doctest.
* ``console``: each ``$`` line is run by bash (a line that ends in a backslash goes on); what
  stands below it must be its output, where ``...`` stands for anything. A command with nothing
  below may print what it likes. It must exit with 0.
* Every other language (``ini``, ``json``, ``text`` …) is only shown.

Comments that a reader does not see change that: ``<!-- file: NAME -->`` writes the next block to
NAME instead; ``<!-- not run: REASON -->`` leaves the next block out, and it must be listed in
``NOT_RUN``; ``<!-- run`` on a line of its own starts Python that is executed out of sight, up to
``-->``.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN: dict[str, int] = {}
"""How many blocks of a page are not run: page name → number."""

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w{}.+-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```\s*$"
    r"|^<!-- run\n(?P<hidden>.*?)^-->\s*$"
    r"|^ *<!-- (?P<mark>file|not run): (?P<value>[^\n]+?) -->\s*$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One runnable piece of a page."""

    kind: str
    code: str
    line: int
    argument: str = ""


def blocks(text: str) -> Iterator[Block]:
    """The pieces of a page that do something, in order."""
    mark = value = ""
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        if match["mark"]:
            mark, value = match["mark"], match["value"]
            continue
        if match["hidden"] is not None:
            yield Block("python", match["hidden"], line)
            continue
        language, indent = match["language"], match["indent"]
        code = re.sub(rf"^{indent}", "", match["code"], flags=re.MULTILINE)
        if mark or language in {"python", "console"}:
            yield Block(mark or language, code, line, value)
        assert language not in {"bash", "sh", "shell", "pycon", "py"}, f"line {line}: {language}"
        mark = value = ""


def run_python(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    """Executes a block so that a traceback shows the page and its line."""
    if block.code.lstrip().startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(
            block.code, namespace, page.name, str(page), block.line - 1
        )
        test.globs = namespace
        runner = doctest.DebugRunner(optionflags=OPTIONS)
        try:
            runner.run(test, clear_globs=False)
        except doctest.DocTestFailure as failure:
            where = f"{page.name}:{block.line + failure.example.lineno}"
            pytest.fail(
                f"{where}: {failure.example.source}expected\n{failure.example.want}"
                f"got\n{failure.got}"
            )
        except doctest.UnexpectedException as failure:
            raise failure.exc_info[1] from None
        return
    source = "\n" * (block.line - 1) + block.code
    exec(compile(source, str(page), "exec"), namespace)


def commands(code: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block and the output shown below each."""
    for piece in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
        match = re.match(r"(?P<command>(?:[^\n]*\\\n)*[^\n]*)\n?(?P<output>.*)", piece, re.DOTALL)
        assert match is not None
        yield match["command"], match["output"]


def run_console(block: Block, page: Path) -> None:
    """Runs each command and compares what it printed with what the page shows."""
    for command, expected in commands(block.code):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
            check=False,
        )

        where = f"{page.name}:{block.line}: {command}\n{done.stdout}"
        assert done.returncode == 0, where
        if expected.strip():
            matches = doctest.OutputChecker().check_output(
                expected.rstrip() + "\n", done.stdout.rstrip() + "\n", OPTIONS
            )
            assert matches, f"{where}--- the page shows\n{expected}"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory and home, no AWS settings, and the command on PATH."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ROLESANYWHERE_")):
            monkeypatch.delenv(name)
    tools = tmp_path / "bin"
    page = tmp_path / "page"
    tools.mkdir()
    page.mkdir()
    for name, module in {"rolesanywhere-auth": "rolesanywhere_auth", "pytest": "pytest"}.items():
        script = tools / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        script.chmod(0o755)
    (tools / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(page))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(page)
    return page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_runs(page: Path, workplace: Path) -> None:
    """Every example of the page does what the page says."""
    before = dict(os.environ)
    left_out = 0
    text = page.read_text(encoding="utf-8")
    try:
        with contextlib.ExitStack() as cleanup:
            namespace: dict[str, Any] = {
                "__name__": "__main__",
                "cleanup": cleanup,
                "page_text": text,
            }
            for block in blocks(text):
                if block.kind == "not run":
                    left_out += 1
                elif block.kind == "file":
                    path = workplace / block.argument
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(block.code, encoding="utf-8")
                elif block.kind == "python":
                    run_python(block, page, namespace)
                else:
                    run_console(block, page)
    finally:
        os.environ.clear()
        os.environ.update(before)

    assert left_out == NOT_RUN.get(page.name, 0)


MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "rolesanywhere_auth").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_run(module: str, workplace: Path) -> None:
    """The examples in a module's docstrings do what they say."""
    result = doctest.testmod(importlib.import_module(module), optionflags=OPTIONS)

    assert result.attempted > 0
    assert result.failed == 0


def test_reader_of_pages_sees_every_block() -> None:
    """What runs, what is written and what is left out are told apart, and nothing is overlooked."""
    page = (
        "```python\nx = 1\n```\ntext\n"
        "<!-- run\nx += 1\n-->\n"
        "<!-- file: a.ini -->\n```ini\n[a]\n```\n"
        "<!-- not run: it needs AWS -->\n```console\n$ aws sts\n```\n"
        "- item\n  ```console\n  $ echo a\\\n  b\n  ab\n  ```\n"
        "```text\n$ shown\n```\n"
    )

    assert [(b.kind, b.code, b.line, b.argument) for b in blocks(page)] == [
        ("python", "x = 1\n", 2, ""),
        ("python", "x += 1\n", 6, ""),
        ("file", "[a]\n", 10, "a.ini"),
        ("not run", "$ aws sts\n", 14, "it needs AWS"),
        ("console", "$ echo a\\\nb\nab\n", 18, ""),
    ]
    assert list(commands("$ echo a\\\nb\nab\n$ true\n")) == [("echo a\\\nb", "ab\n"), ("true", "")]
