from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from children import children_of

import rolesanywhere_auth
import rolesanywhere_auth.testing
from rolesanywhere_auth.errors import MissingExtraError
from rolesanywhere_auth.testing import CertificateAuthority, Emulator
from rolesanywhere_auth.testing.fronts import moto_server


def test_public_names_are_sorted_and_resolve():
    """The package's names are few, sorted and real."""
    names = rolesanywhere_auth.testing.__all__

    assert names == sorted(names) == dir(rolesanywhere_auth.testing)
    assert [getattr(rolesanywhere_auth.testing, name).__name__ for name in names] == names
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        rolesanywhere_auth.testing.Nothing  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import rolesanywhere_auth.testing", {"botocore", "cryptography", "pytest", "moto"}),
        ("import rolesanywhere_auth.testing.plugin", {"botocore", "cryptography", "moto"}),
        ("from rolesanywhere_auth.testing import Emulator; Emulator()", {"moto", "boto3"}),
    ],
)
def test_importing_costs_little(statement, absent):
    """Heavy libraries are loaded by use alone."""
    code = f"{statement}; import sys; print(sorted({absent!r} & set(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(rolesanywhere_auth.__file__).parent.parent,
    )

    assert done.stdout.strip() == "[]"


def test_set_up_is_least_privilege_and_complete(emulator, create_session):
    """A set-up signs in, with a role that trusts this trust anchor alone."""
    setup = emulator.set_up()
    other = emulator.create_trust_anchor(setup.authority)

    arguments = setup.config_arguments()

    assert create_session(setup).status == 201
    assert create_session(setup, parameters={"trustAnchorArn": other}).refusal[2] == (
        f"Unable to assume role for {setup.role_arn}"
    )
    assert set(arguments) == {
        "trust_anchor_arn",
        "profile_arn",
        "role_arn",
        "certificate",
        "private_key",
        "certificate_chain",
        "endpoint_url",
        "proxies",
        "use_fips_endpoint",
        "use_dualstack_endpoint",
    }
    assert arguments["certificate_chain"] is None
    assert setup.certificate.read_text() == setup.leaf.certificate_pem
    assert setup.private_key.stat().st_mode & 0o077 == 0
    assert setup.certificate.parent.stat().st_mode & 0o077 == 0


def test_default_role_trusts_any_anchor_of_the_account(emulator, create_session):
    """A role made without an anchor trusts all trust anchors of the account and Region."""
    role = emulator.create_role("any")

    assert create_session(emulator.set_up(role_arn=role)).status == 201
    assert create_session(emulator.set_up(role_arn=role)).status == 201


def test_empty_trust_policy_is_not_the_default_one(emulator, create_session):
    """A role trusts nobody when its policy has no statement."""
    setup = emulator.set_up(role_arn=emulator.create_role("nobody", trust_policy={}))

    status, _, text = create_session(setup).refusal
    assert status == 501
    assert "the policy has no Statement" in text


def test_setups_do_not_share_files(emulator):
    """Two set-ups have files of their own."""
    first, second = emulator.set_up(), emulator.set_up()

    assert first.certificate != second.certificate
    assert first.private_key.read_text() != second.private_key.read_text()


@pytest.mark.parametrize("seconds", [3599, 43201])
def test_role_duration_out_of_bounds_is_refused(emulator, seconds):
    """IAM's bounds for MaxSessionDuration hold."""
    with pytest.raises(ValueError, match="3600 to 43200"):
        emulator.create_role("app", max_session_duration=seconds)


def test_refused_set_up_says_why(emulator):
    """What the control plane refuses is an error with its text."""
    with pytest.raises(ValueError, match="greater than or equal to 900"):
        emulator.set_up(session_duration=60)


def test_revoking_needs_a_known_authority(emulator):
    """A leaf of a CA that the emulator never saw cannot be revoked here."""
    with pytest.raises(ValueError, match="No trust anchor of 'CN=Stranger'"):
        emulator.revoke(CertificateAuthority("Stranger").issue())


def test_intermediate_revokes_too(emulator, create_session, now):
    """A leaf of an intermediate is revoked by the intermediate's CRL."""
    root = CertificateAuthority(now=lambda: now)
    setup = emulator.set_up(authority=root.intermediate(), anchor=root)

    emulator.revoke(setup.leaf)

    assert create_session(setup).refusal[2] == "Certificate revoked"


