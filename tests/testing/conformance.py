"""Writes docs/conformance.md: ``python tests/testing/conformance.py --write`` in the checkout.

The table is made of the tests marked ``conformance``, as pytest collects them::

    @pytest.mark.conformance("CreateSession: the rule.", source="UG/trust-model", check="leaf")

The first argument says where the rule holds (operations, or one of `PLACES`) and what it is;
without a rule it is the test's docstring. ``source`` is one or several of `SOURCES`, joined by
`` + ``. ``check`` is a check of CreateSession as the audit trail calls it, ``text`` the refusal:
a name in ``texts.py``, or the words themselves.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import inspect
import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"
EVERY = "every operation"
PLACES = {
    EVERY: "Every operation",
    "trust policy": "Trust policies",
    "session": "What a session may do",
    "CloudTrail": "CloudTrail",
    "CloudWatch": "CloudWatch",
    "EventBridge": "EventBridge",
}
SOURCES = {
    "model": "the service model in botocore, with its descriptions",
    "observed": "an answer of the live service that somebody published",
    "helper": "the source of AWS's own clients: the credential helper, iam-rolesanywhere-session",
    "STS": "the API reference of AWS STS",
    "choice": "ours, as AWS does not say",
}
"""Beside ``UG/…`` (a page of the user guide of IAM Roles Anywhere), ``IAM/…`` and ``RFC …``."""
CHECKS = {
    "quota": "The quota of calls",
    "parameters": "The parameters",
    "signature": "The signature",
    "trust anchor and profile exist": "Trust anchor and profile exist",
    "one account, one Region": "One account, one Region",
    "enabled": "Enabled",
    "path to the trust anchor": "The path to the trust anchor",
    "leaf": "The leaf",
    "revocation": "Revocation",
    "role in the profile": "The role is in the profile",
    "session name": "The session name",
    "role exists": "The role exists",
    "duration": "The duration",
    "trust policy": "The trust policy",
    "session policies": "The session policies",
    "keys": "The answer",
}
"""By the names in the audit trail, in the order in which they are made."""


@dataclass(frozen=True)
class Rule:
    """One rule of the service, and the test that holds it."""

    places: tuple[str, ...]
    rule: str
    sources: tuple[str, ...]
    test: str
    check: str | None = None
    text: str | None = None


class Collector:
    """A pytest plugin that keeps what was collected."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = list(session.items)


