"""Credentials put into the text of a shared credentials file."""

from __future__ import annotations

import configparser
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rolesanywhere_auth._merging import WRITTEN, check_profile, merged, sections
from rolesanywhere_auth.errors import ConfigurationError

VALUES = {
    "aws_access_key_id": "accessKeyId",
    "aws_secret_access_key": "secretAccessKey",
    "aws_session_token": "sessionToken",
}
THREE = "".join(f"{name} = {value}\n" for name, value in VALUES.items())
TOP = "test\ntest\ntest\n"


def merge(text: str, profile: str = "test") -> str:
    """*text* with `VALUES`."""
    return merged(text.encode(), profile, VALUES).decode()


def parsed(content: bytes) -> dict[str, dict[str, str]] | None:
    """As botocore reads it; None for what it refuses."""
    parser = configparser.RawConfigParser(default_section=None)  # type: ignore[call-overload]
    try:
        text = content.decode("utf-8", "surrogateescape")
        parser.read_string(text.replace("\r\n", "\n").replace("\r", "\n"))
    except configparser.Error:
        return None
    return {name: dict(parser.items(name)) for name in parser.sections()}


# What AWS's helper writes, by its own tests; its answers end in one line end more or less.
HELPERS = {
    "a name with a space": (
        "test profile",
        TOP + "[test profile]\naws_access_key_id = test\n[test]\naws_secret_access_key = test",
        TOP + f"[test profile]\n{THREE}[test]\naws_secret_access_key = test",
    ),
    "other keys": (
        "test profile",
        TOP
        + "[test profile]\naws_access_key_id = test\ntest_key = test\n"
        + "[test]\naws_secret_access_key = test",
        TOP
        + "[test profile]\naws_access_key_id = accessKeyId\ntest_key = test\n"
        + "aws_secret_access_key = secretAccessKey\naws_session_token = sessionToken\n"
        + "[test]\naws_secret_access_key = test",
    ),
    "a header in a comment": (
        "test profile",
        TOP + "# [test profile]\naws_access_key_id = test\n[test]\naws_secret_access_key = test",
        TOP
        + "# [test profile]\naws_access_key_id = test\n[test]\naws_secret_access_key = test\n"
        + f"[test profile]\n{THREE}",
    ),
    "no such profile": (
        "test profile",
        TOP + "[test]\naws_secret_access_key = test",
        TOP + f"[test]\naws_secret_access_key = test\n[test profile]\n{THREE}",
    ),
    "the first word of another": (
        "test",
        TOP + "[test profile]\naws_access_key_id = test\n[test]\naws_secret_access_key = test",
        TOP + f"[test profile]\naws_access_key_id = test\n[test]\n{THREE}",
    ),
    "two of the same name": (
        "test",
        TOP
        + "[test]\ntest_key = test\n[test profile]\naws_access_key_id = test\n"
        + "[test]\naws_secret_access_key = test",
        TOP
        + f"[test]\ntest_key = test\n{THREE}[test profile]\naws_access_key_id = test\n"
        + "[test]\naws_secret_access_key = test",
    ),
    "an empty file": ("test profile", "", f"[test profile]\n{THREE}"),
    "an empty section": ("test", "[test]\n[other]\nk = v\n", f"[test]\n{THREE}[other]\nk = v\n"),
    "all three there": (
        "test",
        "[test]\naws_session_token = a\naws_access_key_id = b\naws_secret_access_key = c\n",
        (
            "[test]\naws_session_token = sessionToken\naws_access_key_id = accessKeyId\n"
            "aws_secret_access_key = secretAccessKey\n"
        ),
    ),
}


@pytest.mark.parametrize("case", HELPERS)
def test_writes_what_the_helper_writes(case: str) -> None:
    """The helper's merge cases come out as there."""
    profile, before, after = HELPERS[case]
    assert merge(before, profile).rstrip("\n") == after.rstrip("\n")


