"""Tokens and the files that hold them."""

from __future__ import annotations

import logging
import os
import stat
import string
from collections.abc import Callable
from pathlib import Path

import pytest

from rolesanywhere_auth import ConfigurationError
from rolesanywhere_auth.serve.tokens import RETRY_SECONDS, TokenFolder, Tokens, default_folder


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    """Tokens by that clock."""
    return Tokens(steady=clock)


def test_a_token_is_good_for_its_scope_and_time(tokens: Tokens, clock: Clock) -> None:
    """It is known for what it was issued for, until its end and no longer."""
    token = tokens.issue("role/a", lifetime=10)

    assert tokens.knows(token, "role/a")
    assert not tokens.knows(token, "role/b")
    assert not tokens.knows(token, "imds")
    clock.now += 9.9
    assert tokens.knows(token, "role/a")
    clock.now += 0.1
    assert not tokens.knows(token, "role/a")


def test_tokens_differ_and_fit_a_header(tokens: Tokens) -> None:
    """No two are alike; each is one line of plain characters, as botocore asks."""
    found = {tokens.issue("a", lifetime=10) for _ in range(100)}

    assert len(found) == 100
    assert all(each.replace("-", "a").replace("_", "a").isalnum() for each in found)


def test_forged_tokens_are_not_known(tokens: Tokens, clock: Clock) -> None:
    """Whatever is changed in one: a character, the length, the alphabet, the server."""
    token = tokens.issue("a", lifetime=10)
    changed = [
        token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        for place in range(len(token) - 1)
    ]
    others = ["", "A" * len(token), token[:-1], f"{token}A", f"{token}=", "é" * len(token)]
    odd = [f"{token[:-1]}{letter}" for letter in "+/=\n !"]

    assert not [each for each in (*changed, *others, *odd) if tokens.knows(each, "a")]
    assert not Tokens(steady=clock).knows(token, "a")


def test_a_token_has_one_spelling(tokens: Tokens) -> None:
    """Neither the other alphabet of base64 nor odd last bits stand for the same token."""
    alphabet = string.ascii_letters + string.digits + "-_+/"
    for token in (tokens.issue("a", lifetime=10) for _ in range(100)):
        others = [f"{token[:-1]}{letter}" for letter in alphabet if letter != token[-1]]
        others += [token.replace("-", "+"), token.replace("_", "/")]
        assert not [each for each in others if each != token and tokens.knows(each, "a")]


@pytest.fixture
def folder(tokens: Tokens, clock: Clock) -> Callable[[Path | None], TokenFolder]:
    """Makes folders with tokens of 100 s."""
    return lambda path: TokenFolder(
        path, tokens=tokens, scopes={"a.token": "role/a"}, lifetime=100, steady=clock
    )


def test_files_are_private(folder: Callable[..., TokenFolder], tmp_path: Path) -> None:
    """0600 in 0700, whatever the umask; both are gone at the end."""
    before = os.umask(0)
    try:
        made = folder(tmp_path / "new")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new/a.token").stat().st_mode) == 0o600
    made.remove()
    assert not (tmp_path / "new").exists()


def test_what_was_there_stays(folder: Callable[..., TokenFolder], tmp_path: Path) -> None:
    """A folder that the user made, and other files in it, are left alone."""
    tmp_path.chmod(0o755)
    (tmp_path / "other").touch()

    folder(tmp_path).remove()

    assert [each.name for each in tmp_path.iterdir()] == ["other"]


def test_rotation_overlaps(
    folder: Callable[..., TokenFolder], tokens: Tokens, clock: Clock, tmp_path: Path
) -> None:
    """At half of its life a token is replaced, and stays good for the other half."""
    made = folder(tmp_path / "new")
    file = tmp_path / "new/a.token"
    first = file.read_text()

    clock.now += 49
    made.rotate()
    assert file.read_text() == first
    clock.now += 1
    made.rotate()
    second = file.read_text()
    assert second != first
    assert tokens.knows(first, "role/a")
    assert tokens.knows(second, "role/a")
    clock.now += 50
    assert not tokens.knows(first, "role/a")
    assert tokens.knows(second, "role/a")
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["a.token"]
    made.remove()


def test_a_rotation_that_fails_is_tried_again(
    folder: Callable[..., TokenFolder],
    clock: Clock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The old token stays; after ten seconds comes the next attempt."""
    made = folder(tmp_path / "new")
    (tmp_path / "new/a.token").unlink()
    (tmp_path / "new").rmdir()  # nothing can be made in a folder that is gone
    clock.now += 50

    made.rotate()
    made.rotate()
    assert len(caplog.records) == 1
    assert "cannot renew the token files" in caplog.text
    clock.now += RETRY_SECONDS
    made.rotate()
    assert len(caplog.records) == 2
    made.remove()


def test_without_a_folder_there_is_a_temporary_one(folder: Callable[..., TokenFolder]) -> None:
    """It is private, and goes at the end."""
    made = folder(None)

    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    assert (made.path / "a.token").exists()
    made.remove()
    assert not made.path.exists()


def test_folders_that_cannot_be_used(folder: Callable[..., TokenFolder], tmp_path: Path) -> None:
    """A file, a missing parent, a folder that others may change, one where a file is in the way."""
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "taken/a.token").mkdir(parents=True)
    for name, reason in {
        "file": "Not a directory",
        "missing/new": "cannot make",
        "open": "mode 0777",
        "taken": "cannot write a token file",
    }.items():
        with pytest.raises(ConfigurationError, match=reason):
            folder(tmp_path / name)


def test_where_services_keep_them(tmp_path: Path) -> None:
    """systemd's folder, else one in the user's, else none."""
    user = {"XDG_RUNTIME_DIR": str(tmp_path)}

    assert default_folder({"RUNTIME_DIRECTORY": "/run/a:/run/b", **user}, name="x") == Path(
        "/run/a"
    )
    assert default_folder(user, name="x") == tmp_path / "rolesanywhere-auth" / "x"
    assert stat.S_IMODE((tmp_path / "rolesanywhere-auth").stat().st_mode) == 0o700
    assert default_folder({"XDG_RUNTIME_DIR": "relative"}, name="x") is None
    assert default_folder({}, name="x") is None


def test_no_token_is_logged(
    folder: Callable[..., TokenFolder], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even at DEBUG."""
    caplog.set_level(logging.DEBUG)
    made = folder(tmp_path / "new")
    token = (tmp_path / "new/a.token").read_text()
    made.remove()

    assert token not in caplog.text
