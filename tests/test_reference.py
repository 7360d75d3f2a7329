"""The reference has every public name, and the pages' diagrams draw what their text says."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from rolesanywhere_auth import errors

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SVG = "{http://www.w3.org/2000/svg}"
REFERENCE = (DOCS / "reference.md").read_text(encoding="utf-8")
PUBLIC = ("__init__", "aio", "otel", "prometheus", "serve/__init__", "testing/__init__")
"""The modules that programs import from."""


def _public_names(module: str) -> list[str]:
    """A module's ``__all__``, read and not imported: not every library is everywhere."""
    tree = ast.parse((ROOT / "rolesanywhere_auth" / f"{module}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no __all__")


@pytest.mark.parametrize("module", PUBLIC)
def test_reference_has_every_public_name(module: str) -> None:
    """What ``__all__`` names is documented by that name."""
    kinds = "autoclass|autofunction|autodata"
    found = {
        name.rpartition(".")[2]
        for name in re.findall(rf"^\.\. (?:{kinds}):: ([\w.]+)", REFERENCE, re.MULTILINE)
    }
    assert ".. automodule:: rolesanywhere_auth.errors\n   :members:" in REFERENCE
    found |= {name for name, value in vars(errors).items() if isinstance(value, type)}

    names = {name for name in _public_names(module) if not name.startswith("__")}
    assert names - found == set()


@pytest.fixture(scope="module")
def diagrams() -> ModuleType:
    """The extension of the documentation that draws."""
    name = "docs_diagrams"
    spec = importlib.util.spec_from_file_location(name, DOCS / "diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def _sources() -> list[tuple[str, str, str]]:
    """Every diagram of every page: its kind, title and text."""
    pattern = r"^```\{(boxes|sequence)\} ([^\n]+)\n(.*?)^```"
    return [
        match
        for page in sorted(DOCS.rglob("*.md"))
        for match in re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    ]


@pytest.mark.parametrize(("kind", "title", "source"), _sources())
def test_diagram_draws_its_text(kind: str, title: str, source: str, diagrams: ModuleType) -> None:
    """All words of the text are in the drawing, within its edges, and none is on another."""
    svg = ElementTree.fromstring(getattr(diagrams, kind)(source, title=title))
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    found = svg.find(f"{SVG}title")
    assert found is not None
    assert found.text == title

    drawn = [text.text or "" for text in svg.iter(f"{SVG}text")]
    for line in source.strip().splitlines():
        words = line.partition(": ")[2].partition(" @ ")[0].split()
        assert set(words) <= set(" ".join(drawn).split()), line
    spots = [
        (float(text.attrib["x"]), float(text.attrib["y"]), 3.2 * len(text.text or ""))
        for text in svg.iter(f"{SVG}text")
    ]
    for number, (x, y, half) in enumerate(spots):
        assert half <= x <= width - half
        assert 0 < y < height
        for other_x, other_y, other_half in spots[:number]:
            assert abs(x - other_x) >= half + other_half or abs(y - other_y) >= 12


def test_pages_have_the_two_diagrams() -> None:
    """Who trusts whom, and one sign-in, are drawn."""
    assert {"boxes", "sequence"} <= {kind for kind, _, _ in _sources()}


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("boxes", "ca: your CA @ 0 0\nca -> leaf: issues"),
        ("boxes", "your CA"),
        ("sequence", "program: a program\nprogram -> aws: asks"),
        ("sequence", "program"),
    ],
)
def test_wrong_diagram_fails(kind: str, source: str, diagrams: ModuleType) -> None:
    """A text that cannot be drawn stops the build instead of leaving a part out."""
    with pytest.raises(diagrams.DiagramError):
        getattr(diagrams, kind)(source, title="wrong")
