"""Passphrases: what counts as one, and that none is printed."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_auth.errors import CertificateLoadError, ConfigurationError, PassphraseError
from rolesanywhere_auth.secrets import looks_like_content, reveal

DER = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQQOPfvxdTory+KtTM/vu"


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


def test_what_a_callable_raises_is_not_said() -> None:
    """A secret store's own text may hold the secret: only the kind of its error is named."""

    def ask() -> str:
        raise LookupError("vault answered: password=hunter2")

    with pytest.raises(PassphraseError, match="raised LookupError") as caught:
        reveal(ask)
    assert "hunter2" not in str(caught.value)
    assert isinstance(caught.value.__cause__, LookupError)


def test_our_own_errors_pass() -> None:
    """A callable may raise one of this library's errors."""

    def ask() -> str:
        raise CertificateLoadError("no such file")

    with pytest.raises(CertificateLoadError):
        reveal(ask)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/etc/pki/app.pem", False),
        ("app.key", False),
        ("/a" * 60, False),
        ("A" * 59, False),
        ("A" * 60, True),
        ("LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JSUV2UUlCQURBTkJna3Foa2lHOXcwQg==", True),
        ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7/+abcdefghijklm", True),
        (f'"{DER}"', True),
        (f"key={DER},", True),
        (f"b'{DER}'", True),
        (DER.replace("+", "-").replace("/", "_"), True),
        (f"/{DER}", False),
        ("MIT/" + "certificates/" * 6 + "app.pem", False),
        ("a\nb", True),
        ("x PRIVATE KEY", True),
        ("-----BEGIN", True),
        ("ä" * 60, False),
    ],
)
def test_content_given_as_a_path_is_recognised(text: str, expected: bool) -> None:
    """PEM, base64 of PEM or DER: what must not be shown as if it were a path."""
    assert looks_like_content(text) is expected
