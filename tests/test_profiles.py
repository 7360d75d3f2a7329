"""`RolesAnywhereConfig` from profiles and from the environment, on real files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from botocore.configloader import load_config

from rolesanywhere_auth import (
    ARNError,
    ConfigurationError,
    RolesAnywhereConfig,
    SecretReference,
)
from rolesanywhere_auth._texts import KINDS
from rolesanywhere_auth.cli.emulator import environment
from rolesanywhere_auth.testing import Emulator
from rolesanywhere_auth.testing.seed import plant, read_seed

ANCHOR = "arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/a"
PROFILE = "arn:aws:rolesanywhere:eu-west-1:111122223333:profile/p"
ROLE = "arn:aws:iam::111122223333:role/app"
LEAST = {
    "trust_anchor_arn": ANCHOR,
    "profile_arn": PROFILE,
    "role_arn": ROLE,
    "certificate": "/etc/pki/app.pem",
}
VARIABLES = {f"ROLESANYWHERE_{key.upper()}": value for key, value in LEAST.items()}
ALL = LEAST | {
    "private_key": "app.key",
    "certificate_chain": "~/chain.pem",
    "passphrase": "env:APP_PASSPHRASE",
    "session_duration": "900",
    "role_session_name": "host-42",
    "instance_properties": "host = web-1, rack=12",
    "region": "eu-west-1",
    "endpoint_url": "https://rolesanywhere.example",
    "use_fips_endpoint": "True",
    "use_dualstack_endpoint": "FALSE",
    "verify": "ca.pem",
    "proxies": '{"https": "http://proxy:3128"}',
    "connect_timeout": "2.5",
    "read_timeout": "7",
    "max_attempts": "5",
    "cache": "true",
    "wait_timeout": "9",
    "serve_expired": "false",
}

Write = Callable[..., Path]


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes an AWS config file, and has the environment name it."""

    def write(*profiles: str, credentials: str = "") -> Path:
        path = tmp_path / "config"
        path.write_text("\n".join(profiles))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
        if credentials:
            (tmp_path / "credentials").write_text(credentials)
            monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        return path

    return write


def section(settings: dict[str, str], *, name: str = "profile app", more: str = "") -> str:
    """A section of a config file with the block."""
    lines = "".join(f"    {key} = {value}\n" for key, value in settings.items())
    return f"[{name}]\n{more}\nrolesanywhere =\n{lines}"


def test_every_argument_can_be_written() -> None:
    """A profile knows the arguments of the configuration, all and only these, in their order."""
    assert list(KINDS) == [field.name for field in fields(RolesAnywhereConfig)]
    assert KINDS.keys() == ALL.keys()


def test_a_profile_with_everything(
    config_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting of a profile becomes the argument that code would give."""
    monkeypatch.setenv("HOME", "/home/someone")
    path = config_file(section(ALL, more="region = eu-west-1\n# a comment"))

    assert RolesAnywhereConfig.from_profile("app") == RolesAnywhereConfig(
        trust_anchor_arn=ANCHOR,
        profile_arn=PROFILE,
        role_arn=ROLE,
        certificate="/etc/pki/app.pem",
        private_key=str(tmp_path / "app.key"),
        certificate_chain="/home/someone/chain.pem",
        passphrase=SecretReference("env:APP_PASSPHRASE"),
        session_duration=900,
        role_session_name="host-42",
        instance_properties={"host": "web-1", "rack": "12"},
        region="eu-west-1",
        endpoint_url="https://rolesanywhere.example",
        use_fips_endpoint=True,
        use_dualstack_endpoint=False,
        verify=str(tmp_path / "ca.pem"),
        proxies={"https": "http://proxy:3128"},
        connect_timeout=2.5,
        read_timeout=7,
        max_attempts=5,
        cache=True,
        wait_timeout=9,
        serve_expired=False,
    )
    # and botocore itself reads what we think it reads
    assert load_config(str(path))["profiles"]["app"]["rolesanywhere"] == ALL


def test_the_environment_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables mean the same, but relative paths count from the working directory."""
    monkeypatch.setenv("HOME", "/home/someone")
    environ = {f"ROLESANYWHERE_{key.upper()}": value for key, value in ALL.items()}

    config = RolesAnywhereConfig.from_environment(environ)

    assert config.private_key == "app.key"
    assert config.certificate_chain == "/home/someone/chain.pem"
    assert config.passphrase == SecretReference("env:APP_PASSPHRASE")
    assert config.session_duration == 900
    assert config.instance_properties == {"host": "web-1", "rack": "12"}


def test_environment_is_the_process_environment_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without an argument the variables of the process count; empty ones are as none."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ROLESANYWHERE_PRIVATE_KEY", "")
    monkeypatch.setenv("ROLESANYWHERE_EMULATOR_HTTPS", "https://127.0.0.1:1")

    assert RolesAnywhereConfig.from_environment() == RolesAnywhereConfig(**LEAST)