def test_lifecycle_is_strict_and_forgiving():
    """Starting twice and using a stopped emulator are errors; stopping twice is not."""
    emulator = Emulator()
    with pytest.raises(RuntimeError, match="does not run"):
        emulator.endpoint_url  # noqa: B018
    assert repr(emulator) == "<Emulator 111122223333 eu-west-1 not running>"
    with emulator:
        assert emulator.endpoint_url in repr(emulator)
        with pytest.raises(RuntimeError, match="runs already"):
            emulator.start()
    emulator.stop()
    for name in ("https_endpoint_url", "ca_bundle", "set_up"):
        with pytest.raises(RuntimeError, match="does not run"):
            getattr(emulator, name)() if name == "set_up" else getattr(emulator, name)
    with emulator:
        assert emulator.set_up().certificate.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_does_not_stop_its_parents(create_session, now, monkeypatch):
    """A forked child that leaves the block by an error, say: its parent's goes on."""
    with Emulator(clock=lambda: now) as emulator:
        setup = emulator.set_up()

        def work() -> bytes:
            emulator.stop()
            return b"stopped nothing"

        with children_of(work) as answers:
            assert answers == [b"stopped nothing"]
        with monkeypatch.context() as patch:  # the same where coverage is measured
            patch.setattr(emulator, "_process", os.getppid())
            emulator.stop()
        assert setup.certificate.exists()
        assert create_session(setup).status == 201


def test_without_aws_there_is_no_aws(emulator):
    """What needs moto says how to get it."""
    for name in ("client", "enforcing_iam"):
        with pytest.raises(RuntimeError, match="aws=True"):
            getattr(emulator, name)(*["s3"] * (name == "client"))
    with pytest.raises(RuntimeError, match=r"aws=True.* rolesanywhere_emulator_aws"):
        emulator.aws_endpoint_url  # noqa: B018
    with pytest.raises(RuntimeError, match="does not run"):
        Emulator(aws=True).aws_endpoint_url  # noqa: B018


def test_missing_moto_names_the_extra(monkeypatch):
    """Without moto the error says what to install."""
    monkeypatch.setitem(sys.modules, "moto", None)
    monkeypatch.delitem(sys.modules, "rolesanywhere_auth.testing.fronts.moto", raising=False)

    with pytest.raises(MissingExtraError, match=r"rolesanywhere-auth\[testing\]") as caught:
        Emulator(aws=True)
    assert caught.value.extra == "testing"


def test_failed_start_leaves_nothing_open():
    """If moto cannot start, the ports are closed and the emulator can start again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        emulator = Emulator(aws=True, aws_port=port)

        with pytest.raises(OSError, match=f"cannot listen on port {port} of 127.0.0.1"):
            emulator.start()
        with pytest.raises(RuntimeError, match="does not run"):
            emulator.endpoint_url  # noqa: B018
    with emulator:
        assert emulator.aws_endpoint_url.endswith(str(port))


def test_start_that_fails_behind_moto_leaves_nothing_in_it(monkeypatch):
    """Ctrl-C while moto is filled: the next emulator is no second one."""

    def interrupted(account_id, *, region):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(moto_server, "create_administrator", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Emulator(aws=True).start()

    with Emulator(aws=True) as emulator:
        assert emulator.set_up().role_arn


@pytest.mark.parametrize("name", ["access_key_id", "secret_access_key", "session_token"])
def test_half_a_key_is_not_the_administrators(name):
    """A client that lacks a key may not become one that may do everything."""
    with Emulator(aws=True) as emulator:
        with pytest.raises(ValueError, match="or no key at all"):
            emulator.client("sts", **{f"aws_{name}": "x"})


def test_second_emulator_with_aws_is_refused(create_session, now):
    """It would empty the first one's AWS; the first one goes on."""
    with Emulator(aws=True, clock=lambda: now) as first:
        setup = first.set_up()

        with pytest.raises(RuntimeError, match=r"Another Emulator\(aws=True\)"):
            Emulator(aws=True).start()

        assert create_session(setup).status == 201

        def work() -> bytes:
            with Emulator(aws=True) as own:
                return own.set_up().role_arn.encode()

        with children_of(work) as answers:  # which has a moto of its own
            assert answers == [b"arn:aws:iam::111122223333:role/app"]
    with Emulator(aws=True):
        pass


