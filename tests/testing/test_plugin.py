from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

import rolesanywhere_auth

# pytest loads an installed plugin by itself, and refuses to load it twice.
INSTALLED = bool(entry_points(group="pytest11", name="rolesanywhere_auth"))
PLUGIN = () if INSTALLED else ("-p", "rolesanywhere_auth.testing.plugin")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The pytest that a test starts finds the package, installed or not."""
    monkeypatch.setenv("PYTHONPATH", str(Path(rolesanywhere_auth.__file__).parent.parent))


def test_fixtures_sign_in(pytester):
    """The three fixtures work together: a session that signs in at an emulator."""
    pytester.makepyfile(
        """
        import pytest

        def test_session(rolesanywhere_session, rolesanywhere_emulator, rolesanywhere_config):
            keys = rolesanywhere_session.get_credentials().get_frozen_credentials()
            assert keys.access_key.startswith("ASIA")
            (event,) = rolesanywhere_emulator.events
            assert event.role_arn == rolesanywhere_config.role_arn

        @pytest.mark.parametrize("number", [1, 2])
        def test_next_one_is_empty(rolesanywhere_emulator, number):
            assert rolesanywhere_emulator.events == []
            assert rolesanywhere_emulator.set_up()
        """
    )

    # A process of its own: this one's modules are loaded already.
    result = pytester.runpytest_subprocess(*PLUGIN)

    result.assert_outcomes(passed=3)


def test_one_test_may_stop_the_emulator(pytester):
    """A test that wants a service that is gone does not take it from those that follow."""
    pytester.makepyfile(
        """
        def test_gone(rolesanywhere_emulator):
            rolesanywhere_emulator.stop()

        def test_session(rolesanywhere_session):
            assert rolesanywhere_session.get_credentials().token
        """
    )

    pytester.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=2)


def test_plugin_costs_nothing_unless_used(pytester):
    """A suite that asks for no fixture loads no AWS library."""
    pytester.makepyfile(
        """
        import sys

        def test_nothing():
            assert not {"botocore", "cryptography", "moto", "http.server"} & set(sys.modules)
        """
    )

    pytester.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)


def test_aws_is_an_override_away(pytester):
    """A suite that overrides one fixture gets moto behind the emulator."""
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def rolesanywhere_emulator_aws():
            return True
        """
    )
    pytester.makepyfile(
        """
        def test_sts(rolesanywhere_session, rolesanywhere_emulator):
            sts = rolesanywhere_session.client(
                "sts", region_name="eu-west-1", endpoint_url=rolesanywhere_emulator.aws_endpoint_url
            )
            assert ":assumed-role/app/" in sts.get_caller_identity()["Arn"]
        """
    )

    pytester.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)


def test_fixtures_are_documented(pytester):
    """`pytest --fixtures` tells what each fixture is."""
    output = pytester.runpytest_subprocess(*PLUGIN, "--fixtures").stdout.str()

    for name in ("rolesanywhere_emulator", "rolesanywhere_config", "rolesanywhere_session"):
        assert name in output
    assert "A `boto3.Session` that signs in at the emulator when first needed." in output
