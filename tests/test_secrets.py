"""Passphrases: what counts as one, and that none is printed."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_auth.errors import ConfigurationError
from rolesanywhere_auth.secrets import reveal


@pytest.mark.parametrize(
    ("given_as", "expected"),
    [
        pytest.param(None, None, id="none"),
        pytest.param("", None, id="empty-text"),
        pytest.param(b"", None, id="empty-bytes"),
        pytest.param(lambda: None, None, id="callable-none"),
        pytest.param(lambda: "", None, id="callable-empty"),
        pytest.param("pässe", b"p\xc3\xa4sse", id="text"),
        pytest.param(b"\x00\xff", b"\x00\xff", id="bytes"),
        pytest.param(lambda: "hunter2", b"hunter2", id="callable-text"),
        pytest.param(lambda: b"hunter2", b"hunter2", id="callable-bytes"),
        pytest.param(lambda: bytearray(b"hunter2"), b"hunter2", id="callable-bytearray"),
    ],
)
def test_reveal(given_as: str | bytes | Callable[[], str | bytes], expected: bytes | None) -> None:
    """Text, bytes and a callable give bytes; nothing gives None."""
    found = reveal(given_as)
    assert found == expected
    assert found is None or type(found) is bytes


def test_a_callable_is_asked_each_time() -> None:
    """The answer of a secret store may change, and is not kept."""
    answers = iter(["old", "new"])
    assert [reveal(lambda: next(answers)) for _ in range(2)] == [b"old", b"new"]


@given(raw=st.binary(min_size=1).filter(lambda raw: b"\0" not in raw))
def test_environment_variables_come_out_as_the_bytes_they_were(raw: bytes) -> None:
    """A passphrase in another encoding than UTF-8 passes through ``os.environ`` unharmed."""
    assert reveal(raw.decode("utf-8", "surrogateescape")) == raw
    assert os.fsencode(os.fsdecode(raw)) == raw  # what os.environ itself does


@pytest.mark.parametrize("value", [5, ["hunter2"], object()], ids=["int", "list", "object"])
def test_other_types_are_refused_without_being_shown(value: object) -> None:
    """A wrong type is named; the value is not."""
    with pytest.raises(ConfigurationError, match=r"str or bytes, not (int|list|object)") as caught:
        reveal(lambda: value)  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


def test_text_that_cannot_be_encoded_is_not_in_the_error() -> None:
    """Not even the error behind the error holds the passphrase."""
    with pytest.raises(ConfigurationError, match="give it as bytes") as caught:
        reveal("hunter2\ud800")
    assert caught.value.__context__ is None
    assert "hunter2" not in "".join(traceback.format_exception_only(caught.value))
