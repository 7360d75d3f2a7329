# SPDX-License-Identifier: Apache-2.0
"""What a diagnosis says: checks in order, each with what was found and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Status = Literal["pass", "warn", "fail", "skipped"]
Facts = Mapping[str, str | int | float | bool | None]

_WORDS: Mapping[Status, str] = {"pass": "pass", "warn": "WARN", "fail": "FAIL", "skipped": "skip"}
_COLOURS: Mapping[Status, str] = {"pass": "32", "warn": "33", "fail": "31;1", "skipped": "2"}
_COUNTED: Mapping[Status, str] = {
    "fail": "failed",
    "warn": "to be looked at",
    "pass": "passed",
    "skipped": "skipped",
}


def _word(status: Status, *, colour: bool) -> str:
    word = _WORDS[status]
    return f"\x1b[{_COLOURS[status]}m{word}\x1b[0m" if colour else word


@dataclass(frozen=True)
class Check:
    """One check and its outcome; no part of it ever holds a secret."""

    name: str
    """Stays the same from release to release, for machines."""
    status: Status
    """``skipped``: not made, as something it needs failed, or as there is nothing to check."""
    evidence: str
    """What was found."""
    fix: str = ""
    """What to do about it; of a failure and of a warning."""
    facts: Facts = field(default_factory=dict)
    """Numbers and times of the evidence: seconds, days, times by RFC 3339."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "status": self.status,
            "evidence": self.evidence,
            "fix": self.fix,
            "facts": dict(self.facts),
        }

    def line(self, *, width: int = 0, colour: bool = False) -> str:
        """For people: status, name and evidence, and the fix below."""
        word = _word(self.status, colour=colour)
        text = f"{word}  {self.name:<{width}}  {self.evidence}"
        return f"{text}\n{'':{width + 8}}Fix: {self.fix}" if self.fix else text


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found out."""

    checks: tuple[Check, ...]
    """In the order in which they were made."""
    checked_at: datetime
    """By this machine's clock; aware, UTC."""

    @property
    def ok(self) -> bool:
        """Whether no check failed; there may be warnings."""
        return self.first_failure is None

    @property
    def first_failure(self) -> Check | None:
        """The check that names the cause; None if all is well."""
        return next((check for check in self.checks if check.status == "fail"), None)

    @property
    def warnings(self) -> tuple[Check, ...]:
        """What works now, and should be looked at."""
        return tuple(check for check in self.checks if check.status == "warn")

    def __getitem__(self, name: str) -> Check:
        """The check of this name.

        Raises:
            KeyError: There is none of it in this diagnosis.
        """
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        first = self.first_failure
        return {
            "ok": self.ok,
            "checked_at": f"{self.checked_at:%Y-%m-%dT%H:%M:%SZ}",
            "first_failure": None if first is None else first.name,
            "warnings": [check.name for check in self.warnings],
            "checks": [check.as_dict() for check in self.checks],
        }

    def text(self, *, colour: bool = False) -> str:
        """For people: a line for each check, and what to do below those that need it.

        Those that were not made stand at the end, by reason.

        Args:
            colour: Whether to colour the status by ANSI's sequences.
        """
        made = [check for check in self.checks if check.status != "skipped"]
        width = max((len(check.name) for check in made), default=0)
        lines = [check.line(width=width, colour=colour) for check in made]
        return "\n".join([*lines, *self._skipped(colour=colour), "", self._summary()])

    def _skipped(self, *, colour: bool) -> list[str]:
        """A line for each reason."""
        reasons: dict[str, list[str]] = {}
        for check in self.checks:
            if check.status == "skipped":
                reasons.setdefault(check.evidence, []).append(check.name)
        word = _word("skipped", colour=colour)
        return [f"{word}  {', '.join(names)}: {reason}" for reason, names in reasons.items()]

    def _summary(self) -> str:
        numbers = Counter(check.status for check in self.checks)
        counted = ", ".join(
            f"{numbers[status]} {words}" for status, words in _COUNTED.items() if numbers[status]
        )
        first = self.first_failure
        return f"{counted}." + ("" if first is None else f" Begin with {first.name}.")

    def __str__(self) -> str:
        return self.text()
