"""`join_chain()`: unmodified boto3 on real config files, the emulator and moto behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.credentials
import botocore.session
import pytest
from botocore.exceptions import InvalidConfigError

from rolesanywhere_auth import (
    ConfigurationError,
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
    botocore_session,
    join_chain,
)
from rolesanywhere_auth.testing import Emulator

OTHER = "arn:aws:iam::444455556666:role/other"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An emulator with STS behind it."""
    with Emulator(aws=True) as running:
        yield running


class World:
    """One set-up in the emulator, and the config file of a user."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        emulator.clear()
        self.emulator = emulator
        self.setup = emulator.set_up()
        self.path = folder / "config"
        self.settings = {
            key: str(value)
            for key, value in self.setup.config_arguments().items()
            if value and not isinstance(value, bool)
        }

    @property
    def block(self) -> str:
        """A block with all that a sign-in needs."""
        lines = "".join(f"    {key} = {value}\n" for key, value in self.settings.items())
        return f"rolesanywhere =\n{lines}"

    @property
    def helper(self) -> str:
        """The same for AWS's helper."""
        flags = {
            "--trust-anchor-arn": "trust_anchor_arn",
            "--profile-arn": "profile_arn",
            "--role-arn": "role_arn",
            "--certificate": "certificate",
            "--private-key": "private_key",
            "--endpoint": "endpoint_url",
        }
        words = " ".join(f"{flag} {self.settings[key]}" for flag, key in flags.items())
        return f"credential_process = /no/such/aws_signing_helper credential-process {words}\n"

    def write(self, **profiles: str) -> None:
        """The config file: a section for each name."""
        self.path.write_text(
            "".join(
                f"[profile {name}]\nregion = eu-west-1\n{text}\n" for name, text in profiles.items()
            )
        )