def test_clock_advances_and_clear_sets_it_back():
    """advance() moves the emulator's own clock, by seconds or by a timedelta."""
    emulator = Emulator()
    start = datetime.now(timezone.utc)
    emulator.advance(90)
    emulator.advance(timedelta(hours=1))

    assert timedelta(seconds=3690) <= emulator.now() - start < timedelta(seconds=3720)
    emulator.clear()
    assert emulator.now() - start < timedelta(seconds=30)


def test_advanced_clock_refuses_old_requests(create_session):
    """A client whose clock is behind is refused, and learns the time from the Date header."""
    with Emulator() as emulator:
        emulator.advance(600)
        setup = emulator.set_up()

        answer = create_session(setup, at=datetime.now(timezone.utc))

        assert answer.status == 403
        offset = parsedate_to_datetime(answer.headers["date"]) - datetime.now(timezone.utc)
        assert abs(offset - timedelta(seconds=600)) < timedelta(seconds=30)


def test_given_clock_is_the_users(emulator):
    """An emulator with a given clock does not move it."""
    with pytest.raises(RuntimeError, match="move that one"):
        emulator.advance(1)


def test_clear_forgets_everything(emulator, create_session):
    """After clear() there is neither resource nor role, event nor session."""
    setup = emulator.set_up()
    create_session(setup)

    emulator.clear()

    assert (emulator.events, emulator.sessions) == ([], [])
    assert create_session(setup).status == 404
    assert emulator.control_plane().list_subjects()["subjects"] == []


def test_region_and_account_are_adjustable(create_session, now):
    """All ARNs carry the Region, the account and the partition of the emulator."""
    with Emulator(region="us-gov-west-1", account_id="999988887777", clock=lambda: now) as emulator:
        setup = emulator.set_up()

        session = create_session(setup, region="us-gov-west-1").session

    prefix = "arn:aws-us-gov:rolesanywhere:us-gov-west-1:999988887777:"
    assert setup.trust_anchor_arn.startswith(prefix)
    assert setup.role_arn == "arn:aws-us-gov:iam::999988887777:role/app"
    assert session["assumedRoleUser"]["arn"].startswith("arn:aws-us-gov:sts::999988887777:")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"account_id": 111122223333}, "account_id must be a text of 12 digits, not 111122223333"),
        ({"account_id": "1111-2222-3333"}, "12 digits, not '1111-2222-3333'"),
        ({"region": "Europe (Ireland)"}, "such as eu-west-1, not 'Europe"),
    ],
)
def test_place_that_no_arn_can_have_is_refused(arguments, text):
    """It is noticed at once, and not by refusals of whatever is made there."""
    with pytest.raises(ValueError, match=re.escape(text)):
        Emulator(**arguments)


def test_two_setups_do_not_disturb_each_other(emulator, create_session):
    """Each set_up has a role of its own, which trusts its own trust anchor."""
    first, second = emulator.set_up(), emulator.set_up()

    assert first.role_arn != second.role_arn
    for setup in (first, second):
        assert create_session(setup).status == 201


def test_clock_goes_back_and_is_set():
    """The clock can be put back, and set to a moment from which it goes on."""
    emulator = Emulator()
    start = datetime.now(timezone.utc)
    emulator.advance(-3600)
    assert timedelta(seconds=-3600) <= emulator.now() - start < timedelta(seconds=-3570)
    moment = datetime(2031, 1, 1, tzinfo=timezone.utc)
    emulator.set_time(moment)

    first = emulator.now()

    assert moment <= first < moment + timedelta(seconds=30)
    assert emulator.now() >= first
    with pytest.raises(ValueError, match="no time zone"):
        emulator.set_time(datetime(2031, 1, 1))  # noqa: DTZ001


def test_given_clock_cannot_be_set(emulator, now):
    """An emulator with a given clock does not set it either."""
    with pytest.raises(RuntimeError, match="move that one"):
        emulator.set_time(now)