def test_a_pem_text_in_a_variable() -> None:
    """Certificate and key may stand in variables themselves, as containers like to have it."""
    pem = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"

    config = RolesAnywhereConfig.from_environment(VARIABLES | {"ROLESANYWHERE_CERTIFICATE": pem})

    assert config.certificate == pem


@pytest.mark.parametrize("reference", ["pkcs11:object=app", "tpm:0x81000001", "store:My"])
def test_references_to_key_stores_are_no_paths(config_file: Write, reference: str) -> None:
    """What names a key store is passed on as it is."""
    config_file(section(LEAST | {"private_key": reference}))

    assert RolesAnywhereConfig.from_profile("app").private_key == reference


def test_names_of_profiles(config_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument, then AWS_PROFILE, then the profile called default."""
    names = ("arg", "env", "default")
    config_file(
        *(
            section(
                LEAST | {"role_session_name": name},
                name=name if name == "default" else f"profile {name}",
            )
            for name in names
        )
    )

    assert RolesAnywhereConfig.from_profile().role_session_name == "default"
    monkeypatch.setenv("AWS_PROFILE", "env")
    assert RolesAnywhereConfig.from_profile().role_session_name == "env"
    assert RolesAnywhereConfig.from_profile("arg").role_session_name == "arg"


def test_single_variables_go_over_the_profile(
    config_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with AWS's own settings: a variable wins, unless the profile was named in code."""
    config_file(section(LEAST | {"session_duration": "1000"}, name="default"))
    monkeypatch.setenv("ROLESANYWHERE_SESSION_DURATION", "2000")

    assert RolesAnywhereConfig.from_profile().session_duration == 2000
    assert RolesAnywhereConfig.from_profile("default").session_duration == 1000


def test_variables_alone_need_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a profile the environment may say everything."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)

    assert RolesAnywhereConfig.from_profile() == RolesAnywhereConfig(**LEAST)


def test_a_block_in_the_credentials_file(config_file: Write, tmp_path: Path) -> None:
    """Where both files have a profile the credentials file counts, as in botocore."""
    config_file(
        section(LEAST),
        credentials=section(LEAST | {"session_duration": "soon"}, name="app"),
    )

    with pytest.raises(ConfigurationError) as caught:
        RolesAnywhereConfig.from_profile("app")
    assert str(tmp_path / "credentials") in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"session_duration": "soon"}, "session_duration must be a whole number, not 'soon'"),
        ({"session_duration": "1h"}, "session_duration must be a whole number, not '1h'"),
        ({"session_duration": "60"}, "session_duration must be 900 to 43200"),
        ({"connect_timeout": "5s"}, "connect_timeout must be a number of seconds, not '5s'"),
        ({"serve_expired": "yes"}, "serve_expired must be true or false, not 'yes'"),
        ({"cache": ""}, "cache is empty; leave it out"),
        ({"instance_properties": "a"}, "instance_properties must be `name=value, name=value`"),
        ({"instance_properties": "=a"}, "instance_properties must be `name=value, name=value`"),
        ({"instance_properties": "{a"}, "instance_properties must be `name=value, name=value`"),
        ({"instance_properties": '{"a": 1}'}, "must be `name=value, name=value` or an object"),
        ({"role_arn": "arn:aws:iam::111122223333:user/a"}, "in the role ARN"),
        ({"sesion_duration": "900"}, "no setting 'sesion_duration'; did you mean session_dur"),
        ({"trust-anchor-arn": ANCHOR}, "no setting 'trust-anchor-arn'; did you mean trust_anchor"),
        ({"zzz": "1"}, "no setting 'zzz'; there are trust_anchor_arn, profile_arn"),
    ],
)
def test_a_wrong_setting_is_named(config_file: Write, settings: dict[str, str], said: str) -> None:
    """The message names the file, the profile, the key and what would do."""
    path = config_file(section(LEAST | settings))

    with pytest.raises(ConfigurationError) as caught:
        RolesAnywhereConfig.from_profile("app")
    assert str(caught.value).startswith(f"profile app in {path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["certificate", "private_key", "verify", "cache"])
def test_content_in_the_place_of_a_path_is_not_shown(config_file: Write, key: str) -> None:
    """A key without its PEM lines, where a path belongs, is not shown behind the file's folder."""
    config_file(section(LEAST | {key: "c2VjcmV0" * 8}))

    with pytest.raises(ConfigurationError, match=f"{key} is a path, .*not shown") as caught:
        RolesAnywhereConfig.from_profile("app")
    assert "c2VjcmV0" not in str(caught.value)


def test_an_error_keeps_its_kind(config_file: Write) -> None:
    """What the configuration itself refuses is the same error, with the place before it."""
    config_file(section(LEAST | {"role_arn": "app"}))

    with pytest.raises(ARNError, match="profile app in ") as caught:
        RolesAnywhereConfig.from_profile("app")
    assert caught.value.arn == "app"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[profile app]\nregion = eu-west-1\n", "has no block `rolesanywhere =`"),
        (f"[profile app]\nprofile_arn = {PROFILE}\n", "indent these below"),
        ("[profile app]\ncredential_process = x\n", r"from_credential_process\(\) may read"),
        ("[profile app]\nrolesanywhere = yes\n", "must be a block"),
        ("[profile app]\nrolesanywhere =\nregion = eu-west-1\n", "must be a block"),
        ("[profile app]\nrolesanywhere =\n  role_arn\n", "each line is `name = value`"),
        ("[app]\nregion = eu-west-1\n", r"write \[profile app\] instead of \[app\]"),
        ("[profile apq]\nregion = eu-west-1\n", "no profile app .* did you mean apq"),
        ("[profile other]\nregion = eu-west-1\n", "no profile app in .*credentials$"),
        (section({"role_arn": ROLE}), "lacks trust_anchor_arn, profile_arn, certificate"),
    ],
)
def test_what_is_no_profile_of_ours(config_file: Write, text: str, said: str) -> None:
    """A missing or malformed profile or block is an error that says what to write."""
    path = config_file(text)

    with pytest.raises(ConfigurationError, match=said) as caught:
        RolesAnywhereConfig.from_profile("app")
    assert str(path) in str(caught.value)