@pytest.fixture
def world(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A user with a config file, whose clients find moto."""
    found = World(emulator, tmp_path)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(found.path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.aws_endpoint_url)
    return found


def joined(profile: str | None = None, **options: Any) -> botocore.session.Session:
    """A session in whose chain ours is."""
    return join_chain(botocore.session.Session(profile=profile), **options)


def caller(session: botocore.session.Session) -> str:
    """Who an unmodified boto3 client is."""
    client = boto3.Session(botocore_session=session).client("sts")
    return str(client.get_caller_identity()["Arn"])


def test_a_profile_with_a_block(world: World) -> None:
    """A session whose profile has a block gets credentials from it, renewed by our rules."""
    world.write(app=world.block)
    session = joined("app")

    assert caller(session).startswith("arn:aws:sts::111122223333:assumed-role/app/")
    assert isinstance(session.get_credentials(), RolesAnywhereCredentials)
    assert len(world.emulator.events) == 1
    assert "rolesanywhere-auth/" in session.user_agent()


def test_source_profile(world: World) -> None:
    """A role of another account is taken from a profile with a block, over two hops as well."""
    world.write(
        base=world.block,
        middle="role_arn = arn:aws:iam::111122223333:role/middle\nsource_profile = base",
        top=f"role_arn = {OTHER}\nsource_profile = middle",
    )

    assert caller(joined("middle")).startswith("arn:aws:sts::111122223333:assumed-role/middle/")
    assert caller(joined("top")).startswith("arn:aws:sts::444455556666:assumed-role/other/")


def test_credential_source(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """CustomRolesAnywhere is the block of the profile itself, or the environment."""
    role = f"role_arn = {OTHER}\ncredential_source = CustomRolesAnywhere\n"
    world.write(own=role + world.block, env=role)

    assert caller(joined("own")).startswith("arn:aws:sts::444455556666:assumed-role/other/")
    monkeypatch.setenv("AWS_PROFILE", "env")
    for key, value in world.settings.items():
        monkeypatch.setenv(f"ROLESANYWHERE_{key.upper()}", value)
    assert caller(joined()).startswith("arn:aws:sts::444455556666:assumed-role/other/")


def test_the_environment_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables give credentials without a file; access keys in the environment go before."""
    for key, value in world.settings.items():
        monkeypatch.setenv(f"ROLESANYWHERE_{key.upper()}", value)
    session = joined()
    session.set_config_variable("region", "eu-west-1")

    assert ":assumed-role/app/" in caller(session)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert joined().get_credentials().method == "env"


def test_a_profile_chosen_in_code_is_not_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with botocore's own variables: they count unless the profile was chosen in code."""
    world.write(app=world.block, none="")
    monkeypatch.setenv("ROLESANYWHERE_ROLE_ARN", "arn:aws:iam::111122223333:role/else")

    def role(session: botocore.session.Session) -> str:
        found: Any = session.get_credentials()
        return str(found.config.role_arn)

    assert role(joined("app")) == world.setup.role_arn
    monkeypatch.setenv("AWS_PROFILE", "app")
    assert role(joined()) == "arn:aws:iam::111122223333:role/else"
    assert joined("none").get_credentials() is None


def test_before_other_credentials_of_the_profile(world: World) -> None:
    """A block goes over access keys and a credential_process in the same profile."""
    keys = "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = secret\n"
    world.write(app=keys + "credential_process = false\n" + world.block)

    assert joined("app").get_credentials().method == "custom-rolesanywhere"


def test_other_profiles_are_botocores(world: World) -> None:
    """Where nothing is ours the chain does what it did."""
    world.write(keys="aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = s\n")

    assert joined("keys").get_credentials().method == "config-file"


def test_half_a_configuration_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of ours without the rest is not passed over in silence."""
    monkeypatch.setenv("ROLESANYWHERE_ROLE_ARN", world.setup.role_arn)

    with pytest.raises(ConfigurationError, match="lacks ROLESANYWHERE_TRUST_ANCHOR_ARN"):
        joined().get_credentials()


def test_helper_profiles_in_process(world: World) -> None:
    """With the switch, credential_process = aws_signing_helper is served without a child."""
    world.write(
        app=world.helper,
        top=f"role_arn = {OTHER}\nsource_profile = app",
        vault="credential_process = vault read",
    )

    assert ":assumed-role/app/" in caller(joined("app", credential_process=True))
    assert ":assumed-role/other/" in caller(joined("top", credential_process=True))
    # that program does not exist: without the switch, and for other commands, botocore runs it
    with pytest.raises(FileNotFoundError):
        joined("app").get_credentials()
    with pytest.raises((FileNotFoundError, botocore.exceptions.CredentialRetrievalError)):
        joined("vault", credential_process=True).get_credentials()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script as credential_process")
def test_the_same_result_as_the_process(world: World, tmp_path: Path) -> None:
    """Run as a child by botocore, and read by us, one line gives the same role and session."""
    line = world.helper.replace(
        "/no/such/aws_signing_helper", f"{sys.executable} -m rolesanywhere_auth"
    )
    world.write(app=line)
    run = botocore.session.Session(profile="app").get_credentials()
    served = joined("app", credential_process=True).get_credentials()

    assert (run.method, served.method) == ("custom-process", "custom-rolesanywhere")
    assert run.get_frozen_credentials().access_key != served.get_frozen_credentials().access_key
    one, other = world.emulator.sessions
    assert one.assumed_role_arn == other.assumed_role_arn


def test_one_credentials_object(world: World) -> None:
    """The provider gives the same credentials each time, and signs in once."""
    world.write(app=world.block)
    provider = (
        joined("app").get_component("credential_provider").get_provider("custom-rolesanywhere")
    )

    assert provider.load() is provider.load()


class AsyncResolver:
    """A chain in aiobotocore's manner."""

    async def load_credentials(self) -> None:
        """None, in time."""


def test_what_cannot_be_joined(world: World) -> None:
    """Something else than a botocore session, one with its own provider, one that has joined."""
    world.write(app=world.block)
    config = RolesAnywhereConfig.from_profile("app")
    with pytest.raises(ConfigurationError, match="takes a botocore session, not Session"):
        join_chain(boto3.Session())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not botocore's own chain"):
        join_chain(botocore_session(config))
    waiting = botocore.session.Session()
    waiting.register_component("credential_provider", AsyncResolver())
    with pytest.raises(ConfigurationError, match="aiobotocore_session"):
        join_chain(waiting)
    with pytest.raises(ConfigurationError, match="join it once"):
        join_chain(joined("app"))
    with pytest.raises(ConfigurationError, match=r"chain of the session cannot be made.*gone"):
        joined("gone")


@pytest.fixture(params=["builder", "sourcer"])
def closed_botocore(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A botocore of the future, in which a private name is another one."""
    original = botocore.credentials.AssumeRoleProvider.__init__

    def renamed(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if request.param == "builder":
            self._maker = self.__dict__.pop("_profile_provider_builder")
        else:
            self._credential_sourcer._known = self._credential_sourcer.__dict__.pop("_providers")

    monkeypatch.setattr(botocore.credentials.AssumeRoleProvider, "__init__", renamed)


@pytest.mark.usefixtures("closed_botocore")
def test_a_botocore_that_closes_its_hooks(world: World) -> None:
    """Who needs them is told what to do instead; all others do not notice."""
    world.write(
        app=world.block,
        middle="role_arn = arn:aws:iam::111122223333:role/middle\nsource_profile = app",
        top=f"role_arn = {OTHER}\nsource_profile = middle",
        own=f"role_arn = {OTHER}\ncredential_source = CustomRolesAnywhere\n{world.block}",
        other=f"role_arn = {OTHER}\nsource_profile = keys",
        keys="aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = s\n",
        loop=f"role_arn = {OTHER}\nsource_profile = loop",
    )

    assert ":assumed-role/app/" in caller(joined("app"))
    for name in ("keys", "other", "loop"):
        joined(name)
    for name in ("middle", "top", "own"):
        with pytest.raises(ConfigurationError, match=r"no place for any more.*assume_role\(\)"):
            joined(name)


def test_without_joining_botocore_knows_nothing(world: World) -> None:
    """What join_chain() is for: botocore alone finds no credentials in such profiles."""
    world.write(app=world.block, top=f"role_arn = {OTHER}\nsource_profile = app")

    assert botocore.session.Session(profile="app").get_credentials() is None
    with pytest.raises(InvalidConfigError):
        botocore.session.Session(profile="top").get_credentials()


def test_a_builder_without_the_process_provider() -> None:
    """Where botocore's list lacks the place for the helper, ours comes last."""
    from rolesanywhere_auth.chain import HelperProvider, ProfileProvider, _Builder

    class Inner:
        """Knows one provider."""

        def providers(self, **_: Any) -> list[Any]:
            """That one."""
            return [botocore.credentials.EnvProvider()]

    session = botocore.session.Session()
    builder = _Builder(Inner(), lambda _: [ProfileProvider(session), HelperProvider(session)])
    found = builder.providers(profile_name="app", disable_env_vars=True)

    assert [each.METHOD for each in found] == [
        "custom-rolesanywhere",
        "env",
        "custom-rolesanywhere-process",
    ]
