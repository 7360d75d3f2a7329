"""Wildcards of IAM policies, against regular expressions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_auth.testing.service.wildcards import (
    SeveralValuesError,
    TemplateError,
    arn_like,
    like,
    resource_template,
    template,
)

LETTERS = st.text(alphabet="ab:*?[]{}$.\n", max_size=12)


def pieces(text: str) -> tuple[object, ...]:
    """The pieces of a pattern without variables."""
    found = template(text, variables=False).resolve({})
    assert found is not None
    return found


@given(LETTERS, LETTERS)
def test_like_is_what_a_regular_expression_says(pattern: str, value: str) -> None:
    """An asterisk is any letters, a question mark one, and nothing else is special."""
    parts = {"*": ".*", "?": "."}
    regex = "".join(parts.get(letter) or re.escape(letter) for letter in pattern)
    assert like(pieces(pattern), value) is bool(re.fullmatch(regex, value, re.DOTALL))


@given(st.lists(LETTERS.filter(lambda text: ":" not in text), min_size=6, max_size=6), LETTERS)
def test_arns_match_part_by_part(parts: list[str], last: str) -> None:
    """The first five parts match each on its own, the sixth with its colons."""
    value = ":".join(["a", "b", "ab", "", "b", f"a:{last}"])
    expected = all(map(like, map(pieces, parts), value.split(":", 5)))
    assert arn_like(pieces(":".join(parts)), value) is expected


def test_variables_of_a_template() -> None:
    """Keys have no case, a default takes the place of an absent one, a value is a text."""
    found = template("${A:b}/${c, 'd*'}*", variables=True)
    assert like(found.resolve({"a:b": ("x*",)}) or (), "x*/d*e")
    assert not like(found.resolve({"a:b": ("x*",)}) or (), "xy/d*e")
    assert found.resolve({}) is None
    with pytest.raises(SeveralValuesError, match="several values"):
        found.resolve({"a:b": ("x", "y")})


@pytest.mark.parametrize("text", ["arn:aws:s3", "arn:aws:s3:::", "arn:aws:s3::?", "?", "arn:${a}:"])
def test_resources_have_six_parts(text: str) -> None:
    """Fewer are refused unless an asterisk ends them."""
    if text.count(":") < 5:
        with pytest.raises(TemplateError):
            resource_template(text, variables=True)
    else:
        assert resource_template(text, variables=True).text == text
    assert resource_template("arn:aws:s3*", variables=True)
