"""Forty set-ups and more with one thing wrong each: the doctor's first failing line names it."""

from __future__ import annotations

import re

import pytest
from bench import ADMINISTRATOR, Bench
from broken import BROKEN, PIN, Broken

from rolesanywhere_auth import cli

SECRETS = (PIN, "914285", "739182", "sesame-open", "proxy-password", "PRIVATE KEY", "MII")


@pytest.mark.parametrize("setup", BROKEN, ids=lambda setup: setup.name)
def test_first_failing_line_names_the_cause(
    setup: Broken, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line that is not well is that of the check for this cause, and says it."""
    bench.configure(setup.build(bench), administrator=setup.administrator)
    more = ["--as", ADMINISTRATOR] if setup.administrator else []

    status = cli.main(["doctor", "--profile", "app", *more])

    out, err = capsys.readouterr()
    lines = out.splitlines()
    first = next(
        (number for number, line in enumerate(lines) if line.startswith(setup.status)), None
    )
    assert first is not None, out
    assert lines[first].split()[1] == setup.check, out
    assert setup.says in lines[first], out
    assert re.fullmatch(r" +Fix: \S.*", lines[first + 1]), out
    assert status == (1 if setup.status == "FAIL" else 0), out
    assert ("FAIL" in out) == (setup.status == "FAIL"), out
    assert err == ""
    secrets = (*SECRETS, bench.keys[1]) if setup.administrator else SECRETS
    assert not [secret for secret in secrets if secret in out]
