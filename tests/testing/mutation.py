"""Takes each check of CreateSession away in turn, and sees whether a test fails.

``python tests/testing/mutation.py`` in the checkout, with the packages of the group ``tests``. It
finds the places in the syntax trees of the modules below: every ``raise``, every condition and
every part of one, every call of a check, every reported failure, every bound, and every function
that answers yes or no. For each of them it forks, loads the module without it, and runs the
module's tests until the first one fails. A change that no test notices must be in `EQUIVALENT`
with the reason why nobody can notice it. It exits with 1 if one is not, or if an entry is no
longer needed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "rolesanywhere_auth.testing.service"
TESTS = {
    "create_session": (
        "test_create_session.py",
        "test_role_policies.py",
        "test_quotas.py",
        "test_faults.py",
    ),
    "parameters": ("test_create_session.py", "test_audit.py"),
    "signature": ("test_signature.py", "test_create_session.py"),
    "trust": ("test_trust.py", "test_create_session.py", "test_trust_differential.py"),
    "algorithms": ("test_trust.py", "test_signature.py", "test_trust_differential.py"),
    "certificate_policies": (
        "test_certificate_policies.py",
        "test_trust.py",
        "test_trust_differential.py",
    ),
    "name_constraints": ("test_trust.py", "test_trust_differential.py"),
    "names": ("test_names.py", "test_trust.py", "test_trust_differential.py"),
    "revocation": ("test_revocation.py", "test_create_session.py"),
    "attributes": ("test_attributes.py", "test_create_session.py", "test_control_plane.py"),
    "role_policies": ("test_role_policies.py", "test_create_session.py"),
}
"""By module, the files of tests/testing that hold its rules; the quickest first."""

# What only writes the answer, the audit trail or a text for people.
NO_CHECKS = {
    "_body",
    "_issued",
    "_record_subject",
    "_shown",
    "as_sent",
    "handle",
    "moment_text",
    "name_text",
    "subject_text",
}

_NEVER_NONE = "a missing ARN was refused before"
_POST_ALONE = "the service asks for POST /sessions alone"
_SHORT_KEYS = "a specifier has 60 characters at most, so that no key is near 128"
_TYPE_ERROR = "the key's own verify() raises the same TypeError"
EQUIVALENT: dict[str, str] = {
    "parameters.read_parameters: without … or ''": _NEVER_NONE,
    "parameters.read_parameters: without … or '' (2)": _NEVER_NONE,
    "parameters.read_parameters: without … or '' (3)": _NEVER_NONE,
    "signature.verify_signature: without … and request.method == 'POST'": _POST_ALONE,
    "signature._canonical_request: without … or '/'": _POST_ALONE,
    "trust._check_issuer: without … or issuer.version is not x509.Version.v3": (
        "version 1 has no extensions, so that basicConstraints are missing as well"
    ),
    "algorithms.check_signature: without … and isinstance(key, rsa.RSAPublicKey)": _TYPE_ERROR,
    "algorithms.check_signature: without … and isinstance(scheme, ec.ECDSA)": _TYPE_ERROR,
    "certificate_policies.check_policies: without … and inhibit_any": (
        "a number below 0 means the same as 0"
    ),
    "certificate_policies.check_policies: without … and not last or required == 0": (
        "nothing comes after the leaf, so that a number above 0 is never used up"
    ),
    "name_constraints._host: without … or ''": "no host is refused like an empty one",
    "names.same_name: without … or one == other": "it only saves time",
    "attributes._is_tag: without … and len(key) <= _MAX_KEY": _SHORT_KEYS,
    "attributes._is_tag: other bound in len(key) <= _MAX_KEY": _SHORT_KEYS,
}
"""By name of the change, why it changes nothing that can be seen."""

Change = Callable[[ast.AST], ast.AST]
PATIENCE = 300.0
"""Seconds after which a run counts as failed: a change may make a loop endless."""


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    module: str
    name: str
    line: int
    place: int
    """Of the changed node in ``ast.walk``."""
    change: Change

    def code(self) -> CodeType:
        """The module with the change."""
        tree = parsed(self.module)
        found = list(ast.walk(tree))[self.place]
        tree = Exchange(found, self.change(copy.deepcopy(found))).visit(tree)
        return compile(ast.fix_missing_locations(tree), str(path_of(self.module)), "exec")


class Exchange(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def path_of(module: str) -> Path:
    return ROOT / PACKAGE.replace(".", "/") / f"{module}.py"


def parsed(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text(encoding="utf-8"))


# Where something can be taken away


def mutants(module: str) -> list[Mutant]:
    """Every change of *module*, in the order of its lines."""
    tree = parsed(module)
    places = {node: place for place, node in enumerate(ast.walk(tree))}
    found = []
    names: dict[str, int] = {}
    functions = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name not in NO_CHECKS
    ]
    for function in sorted(functions, key=lambda node: node.lineno):
        for node, kind, change in sorted(changes(function), key=lambda each: each[0].lineno):
            name = f"{module}.{function.name}: {kind}"
            names[name] = names.get(name, 0) + 1
            if names[name] > 1:
                name += f" ({names[name]})"
            found.append(Mutant(module, name, node.lineno, places[node], change))
    return found


def changes(function: ast.FunctionDef) -> Iterator[tuple[Any, str, Change]]:
    """Node, description and change, for each place of *function*."""
    if isinstance(function.returns, ast.Name) and function.returns.id == "bool":
        for answer in (True, False):
            yield function, f"is always {answer}", answering(answer)
    nodes = list(own(function))
    # Without its only statement an `if` does what it does if it never applies.
    alone = [
        node.body[0]
        for node in nodes
        if isinstance(node, ast.If) and not node.orelse and len(node.body) == 1
    ]
    for node in nodes:
        if isinstance(node, ast.If):
            yield node, f"never if {shortened(node.test)}", never
        elif isinstance(node, (ast.Raise, ast.Expr)) and node not in alone:
            if isinstance(node, ast.Raise) or is_check(node.value):
                yield node, f"without {shortened(node)}", nothing
        else:
            yield from changes_within(node)


def changes_within(node: ast.AST) -> Iterator[tuple[Any, str, Change]]:
    """The changes of an expression."""
    if isinstance(node, ast.BoolOp):
        for number, value in enumerate(node.values):
            word = "and" if isinstance(node.op, ast.And) else "or"
            yield node, f"without … {word} {shortened(value)}", dropping(number)
    elif isinstance(node, ast.Compare):
        for number, operator in enumerate(node.ops):
            if type(operator) in BOUNDS:
                yield node, f"other bound in {shortened(node)}", bounding(number)
    elif isinstance(node, ast.Dict):
        for number, value in enumerate(node.values):
            if isinstance(value, (ast.Compare, ast.BoolOp)):
                yield node, f"without {shortened(value)}", falsifying(number)


def own(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of *function* without those of functions within it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop(0)
        yield node
        todo += [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.FunctionDef)]


def is_check(value: ast.expr) -> bool:
    """A statement that only calls or yields; notes for the audit trail are none."""
    if isinstance(value, (ast.Yield, ast.YieldFrom)):
        return True
    notes = ("checks.begin", "checks.note", "_LOGGER.")
    return isinstance(value, ast.Call) and not ast.unparse(value).startswith(notes)


def shortened(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split("\n")[0].split())
    return text if len(text) <= 72 else f"{text[:71]}…"


BOUNDS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}


def nothing(_: Any) -> ast.AST:
    return ast.Pass()


def never(node: Any) -> ast.AST:
    node.test = ast.Constant(value=False)
    return node


def answering(answer: bool) -> Change:
    def change(node: Any) -> ast.AST:
        node.body = [ast.Return(ast.Constant(value=answer))]
        return node

    return change


def dropping(number: int) -> Change:
    def change(node: Any) -> ast.AST:
        del node.values[number]
        return node if len(node.values) > 1 else node.values[0]

    return change


def bounding(number: int) -> Change:
    def change(node: Any) -> ast.AST:
        node.ops[number] = BOUNDS[type(node.ops[number])]()
        return node

    return change


def falsifying(number: int) -> Change:
    def change(node: Any) -> ast.AST:
        node.values[number] = ast.Constant(value=False)
        return node

    return change


# Running the tests without it


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from code that is at hand."""

    code: CodeType | None = None

    def get_code(self, fullname: str) -> CodeType | None:
        return self.code


