"""ARNs: which parse, which fit together, and what a wrong one is told."""

from __future__ import annotations

import contextlib
import re

import pytest
from botocore.session import Session
from botocore.utils import ArnParser
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_auth.arns import PROFILE, ROLE, TRUST_ANCHOR, check_arns, parse_arn
from rolesanywhere_auth.errors import ARNError

UUID = "9f084b8b-2f3b-4c9e-a3c5-0a2f7b1c5d6e"
ANCHOR = f"arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/{UUID}"
PROFILE_ARN = f"arn:aws:rolesanywhere:eu-west-1:111122223333:profile/{UUID}"
ROLE_ARN = "arn:aws:iam::111122223333:role/app"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (ANCHOR, TRUST_ANCHOR),
        ("arn:aws:rolesanywhere:eu-west-1:111122223333:alias/trust-anchor/web", TRUST_ANCHOR),
        (PROFILE_ARN, PROFILE),
        ("arn:aws:rolesanywhere:eu-west-1:111122223333:alias/profile/team/web", PROFILE),
        (ROLE_ARN, ROLE),
        ("arn:aws:iam::111122223333:role/path/to/app+=,.@-_", ROLE),
        ("arn:aws-cn:iam::111122223333:role/app", ROLE),
        (f"arn:aws-iso-e:rolesanywhere:eu-isoe-west-1:111122223333:profile/{UUID}", PROFILE),
    ],
)
def test_parts(text: str, kind: str) -> None:
    """An ARN splits as botocore's own parser splits it."""
    found = parse_arn(text, kind=kind)
    theirs = ArnParser().parse_arn(text)
    assert found._asdict() == {
        "partition": theirs["partition"],
        "service": theirs["service"],
        "region": theirs["region"],
        "account_id": theirs["account"],
        "resource": theirs["resource"],
    }


def test_every_region_of_botocore_parses() -> None:
    """No partition or Region that botocore knows is refused."""
    session = Session()
    for partition in session.get_available_partitions():
        for region in session.get_available_regions("sts", partition):
            if region.endswith("-global"):
                continue
            arn = f"arn:{partition}:rolesanywhere:{region}:111122223333:profile/{UUID}"
            assert parse_arn(arn, kind=PROFILE).region == region


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("", ROLE, "not six parts"),
        ("app", ROLE, "not six parts"),
        ("role/app:b:c:d:e:f", ROLE, "not six parts"),
        ("arn:aws:iam::111122223333", ROLE, "not six parts"),
        ("ARN:aws:iam::111122223333:role/app", ROLE, "not six parts"),
        ("arn::iam::111122223333:role/app", ROLE, "no such partition ''"),
        ("arn:azure:iam::111122223333:role/app", ROLE, "no such partition 'azure'"),
        ("arn:aws:sts::111122223333:assumed-role/app/x", ROLE, "service 'sts' where 'iam'"),
        (ROLE_ARN, PROFILE, "service 'iam' where 'rolesanywhere'"),
        (f"arn:aws:rolesanywhere::111122223333:profile/{UUID}", PROFILE, "no Region name ''"),
        (f"arn:aws:rolesanywhere:EU:111122223333:profile/{UUID}", PROFILE, "no Region name 'EU'"),
        ("arn:aws:iam:eu-west-1:111122223333:role/app", ROLE, "'eu-west-1', where IAM ARNs have"),
        ("arn:aws:iam::1111:role/app", ROLE, "no 12-digit account id '1111'"),
        ("arn:aws:iam::١١١١٢٢٢٢٣٣٣٣:role/app", ROLE, "no 12-digit account id"),
        ("arn:aws:iam::111122223333:user/app", ROLE, "'user/app', which is no role"),
        ("arn:aws:iam::111122223333:role/", ROLE, "'role/', which is no role"),
        (PROFILE_ARN, TRUST_ANCHOR, "which is no trust anchor"),
        (ANCHOR, PROFILE, "which is no profile"),
        (f"{PROFILE_ARN}\n", PROFILE, "a blank, line end"),
        ("arn:aws:iam::111122223333:role/my app", ROLE, "a blank, line end"),
        ("arn:aws:iam::111122223333:role/größe", ROLE, "not ASCII"),
    ],
)
def test_refused(text: str, kind: str, says: str) -> None:
    """A wrong ARN is refused with the part, the ARN and an example."""
    with pytest.raises(ARNError, match=re.escape(says)) as caught:
        parse_arn(text, kind=kind)
    assert repr(text) in str(caught.value)
    assert f"the {kind} ARN" in str(caught.value)
    assert "expected arn:aws:" in str(caught.value)
    assert caught.value.arn == text


@pytest.mark.parametrize("value", [None, 5, b"arn:aws:iam::111122223333:role/app"])
def test_other_types_are_refused(value: object) -> None:
    """What is no str is refused by its type."""
    with pytest.raises(ARNError, match=r"must be a string, not (NoneType|int|bytes)"):
        parse_arn(value, kind=ROLE)  # type: ignore[arg-type]


@given(text=st.text(max_size=80) | st.from_regex(r"arn:[^:]*:iam:[^:]*:[^:]*:.*", fullmatch=True))
def test_no_text_breaks_it(text: str) -> None:
    """Any text is parsed or refused by ARNError, and what is parsed can be put together again."""
    with contextlib.suppress(ARNError):
        assert ":".join(("arn", *parse_arn(text, kind=ROLE))) == text


def test_fitting_arns_give_the_region() -> None:
    """The trust anchor's parts come back."""
    found = check_arns(trust_anchor_arn=ANCHOR, profile_arn=PROFILE_ARN, role_arn=ROLE_ARN)
    assert found.region == "eu-west-1"
    assert found.resource == f"trust-anchor/{UUID}"


@pytest.mark.parametrize(
    ("profile", "role", "says", "blamed"),
    [
        (PROFILE_ARN.replace("eu-west-1", "us-east-1"), ROLE_ARN, "one Region", "profile"),
        (PROFILE_ARN.replace("1111", "4444"), ROLE_ARN, "one account", "profile"),
        (PROFILE_ARN, ROLE_ARN.replace("1111", "4444"), "one account", "role"),
        (PROFILE_ARN.replace(":aws:", ":aws-cn:"), ROLE_ARN, "one partition", "profile"),
        (PROFILE_ARN, ROLE_ARN.replace(":aws:", ":aws-cn:"), "one partition", "role"),
    ],
)
def test_arns_that_do_not_fit(profile: str, role: str, says: str, blamed: str) -> None:
    """A difference in Region, account or partition is refused, and both ARNs are named."""
    with pytest.raises(ARNError, match=f"the {blamed} is in .* must be in {says}") as caught:
        check_arns(trust_anchor_arn=ANCHOR, profile_arn=profile, role_arn=role)
    assert caught.value.arn == (profile if blamed == "profile" else role)
    assert str(caught.value.arn) in str(caught.value)
    assert ANCHOR in str(caught.value)