def test_nothing_anywhere() -> None:
    """Neither profile nor environment: the message names both ways."""
    with pytest.raises(ConfigurationError, match="the environment has no ROLESANYWHERE_TRUST"):
        RolesAnywhereConfig.from_profile()


def test_a_secret_does_not_belong_into_the_file(config_file: Write) -> None:
    """A passphrase in a profile is refused, with value: and without, and not shown."""
    for text in ("value:hunter2", "hunter2"):
        config_file(section(LEAST | {"passphrase": text}))
        with pytest.raises(ConfigurationError, match="passphrase") as caught:
            RolesAnywhereConfig.from_profile("app")
        assert "hunter2" not in str(caught.value)
        assert "env:NAME" in str(caught.value)


def test_a_secret_in_a_variable_says_so() -> None:
    """In the environment value: is taken, and never shown; a bare secret is no reference."""
    config = RolesAnywhereConfig.from_environment(
        VARIABLES | {"ROLESANYWHERE_PASSPHRASE": "value:hunter2"}
    )
    assert callable(config.passphrase)
    assert config.passphrase() == b"hunter2"
    assert "hunter2" not in repr(config)

    with pytest.raises(ConfigurationError, match="ROLESANYWHERE_PASSPHRASE: neither env:"):
        RolesAnywhereConfig.from_environment(VARIABLES | {"ROLESANYWHERE_PASSPHRASE": "hunter2"})