# Where the helper loses or doubles lines.
BETTER = {
    "the last line is another key": ("[test]\nregion = x", f"[test]\nregion = x\n{THREE}"),
    "the last line is the next header": ("[test]\n[other]", f"[test]\n{THREE}[other]"),
    "the header is the last line": ("[test]", f"[test]\n{THREE}"),
    "a comment behind the header": ("[test] # mine\n", f"[test] # mine\n{THREE}"),
    "blanks behind the header": ("[test]  \n", f"[test]  \n{THREE}"),
    "the beginning of a name": (
        "[test]\naws_access_key_id_old = x\n",
        f"[test]\naws_access_key_id_old = x\n{THREE}",
    ),
    "keys that stand deeper": (
        "[test]\n  aws_access_key_id = x\n  region = y\n",
        (
            "[test]\n  aws_access_key_id = accessKeyId\n  region = y\n"
            "  aws_secret_access_key = secretAccessKey\n  aws_session_token = sessionToken\n"
        ),
    ),
    "no blanks, a colon, capitals": (
        "[test]\nAWS_ACCESS_KEY_ID=x\naws_secret_access_key  :   y\naws_session_token =\n",
        (
            "[test]\nAWS_ACCESS_KEY_ID=accessKeyId\naws_secret_access_key  :   secretAccessKey\n"
            "aws_session_token = sessionToken\n"
        ),
    ),
    "blanks and nothing else": (
        "[test]\naws_session_token =  \n",
        (
            "[test]\naws_access_key_id = accessKeyId\naws_secret_access_key = secretAccessKey\n"
            "aws_session_token =  sessionToken\n"
        ),
    ),
    "a value of several lines": (
        "[test]\naws_session_token = a\n  b\n  # c\n  d\nregion = x\n",
        (
            "[test]\naws_access_key_id = accessKeyId\naws_secret_access_key = secretAccessKey\n"
            "aws_session_token = sessionToken\n  # c\nregion = x\n"
        ),
    ),
    "a nested header": (
        "[a]\ns3 =\n  [test]\n  aws_access_key_id = x\n",
        f"[a]\ns3 =\n  [test]\n  aws_access_key_id = x\n[test]\n{THREE}",
    ),
    "a header that stands deeper": (
        "[test]\n\n  [other]\nk = v\n",
        "[test]\n" + "".join(f"  {row}\n" for row in THREE.splitlines()) + "\n  [other]\nk = v\n",
    ),
    "comments of the next section": (
        "[test]\nregion = x\n\n# of other\n[other]\n",
        f"[test]\nregion = x\n{THREE}\n# of other\n[other]\n",
    ),
    "Windows' line ends": (
        "[a]\r\nk = v\r\n[test]\r\nregion = x",
        "[a]\r\nk = v\r\n[test]\r\nregion = x\r\n" + THREE.replace("\n", "\r\n"),
    ),
    "Windows' line ends, a new profile": (
        "[a]\r\nk = v",
        "[a]\r\nk = v\r\n[test]\r\n" + THREE.replace("\n", "\r\n"),
    ),
    "the older name of the token": (
        "[test]\naws_security_token = x\n",
        f"[test]\naws_security_token = sessionToken\n{THREE}",
    ),
    "a long line": ("[a]\nk = " + "v" * 70000, "[a]\nk = " + "v" * 70000 + f"\n[test]\n{THREE}"),
}


@pytest.mark.parametrize("case", BETTER)
def test_loses_and_doubles_nothing(case: str) -> None:
    """Nothing is lost or doubled, and botocore can read what comes out."""
    before, after = BETTER[case]
    assert merge(before) == after
    found = parsed(after.encode())
    assert found is not None
    assert found["test"] == {**found["test"], **VALUES}


def test_bytes_of_no_encoding_stay() -> None:
    """What is not UTF-8 stays as it is."""
    assert merged(b"[a]\nk = \xff\xa0\n", "test", VALUES).startswith(b"[a]\nk = \xff\xa0\n[test]")