class Finder:
    """Finds the changed module before the real one."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.loaded = False

    def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if fullname != f"{PACKAGE}.{self.mutant.module}":
            return None
        self.loaded = True
        path = str(path_of(self.mutant.module))
        loader = Loader(fullname, path)
        loader.code = self.mutant.code()
        return importlib.util.spec_from_file_location(fullname, path, loader=loader)


class FirstFailure:
    """A pytest plugin that remembers what failed first."""

    def __init__(self, finder: Finder | None) -> None:
        self.name = ""
        self.finder = finder

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self) -> None:
        # Before they import anything, and after pytest put its own finder before all others.
        if self.finder:
            sys.meta_path.insert(0, self.finder)  # type: ignore[arg-type]

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = f"import of {report.nodeid}"


def preload() -> None:
    """Import once what every run needs, and nothing of ours."""
    import boto3
    import botocore.session
    import hypothesis
    from cryptography.x509 import verification

    hypothesis.settings.register_profile(
        "mutation",
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
    )
    hypothesis.settings.load_profile("mutation")
    modules: tuple[ModuleType, ...] = (boto3, botocore.session, verification)
    assert all(modules)
    ours = [name for name in sys.modules if name.startswith("rolesanywhere_auth")]
    assert not ours, f"already imported: {ours}"


def run_tests(module: str, mutant: Mutant | None) -> dict[str, Any]:
    """In a child: run the tests of *module*, with the change if there is one."""
    finder = Finder(mutant) if mutant else None
    first = FirstFailure(finder)
    files = [str(ROOT / "tests" / "testing" / name) for name in TESTS[module]]
    options = ["-x", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what was imported before
    code = pytest.main([*options, *files], plugins=[first])
    if finder and not finder.loaded:
        return {"code": -1, "failed": "the changed module was never loaded"}
    return {"code": int(code), "failed": first.name}


@dataclass
class Run:
    """A child at work."""

    module: str
    mutant: Mutant | None
    process: int
    pipe: int
    begin: float

    def result(self) -> dict[str, Any] | None:
        """What it found, or None while it goes on."""
        done, _ = os.waitpid(self.process, os.WNOHANG)
        if not done and time.monotonic() - self.begin < PATIENCE:
            return None
        if not done:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        with os.fdopen(self.pipe, "rb") as pipe:
            text = pipe.read()
        late = {"code": 1, "failed": "no end" if not done else "the process died"}
        return json.loads(text) if text else late


def start(module: str, mutant: Mutant | None) -> Run:
    read, write = os.pipe()
    process = os.fork()
    if process:
        os.close(write)
        return Run(module, mutant, process, read, time.monotonic())
    os.close(read)
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(quiet, descriptor)
    try:
        os.write(write, json.dumps(run_tests(module, mutant)).encode())
    finally:
        os._exit(0)


def run_all(
    work: Sequence[tuple[str, Mutant | None]], *, jobs: int
) -> Iterator[tuple[str, Mutant | None, dict[str, Any]]]:
    """The results as they come."""
    todo, running = list(work), list[Run]()
    while todo or running:
        while todo and len(running) < jobs:
            running.append(start(*todo.pop(0)))
        for run in list(running):
            result = run.result()
            if result is not None:
                running.remove(run)
                yield run.module, run.mutant, result
        time.sleep(0.02)


# The command


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mutation.py", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(TESTS))
    parser.add_argument("--list", action="store_true", help="name the changes, run nothing")
    parser.add_argument("--only", action="append", help="changes whose name has this text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args(argv)
    modules = chosen.modules or list(TESTS)
    found = [m for module in modules for m in mutants(module) if wanted(m, chosen.only)]
    if chosen.list:
        print("\n".join(f"{mutant.line:4} {mutant.name}" for mutant in found))
        return 0
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    preload()
    sound: list[tuple[str, Mutant | None]] = [(module, None) for module in modules]
    for module, _, result in run_all(sound, jobs=chosen.jobs):
        if result["code"]:
            raise SystemExit(f"{module}: without any change, {result['failed']} fails")
    return report(found, jobs=chosen.jobs, whole=not chosen.only)


def wanted(mutant: Mutant, only: Sequence[str] | None) -> bool:
    return not only or any(text in mutant.name for text in only)


def report(found: Sequence[Mutant], *, jobs: int, whole: bool) -> int:
    """Run all, print a line for each and the figures; the exit code."""
    survivors: dict[str, list[str]] = {mutant.module: [] for mutant in found}
    begin = time.monotonic()
    for module, mutant, result in run_all([(m.module, m) for m in found], jobs=jobs):
        assert mutant is not None
        if result["code"] == 0:
            survivors[module].append(mutant.name)
        elif result["code"] < 0:
            raise SystemExit(f"{mutant.name}: {result['failed']}")
        failed = result["failed"].rpartition("/")[2]
        print(f"{mutant.line:4} {mutant.name:<100} {failed or 'SURVIVED'}", flush=True)
    print(f"\n{'module':<24}{'changes':>8}{'noticed':>8}{'equivalent':>11}{'missed':>7}")
    unknown = []
    for module, names in survivors.items():
        total = sum(mutant.module == module for mutant in found)
        missed = [name for name in names if name not in EQUIVALENT]
        unknown += missed
        known = len(names) - len(missed)
        print(f"{module:<24}{total:>8}{total - len(names):>8}{known:>11}{len(missed):>7}")
    print(f"{len(found)} changes in {time.monotonic() - begin:.0f} s")
    for name in unknown:
        print(f"missed: {name}")
    modules = tuple(f"{module}." for module in survivors)
    all_survivors = {name for names in survivors.values() for name in names}
    needless = [n for n in EQUIVALENT if n.startswith(modules) and n not in all_survivors]
    for name in needless if whole else ():
        print(f"not equivalent: {name}")
    return int(bool(unknown or (whole and needless)))


if __name__ == "__main__":
    sys.exit(main())