def collect() -> list[Rule]:
    """Every rule that a test of tests/testing is marked with, in the order of the tests.

    Raises:
        RuntimeError: pytest could not collect.
        ValueError: A mark is wrong; the message says where and why.
    """
    found, said = Collector(), io.StringIO()
    options = ["--collect-only", "-q", "-m", "", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    options += ["--assert=plain"]  # it is quicker, and nothing is asserted
    with contextlib.redirect_stdout(said):
        code = pytest.main([*options, str(ROOT / "tests" / "testing")], plugins=[found])
    if code:
        raise RuntimeError(f"pytest could not collect the tests:\n{said.getvalue()}")
    rules: dict[Rule, None] = {}
    for item in sorted(found.items, key=lambda item: item.path.name):
        rules.update(dict.fromkeys(rules_of(item)))
    return list(rules)


def rules_of(item: Any) -> Iterator[Rule]:
    """The rules of one test; of a parametrized one they come once for each parameter."""
    test = f"{item.path.name}::{item.originalname}"
    for mark in reversed(list(item.iter_markers("conformance"))):
        try:
            yield read(*mark.args, **mark.kwargs, test=test, docstring=item.function.__doc__)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{test}: {error}") from error


def read(
    what: str,
    /,
    *,
    source: str,
    test: str,
    docstring: str,
    check: str | None = None,
    text: str | None = None,
) -> Rule:
    """The rule of one mark.

    Raises:
        ValueError: It names a place, source, check or text that does not exist.
    """
    where, _, rule = what.partition(": ")
    places = tuple(where.split(", "))
    unknown = [place for place in places if place not in {*operations(), "CreateSession", *PLACES}]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no operation and none of {', '.join(PLACES)}")
    sources = tuple(source.split(" + "))
    for each in sources:
        if each not in SOURCES and not re.fullmatch(r"(UG|IAM)/[\w-]+|RFC \d+, [\d.]+", each):
            raise ValueError(f"{each!r} is no source; see SOURCES in tests/testing/conformance.py")
    if check is not None and check not in CHECKS:
        raise ValueError(f"{check!r} is no check; see CHECKS in tests/testing/conformance.py")
    if text is not None and re.fullmatch(r"[A-Z_]+", text) and text not in texts():
        raise ValueError(f"{text} is not in texts.py")
    return Rule(places, rule or sentence(docstring), sources, test, check, text)


def sentence(docstring: str) -> str:
    """The first paragraph of *docstring* in one line."""
    return " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split())


@functools.cache
def operations() -> list[str]:
    """The operations of the installed model."""
    from rolesanywhere_auth.testing.service.model import Codec

    return list(Codec().model.operation_names)


@functools.cache
def texts() -> dict[str, Any]:
    """The refusals of texts.py, by name."""
    from rolesanywhere_auth.testing.service import texts as module

    return {name: value for name, value in vars(module).items() if isinstance(value, module.Text)}


def uncovered(rules: Sequence[Rule], *, checks: Iterable[str]) -> list[str]:
    """What no rule is about: operations, texts, and *checks* of CreateSession."""
    places = {place for rule in rules for place in rule.places}
    named = {rule.text for rule in rules}
    checked = {rule.check for rule in rules}
    return [
        *(f"operation {name}" for name in operations() if name not in places),
        *(f"text {name}" for name in texts() if name not in named),
        *(f"check {name}" for name in checks if name not in checked),
    ]


# The page

HEAD = """\
<!-- Made by `python tests/testing/conformance.py --write` from the tests. Do not edit. -->

# What holds the emulator to the service

Each rule and each text of the service that the emulator keeps, where it is known from, and the test
in `tests/testing` that fails when it is broken. The page is made from the tests. A test fails when
it is out of date, and when an operation of botocore's model, a text, or a check of CreateSession
has no test here. [](emulator.md) explains the choices.

How much the tests hold is tried out: `python tests/testing/mutation.py` takes each check of
CreateSession away in turn, every condition and every part of one, and demands that a test fails;
the few changes that nobody could notice are listed there with the reason. `test_fuzz.py` sends
parameters, headers, certificates, lists, calls and bytes of every kind: the service answers each,
never with an error that is not meant, and no changed request gets a session unless it says the same
by the specification; what says the same is listed in `meaning_of`.

| source | what it is |
| --- | --- |
| `UG/…` | a page of the user guide of IAM Roles Anywhere |
| `IAM/…` | a page of the IAM User Guide |
| `RFC …` | a section of an RFC |
"""


def page(rules: Sequence[Rule]) -> str:
    """The text of docs/conformance.md."""
    parts = [HEAD + "".join(f"| {name} | {what} |\n" for name, what in SOURCES.items())]
    sign_in = [rule for rule in rules if "CreateSession" in rule.places]
    parts.append("## CreateSession\n\nThe checks stand in the order in which they are made.\n")
    for check, title in CHECKS.items():
        found = [rule for rule in sign_in if rule.check == check]
        parts.append(f"### {title}\n\n{table(found, places=False)}")
    rest = [rule for rule in sign_in if rule.check is None]
    parts.append(f"### Request, session and subject\n\n{table(rest, places=False)}")
    control = [rule for rule in rules if set(rule.places) & {*operations(), EVERY}]
    parts.append(f"## The control plane\n\n{by_operation(control)}")
    for place, title in PLACES.items():
        if place != EVERY:
            parts.append(f"## {title}\n\n{table(of(rules, place), places=False)}")
    return "\n".join(parts)


def of(rules: Sequence[Rule], place: str) -> list[Rule]:
    return [rule for rule in rules if place in rule.places]


def by_operation(rules: Sequence[Rule]) -> str:
    """One table: every operation first, then by name; a rule stands where it fits first."""
    rows: dict[Rule, None] = dict.fromkeys(of(rules, EVERY))
    for name in sorted(operations()):
        rows.update(dict.fromkeys(of(rules, name)))
    return table(list(rows), places=True)


def table(rules: Sequence[Rule], *, places: bool) -> str:
    """The rules as a table, with their places if they differ."""
    heads = [*(["operations"] if places else []), "rule", "answer", "source", "test"]
    lines = [row(heads), row(["---"] * len(heads))]
    for rule in rules:
        names = ", ".join(name for name in rule.places if name != "CreateSession")
        name, _, function = rule.test.partition("::")
        lines.append(
            row(
                [
                    *([names] if places else []),
                    rule.rule,
                    answer(rule.text),
                    ", ".join(f"`{s}`" if "/" in s else s for s in rule.sources),
                    f"`{name}` `{function}`",
                ]
            )
        )
    return "".join(lines)


def answer(text: str | None) -> str:
    """The refusal's status, code and words; of a text that is not in texts.py the words alone."""
    if text is None:
        return ""
    known = texts().get(text)
    return f"{known.status} {known.code}: `{known.words}`" if known else f"`{text}`"


def row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="conformance.py", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/conformance.md")
    chosen = parser.parse_args(argv)
    rules = collect()
    text = page(rules)
    if chosen.write:
        PAGE.write_text(text, encoding="utf-8")
    faults = [f"no test is marked for the {name}" for name in uncovered(rules, checks=CHECKS)]
    if PAGE.read_text(encoding="utf-8") != text:
        faults.append(
            "docs/conformance.md is out of date; run tests/testing/conformance.py --write"
        )
    print("\n".join(faults) or f"{len(rules)} rules")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