@pytest.mark.parametrize("name", ["", "a]b", "a\nb", " a", "a ", "[", "\x85"])
def test_names_that_no_section_can_have(name: str) -> None:
    """A name that could end the header, or begin another line, is refused."""
    with pytest.raises(ConfigurationError, match="cannot be the name of a profile"):
        check_profile(name)


names = st.sampled_from(["test", "other", "test profile", "x"])
keys = st.sampled_from([*WRITTEN, "aws_security_token", "region", "aws_access_key_id_old", "s3"])
indents = st.sampled_from(["", "", "", " ", "    ", "\t"])
ends = st.sampled_from(["\n", "\n", "\r\n", "\r"])
plain = st.text(string.ascii_letters + string.digits + " =:#;[]é", max_size=8)
rows = st.one_of(
    st.builds("{0}[{1}]{2}".format, indents, names, st.sampled_from(["", " ", " # c"])),
    st.builds("{0}{1}{2}{3}".format, indents, keys, st.sampled_from(["=", " = ", ":"]), plain),
    st.builds("{0}{1}{2}".format, indents, st.sampled_from("#;"), plain),
    st.builds("{0}{1}".format, indents, plain),
    st.just(""),
)
files = st.builds(
    lambda pairs, last: "".join(row + end for row, end in pairs) + last,
    st.lists(st.tuples(rows, ends), max_size=12),
    st.one_of(st.just(""), rows),
)


def rest(content: bytes, profile: str) -> list[bytes]:
    """All lines but those of the profile's credentials, by botocore's idea of a line.

    Found without the code under test: a line is of the credentials if its key may be changed
    to another name without any other section or key changing its meaning.
    """
    lines = content.splitlines(keepends=True)
    before = parsed(content)
    assert before is not None
    kept: list[bytes] = []
    within: set[str] = set()
    for number, line in enumerate(lines):
        upto = parsed(b"".join(lines[: number + 1]))
        assert upto is not None
        names = {name for name in (*WRITTEN, "aws_security_token") if name in upto.get(profile, {})}
        new = names - within
        within = names
        more = parsed(b"".join(lines[:number]))
        assert more is not None
        grown = any(
            upto[profile][name] != more[profile][name]
            for name in names & set(more.get(profile, {}))
        )
        if not new and not grown:
            kept.append(line.rstrip(b"\r\n"))
    return kept


@settings(max_examples=60, deadline=None)
@given(text=files, profile=names)
@example(text="[test]\n  aws_access_key_id = a\n   b\nregion = x", profile="test")
@example(text="[test]\n[other]", profile="test")
@example(text="[test]\nstray\n [other]", profile="test")
@example(text="[test]\n\n[other]\r", profile="test")
@example(text="[test]\naws_access_key_id=\r [more]\n\n [more]", profile="test")
def test_everything_else_stays_byte_for_byte(text: str, profile: str) -> None:
    """Whatever botocore can read it reads afterwards, with one profile's credentials changed;
    and all other lines are the same bytes in the same order.
    """
    content = text.encode()
    before = parsed(content)
    result = merged(content, profile, VALUES)
    assert merged(result, profile, VALUES) == result
    if before is None:
        return
    assert sections(content, profile) == (profile in before)
    after = parsed(result)
    assert after is not None
    expected = {**before.get(profile, {}), **VALUES}
    if "aws_security_token" in expected:
        expected["aws_security_token"] = VALUES["aws_session_token"]
    assert after == {**before, profile: expected}
    header = [] if profile in before else [f"[{profile}]".encode()]
    assert rest(result, profile) == rest(content, profile) + header


@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=60), profile=names)
def test_no_line_is_lost_of_what_botocore_cannot_read(content: bytes, profile: str) -> None:
    """Of a file that is none at all, every line is there afterwards."""
    result = merged(content, profile, VALUES)
    if sections(content, profile):
        return
    assert result.startswith(content)
