from __future__ import annotations

import pytest

from rolesanywhere_auth import diagnosis
from rolesanywhere_auth.diagnosis.case import (
    Case,
    Finding,
    Step,
    examine,
    failure,
    not_needed,
    passed,
    told,
    warning,
)
from rolesanywhere_auth.errors import (
    ConfigurationError,
    InvalidRequestError,
    PrivateKeyLoadError,
    RolesAnywhereError,
)


def case() -> Case:
    """One of which nothing is known, and nothing asked."""
    return Case(
        lambda: pytest.fail("nobody asked"),
        origin="a test",
        make_session=lambda: pytest.fail("nobody asked"),
        administrator=None,
        now=lambda: 0.0,
        sleep=lambda _: None,
        jitter=lambda: 0.0,
        expiry_days=30,
    )


def step(name: str, finding: Finding, *needs: str) -> Step:
    """A check that finds *finding*."""
    return Step(name, lambda _: finding, needs)


def test_what_needs_a_failed_check_is_not_made() -> None:
    """It says which check failed first, however long the way there is."""
    found = list(
        examine(
            case(),
            [
                step("a", failure("broken", "mend it")),
                Step("b", lambda _: pytest.fail("it was made"), ("a",)),
                Step("c", lambda _: pytest.fail("it was made"), ("b",)),
                step("d", passed("well"), "e"),
            ],
        )
    )

    assert [(each.name, each.status) for each in found] == [
        ("a", "fail"),
        ("b", "skipped"),
        ("c", "skipped"),
        ("d", "pass"),
    ]
    assert found[1].evidence == found[2].evidence == "needs a, which failed"


def test_what_could_not_be_asked_stops_its_followers_too() -> None:
    """A warning may mean that nothing is known; a failure may leave enough known to go on."""
    found = list(
        examine(
            case(),
            [
                step("a", warning("refused", "allow it", blocks=True)),
                step("b", passed("well"), "a"),
                step("c", failure("disabled", "enable it", blocks=False)),
                step("d", passed("well"), "c"),
                step("e", not_needed("nothing there")),
                step("f", passed("well"), "e"),
            ],
        )
    )

    assert [each.status for each in found] == ["warn", "skipped", "fail", "pass", "skipped", "pass"]
    assert found[1].evidence == "needs a, which could not be made"


@pytest.mark.parametrize(
    ("error", "evidence", "fix"),
    [
        (ConfigurationError("it is wrong; do this. Or that."), "it is wrong; do this", "Or that"),
        (ConfigurationError("it is wrong; do this"), "it is wrong", "do this"),
        (ConfigurationError("x: it is wrong: do this"), "x: it is wrong", "do this"),
        (
            PrivateKeyLoadError("/a. b: is empty. Fill it.", source="/a. b"),
            "/a. b: is empty",
            "Fill it",
        ),
        (
            ConfigurationError("it is wrong"),
            "it is wrong",
            "correct what this names; flags go over profile and environment",
        ),
        (
            InvalidRequestError(
                "refused. Known causes: x; y",
                status=400,
                code="V",
                service_message="refused",
                causes=("x", "y"),
            ),
            "refused",
            "x; or y",
        ),
    ],
)
def test_error_is_told_as_evidence_and_fix(
    error: RolesAnywhereError, evidence: str, fix: str
) -> None:
    """What an error says to do is the fix; the rest is the evidence."""
    assert told(error) == failure(evidence, fix)


def test_errors_of_a_check_are_its_outcome() -> None:
    """A check that raises an error of this library has failed; another error is a fault here."""

    def raises(error: Exception) -> Step:
        def look(_: Case) -> Finding:
            raise error

        return Step("a", look)

    (found,) = examine(case(), [raises(ConfigurationError("wrong; mend it"))])
    assert (found.status, found.evidence, found.fix) == ("fail", "wrong", "mend it")
    with pytest.raises(ZeroDivisionError):
        list(examine(case(), [raises(ZeroDivisionError())]))


def test_every_check_is_in_the_documentation(repository) -> None:
    """Names are unique, needs name checks that come before, and docs/doctor.md has each."""
    page = (repository / "docs" / "doctor.md").read_text(encoding="utf-8")
    names: list[str] = []
    for each in diagnosis.steps(administrator=True):
        assert f"`{each.name}`" in page
        assert set(each.needs) <= set(names), each.name
        names.append(each.name)

    assert len(names) == len(set(names))
    without = [each.name for each in diagnosis.steps(administrator=False)]
    assert without == [name for name in names if name in without]
    assert "trust-policy" not in without
