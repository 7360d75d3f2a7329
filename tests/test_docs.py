"""Runs the documentation: README.md, every page of docs/, and the docstrings' examples.

A page's blocks run from top to bottom in one empty directory and one namespace:

* ``python``: executed; lines that start with ``>>>`` are a doctest, and blocks with test
  functions are run by pytest after the page's end.
* ``console``: each ``$`` line is run by bash (a line that ends in a backslash goes on); what
  stands below it must be its output, where ``...`` stands for anything. A command with nothing
  below may print what it likes. It must exit with 0.
* Every other language (``ini``, ``json``, ``text`` …) is only shown.

Comments that a reader does not see change that: ``<!-- file: NAME -->`` writes the next block to
NAME instead; ``<!-- run`` on a line of its own starts Python that is executed out of sight, up to
``-->``. That Python finds ``page_text``, ``cleanup`` (an ``ExitStack``) and ``stand_ins``: texts
of the page, such as ARNs, and what takes their place when its blocks run.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import rolesanywhere_auth
from rolesanywhere_auth.testing import Emulator

ROOT = Path(__file__).parents[1]
ENVIRONMENT = "apps" if importlib.util.find_spec("aiobotocore") else None
"""aiobotocore pins a botocore of its own; the pages that need it run where it is installed."""


def pages(environment: str | None) -> list[Path]:
    """Those whose first line names this environment, or none."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    first = f"<!-- environment: {environment} -->" if environment else None
    return [page for page in found if _environment(page) == first]


def _environment(page: Path) -> str | None:
    line = page.read_text(encoding="utf-8").partition("\n")[0]
    return line if line.startswith("<!-- environment: ") else None


