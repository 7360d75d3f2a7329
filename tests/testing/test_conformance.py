from __future__ import annotations

import re
import subprocess
import sys

import conformance
import pytest
from conformance import CHECKS, ROOT, Rule, read, uncovered


def test_page_is_up_to_date_and_nothing_is_without_a_test() -> None:
    """docs/conformance.md is what the tests say, and they are about every operation and text."""
    done = subprocess.run(
        [sys.executable, conformance.__file__], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.removesuffix(" rules\n")) > 200


def test_checks_are_those_of_the_audit_trail_in_their_order(emulator, create_session) -> None:
    """The page has a section for each check that a sign-in passes, and for no other."""
    create_session(emulator.set_up())

    assert [check.name for check in emulator.events[0].checks] == list(CHECKS)


def test_every_step_of_the_documented_order_has_a_check() -> None:
    """docs/emulator.md lists the checks that are here, in the same order."""
    page = (ROOT / "docs" / "emulator.md").read_text(encoding="utf-8")
    listed = page.partition("## The checks of CreateSession, in order")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d+\. (.+?)(?=^\d+\. |^$)", listed, re.MULTILINE | re.DOTALL)
    words = {
        "parameters": "parameters",
        "signature": "signature",
        "trust anchor and profile exist": "exist",
        "one account, one Region": "one account",
        "enabled": "enabled",
        "path to the trust anchor": "path to the trust anchor",
        "leaf": "leaf is fit",
        "revocation": "CRL",
        "role in the profile": "lists the role",
        "session name": "session name",
        "role exists": "role exists",
        "duration": "duration",
        "trust policy": "trust policy",
        "session policies": "session policy",
    }

    # Before them the quota, where it is switched on; after them the answer.
    assert list(words) == list(CHECKS)[1:-1]
    assert len(steps) == len(words)
    for step, word in zip(steps, words.values(), strict=True):
        assert word in step


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        (Rule(("GetCrl",), "r", ("model",), "t"), "operation GetCrl"),
        (Rule(("x",), "r", ("model",), "t", text="UNABLE_TO_ASSUME"), "text UNABLE_TO_ASSUME"),
        (Rule(("x",), "r", ("model",), "t", check="leaf"), "check leaf"),
    ],
)
def test_what_has_no_test_is_named(rule: Rule, missing: str) -> None:
    """An operation, a text or a check without a marked test is found; with one it is not."""
    assert missing in uncovered([], checks=CHECKS)
    assert missing not in uncovered([rule], checks=CHECKS)


@pytest.mark.parametrize(
    ("what", "changes", "error"),
    [
        ("GetThing: it is", {}, "'GetThing' is no operation"),
        ("GetCrl: it is", {"source": "hearsay"}, "'hearsay' is no source"),
        ("GetCrl: it is", {"source": "UG/trust model"}, "is no source"),
        ("CreateSession", {"check": "colour"}, "'colour' is no check"),
        ("CreateSession", {"text": "NO_SUCH_TEXT"}, "NO_SUCH_TEXT is not in texts.py"),
    ],
)
def test_wrong_mark_is_refused(what: str, changes: dict[str, str], error: str) -> None:
    """A mark cannot name what does not exist."""
    options = {"source": "model", "test": "t", "docstring": "d", **changes}
    with pytest.raises(ValueError, match=error):
        read(what, **options)


def test_rule_without_words_is_the_docstring() -> None:
    """The table says what the test says of itself, unless the mark knows better."""
    found = read(
        "GetCrl, ListCrls",
        source="UG/quotas + choice",
        test="t",
        docstring="One\n    rule.\n\nMore.",
    )

    assert found == Rule(("GetCrl", "ListCrls"), "One rule.", ("UG/quotas", "choice"), "t")
    line = conformance.table([found], places=True).splitlines()[-1]
    assert line == "| GetCrl, ListCrls | One rule. |  | `UG/quotas`, choice | `t` `` |"