def test_login_of_a_proxy_is_not_shown(config_file: Write) -> None:
    """A malformed list of proxies may hold a password: only its name is said."""
    config_file(section(LEAST | {"proxies": "http://me:hunter2@proxy:3128"}))

    with pytest.raises(ConfigurationError, match="proxies must be") as caught:
        RolesAnywhereConfig.from_profile("app")
    assert "hunter2" not in str(caught.value)


def test_missing_and_misspelt_variables() -> None:
    """Too few variables are named; so is one that can only be meant for another."""
    with pytest.raises(
        ConfigurationError,
        match=r"lacks ROLESANYWHERE_PROFILE_ARN, ROLESANYWHERE_ROLE_ARN, .*CERTIFICATE$",
    ):
        RolesAnywhereConfig.from_environment({"ROLESANYWHERE_TRUST_ANCHOR_ARN": ANCHOR})
    with pytest.raises(ConfigurationError, match="did you mean ROLESANYWHERE_SESSION_DURATION"):
        RolesAnywhereConfig.from_environment(VARIABLES | {"ROLESANYWHERE_SESION_DURATION": "900"})
    other = VARIABLES | {"ROLESANYWHERE_ROLE_NAME": "of another program"}
    assert RolesAnywhereConfig.from_environment(other) == RolesAnywhereConfig(**LEAST)


def test_what_the_emulator_exports(tmp_path: Path) -> None:
    """The variables of `rolesanywhere-auth emulator` are taken as they are, all of them."""
    seed = {
        "trust_anchors": [{"name": "lab", "generate": True}],
        "roles": [{"name": "app", "trust_anchor": "lab"}],
        "profiles": [{"name": "app", "roles": ["app"]}],
        "leaves": [{"name": "app", "trust_anchor": "lab", "folder": "app"}],
    }
    (tmp_path / "seed.json").write_text(json.dumps(seed))
    with Emulator(tls_port=None) as emulator:
        planted = plant(emulator, read_seed(tmp_path / "seed.json"))
        exported = environment(emulator, [planted], ca_bundle=None)

    assert "ROLESANYWHERE_TRUST_ANCHOR_ARN_LAB" in exported
    config = RolesAnywhereConfig.from_environment(exported)
    assert config.certificate == str(tmp_path / "app" / "client.pem")
    exported["ROLESANYWHERE_CERTIFICATE_CHIAN"] = "chain.pem"
    with pytest.raises(ConfigurationError, match="did you mean ROLESANYWHERE_CERTIFICATE_CHAIN"):
        RolesAnywhereConfig.from_environment(exported)


def test_a_wrong_variable_is_named() -> None:
    """An error in a variable names the variable; one of the configuration, the environment."""
    with pytest.raises(ConfigurationError, match=r"^ROLESANYWHERE_MAX_ATTEMPTS must be a whole"):
        RolesAnywhereConfig.from_environment(VARIABLES | {"ROLESANYWHERE_MAX_ATTEMPTS": "many"})
    with pytest.raises(ConfigurationError, match=r"^the environment: max_attempts must be"):
        RolesAnywhereConfig.from_environment(VARIABLES | {"ROLESANYWHERE_MAX_ATTEMPTS": "0"})


def test_setting_shows_no_value() -> None:
    """A text on its way into the configuration may be a secret."""
    from rolesanywhere_auth._texts import Setting

    assert repr(Setting("hunter2", "passphrase", folder=None)) == "Setting('passphrase')"