PAGES = pages(ENVIRONMENT)
NOT_RUN = {
    # They make virtual environments, and the second would run this test.
    "README.md": ["$ scripts/demo\n$ scripts/test\n"],
}
"""The blocks of a page that are not run."""

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w{}.+-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```\s*$"
    r"|^<!-- run\n(?P<hidden>.*?)^-->\s*$"
    r"|^ *<!-- file: (?P<file>[^\n]+?) -->\s*$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One runnable piece of a page."""

    kind: str
    code: str
    line: int
    file: str = ""


def blocks(text: str) -> Iterator[Block]:
    """The pieces of a page that do something, in order."""
    file = ""
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        if match["file"]:
            file = match["file"]
            continue
        if match["hidden"] is not None:
            yield Block("python", match["hidden"], line)
            continue
        language, indent = match["language"], match["indent"]
        code = re.sub(rf"^{indent}", "", match["code"], flags=re.MULTILINE)
        if file:
            yield Block("file", code, line, file)
        elif language == "python" and re.search(r"^(async )?def test_", code, re.MULTILINE):
            yield Block("file", code, line, f"test_line_{line}.py")
        elif language in {"python", "console"}:
            yield Block(language, code, line)
        assert language not in {"bash", "sh", "shell", "pycon", "py"}, f"line {line}: {language}"
        file = ""


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
            # As on a terminal, where lines come in the order in which they were written.
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

        where = f"{page.name}:{block.line}: {command}\n{done.stdout}"
        assert done.returncode == 0, where
        if expected.strip():
            matches = doctest.OutputChecker().check_output(
                expected.rstrip() + "\n", done.stdout.rstrip() + "\n", OPTIONS
            )
            assert matches, f"{where}--- the page shows\n{expected}"


def run_tests(page: Path) -> None:
    """Runs the tests that the page's blocks are, in a process of their own."""
    console = "$ pytest -q -W error -W 'ignore:datetime.datetime.utcnow' -p no:cacheprovider .\n"
    run_console(Block("console", console, 1), page)


def prepare_readme(stand_ins: dict[str, str], cleanup: contextlib.ExitStack) -> None:
    """What the README's first example takes for granted: an account, a certificate, S3."""
    emulator = cleanup.enter_context(Emulator(aws=True))
    setup = emulator.set_up()
    stand_ins |= {
        "arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/1b8e3c2a-…": (
            setup.trust_anchor_arn
        ),
        "arn:aws:rolesanywhere:eu-west-1:111122223333:profile/8d1f5b7c-…": setup.profile_arn,
        "/etc/pki/app.pem": str(setup.certificate),
        "/etc/pki/app.key": str(setup.private_key),
    }
    os.environ["AWS_ENDPOINT_URL"] = emulator.aws_endpoint_url


PREPARE = {"README.md": prepare_readme}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory and home, no AWS settings, and the commands on PATH."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ROLESANYWHERE_", "PYTEST_")):
            monkeypatch.delenv(name)
    tools = tmp_path / "bin"
    page = tmp_path / "page"
    tools.mkdir()
    page.mkdir()
    for name, module in {"rolesanywhere-auth": "rolesanywhere_auth", "pytest": "pytest"}.items():
        script = tools / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        script.chmod(0o755)
    # Not a link: from there Python does not find its virtual environment.
    python = tools / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(rolesanywhere_auth.__file__).parents[1]))
    if not entry_points(group="pytest11", name="rolesanywhere_auth"):  # not installed
        monkeypatch.setenv("PYTEST_PLUGINS", "rolesanywhere_auth.testing.plugin")
    monkeypatch.setenv("HOME", str(page))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(page)
    return page


def run_page(page: Path, text: str, workplace: Path) -> None:
    """Runs the blocks of a page in order, then its tests."""
    not_run = list(NOT_RUN.get(page.name, ()))
    before = dict(os.environ)
    stand_ins: dict[str, str] = {}
    try:
        with contextlib.ExitStack() as cleanup:
            if page.name in PREPARE:
                PREPARE[page.name](stand_ins, cleanup)
            namespace: dict[str, Any] = {
                "__name__": "__main__",
                "cleanup": cleanup,
                "page_text": text,
                "stand_ins": stand_ins,
            }
            for block in blocks(text):
                if block.code in not_run:
                    not_run.remove(block.code)
                else:
                    run(with_stand_ins(block, stand_ins), page, workplace, namespace)
        if list(workplace.glob("test_*.py")):
            run_tests(page)
    finally:
        os.environ.clear()
        os.environ.update(before)

    assert not_run == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_runs(page: Path, workplace: Path) -> None:
    """Every example of the page does what the page says."""
    run_page(page, page.read_text(encoding="utf-8"), workplace)


def with_stand_ins(block: Block, stand_ins: dict[str, str]) -> Block:
    """The block with what exists here in the place of what the page shows."""
    code = block.code
    for shown, real in stand_ins.items():
        code = code.replace(shown, real)
    return replace(block, code=code)


def run(block: Block, page: Path, workplace: Path, namespace: dict[str, Any]) -> None:
    """Does with a block what its kind says; a test is run later, by `run_tests()`."""
    if block.file:
        path = workplace / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code, encoding="utf-8")
    elif block.kind == "python":
        run_python(block, page, namespace)
    else:
        run_console(block, page)


MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "rolesanywhere_auth").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_docstrings_run(workplace: Path) -> None:
    """The examples in the docstrings do what they say."""
    for module in MODULES:
        result = doctest.testmod(importlib.import_module(module), optionflags=OPTIONS)

        assert result.attempted > 0
        assert result.failed == 0


def test_reader_of_pages_sees_every_block() -> None:
    """What runs, what is written and what is tested are told apart; nothing is overlooked."""
    page = (
        "```python\nx = 1\n```\ntext\n"
        "<!-- run\nx += 1\n-->\n"
        "<!-- file: a.ini -->\n```ini\n[a]\n```\n"
        "```python\ndef test_a(): ...\n```\n"
        "- item\n  ```console\n  $ echo a\\\n  b\n  ab\n  ```\n"
        "```text\n$ shown\n```\n"
    )

    assert [(block.kind, block.code, block.line, block.file) for block in blocks(page)] == [
        ("python", "x = 1\n", 2, ""),
        ("python", "x += 1\n", 6, ""),
        ("file", "[a]\n", 10, "a.ini"),
        ("file", "def test_a(): ...\n", 13, "test_line_13.py"),
        ("console", "$ echo a\\\nb\nab\n", 17, ""),
    ]
    assert list(commands("$ echo a\\\nb\nab\n$ true\n")) == [("echo a\\\nb", "ab\n"), ("true", "")]
    with pytest.raises(AssertionError, match="line 2: bash"):
        list(blocks("```bash\ntrue\n```\n"))


@pytest.mark.parametrize(
    "page",
    [
        "```python\nassert False, 'seen'\n```\n",
        "```python\n>>> 1 + 1  # seen\n3\n```\n",
        "```python\n>>> raise RuntimeError('seen')\n```\n",
        "```console\n$ echo seen; false\n```\n",
        "```console\n$ echo seen\nnot this\n```\n",
        "```python\ndef test_seen():\n    assert False\n```\n",
    ],
)
def test_wrong_page_fails(page: str, workplace: Path) -> None:
    """An example that does not do what its page says is found."""
    with pytest.raises((AssertionError, RuntimeError, pytest.fail.Exception), match="seen"):
        run_page(Path("page.md"), page, workplace)
