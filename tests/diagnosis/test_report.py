from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from rolesanywhere_auth.diagnosis import Check, Diagnosis

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
GOOD = Check("one", "pass", "all is well", facts={"days_left": 3})
OLD = Check("two", "warn", "it is old", "renew it")
BAD = Check("three", "fail", "it is broken", "mend it")
LEFT = Check("four", "skipped", "needs three, which failed")
MORE = Check("five", "skipped", "needs three, which failed")


def test_first_failure_and_warnings() -> None:
    """The first check that failed names the cause; warnings alone leave the report well."""
    report = Diagnosis((GOOD, OLD, BAD, LEFT), NOW)

    assert not report.ok
    assert report.first_failure == BAD
    assert report.warnings == (OLD,)
    assert Diagnosis((GOOD, OLD), NOW).ok
    assert Diagnosis((GOOD, OLD), NOW).first_failure is None


def test_checks_by_name() -> None:
    """A check is found by its name; there are no others."""
    report = Diagnosis((GOOD, OLD), NOW)

    assert report["two"] is OLD
    with pytest.raises(KeyError, match="three"):
        report["three"]


def test_report_as_json() -> None:
    """All of it is plain data for JSON."""
    report = Diagnosis((GOOD, OLD, BAD), NOW)

    assert json.loads(json.dumps(report.as_dict())) == {
        "ok": False,
        "checked_at": "2030-01-02T03:04:05Z",
        "first_failure": "three",
        "warnings": ["two"],
        "checks": [
            {
                "name": "one",
                "status": "pass",
                "evidence": "all is well",
                "fix": "",
                "facts": {"days_left": 3},
            },
            {
                "name": "two",
                "status": "warn",
                "evidence": "it is old",
                "fix": "renew it",
                "facts": {},
            },
            {
                "name": "three",
                "status": "fail",
                "evidence": "it is broken",
                "fix": "mend it",
                "facts": {},
            },
        ],
    }
    assert Diagnosis((GOOD,), NOW).as_dict()["first_failure"] is None


def test_report_as_text() -> None:
    """A line each, fixes below, what was not made at the end by reason, and a sum."""
    report = Diagnosis((GOOD, LEFT, OLD, BAD, MORE), NOW)

    assert str(report) == (
        "pass  one    all is well\n"
        "WARN  two    it is old\n"
        "             Fix: renew it\n"
        "FAIL  three  it is broken\n"
        "             Fix: mend it\n"
        "skip  four, five: needs three, which failed\n"
        "\n"
        "1 failed, 1 to be looked at, 1 passed, 2 skipped. Begin with three."
    )
    assert str(Diagnosis((GOOD,), NOW)) == "pass  one  all is well\n\n1 passed."


def test_colour_is_of_the_status_alone() -> None:
    """With ANSI's sequences taken away the coloured text is the plain one."""
    report = Diagnosis((GOOD, OLD, BAD, LEFT), NOW)
    coloured = report.text(colour=True)

    assert coloured.count("\x1b[0m") == 4
    assert "\x1b[31;1mFAIL\x1b[0m  three" in coloured
    for code in ("32", "33", "31;1", "2", "0"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == report.text()
