"""The configuration: checked once, frozen, and silent about secrets."""

from __future__ import annotations

import base64
import contextlib
import copy
import inspect
import pickle
import re
import threading
import traceback
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolesanywhere_auth._mappings import FrozenMapping
from rolesanywhere_auth.config import RolesAnywhereConfig
from rolesanywhere_auth.errors import ARNError, ConfigurationError, EndpointError

UUID = "9f084b8b-2f3b-4c9e-a3c5-0a2f7b1c5d6e"
NEEDED: dict[str, Any] = {
    "trust_anchor_arn": f"arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/{UUID}",
    "profile_arn": f"arn:aws:rolesanywhere:eu-west-1:111122223333:profile/{UUID}",
    "role_arn": "arn:aws:iam::111122223333:role/app",
    "certificate": "/etc/pki/app.pem",
}
PEM = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"


class OwnSigner:
    """A key that lives somewhere; only its shape counts here."""

    def public_key(self) -> Any:
        raise NotImplementedError

    def sign(self, data: bytes) -> bytes:
        raise NotImplementedError


def config_of(**changes: Any) -> RolesAnywhereConfig:
    """A configuration that works, but for *changes*."""
    return RolesAnywhereConfig(**{**NEEDED, **changes})


def a_passphrase() -> str:
    """A callable that a pickle can name."""
    return "hunter2"


FULL: dict[str, Any] = {
    "private_key": Path("/etc/pki/app.key"),
    "certificate_chain": "/etc/pki/chain.pem",
    "passphrase": a_passphrase,
    "session_duration": timedelta(hours=1),
    "role_session_name": "app@host",
    "instance_properties": {"host": "web-1", "rack": "7"},
    "region": "eu-west-1",
    "endpoint_url": "https://vpce.example:8443/ra",
    "use_fips_endpoint": False,
    "use_dualstack_endpoint": True,
    "verify": "/etc/ssl/ca.pem",
    "proxies": {"https": "http://proxy.example:3128"},
    "connect_timeout": 2,
    "read_timeout": timedelta(seconds=4.5),
    "max_attempts": 5,
    "cache": "/run/app",
    "wait_timeout": timedelta(minutes=1),
    "serve_expired": False,
}


def test_defaults() -> None:
    """What is not given is as documented; the Region is the trust anchor's."""
    config = config_of()
    values = {item.name: getattr(config, item.name) for item in fields(config)}
    assert values == {
        **NEEDED,
        "private_key": None,
        "certificate_chain": None,
        "passphrase": None,
        "session_duration": 3600,
        "role_session_name": None,
        "instance_properties": None,
        "region": "eu-west-1",
        "endpoint_url": None,
        "use_fips_endpoint": None,
        "use_dualstack_endpoint": None,
        "verify": None,
        "proxies": None,
        "connect_timeout": 5,
        "read_timeout": 10,
        "max_attempts": 3,
        "cache": None,
        "wait_timeout": None,
        "serve_expired": True,
    }
    assert config.patience == 45
    assert config.account_id == "111122223333"


def test_everything_given_is_kept() -> None:
    """All fields together are accepted, durations as seconds."""
    config = config_of(**FULL)
    seconds = {"session_duration": 3600, "read_timeout": 4.5, "wait_timeout": 60}
    for name, value in {**FULL, **seconds}.items():
        assert getattr(config, name) == value
    assert config.patience == 60
    assert type(config.session_duration) is int


def test_keywords_only_and_no_typos() -> None:
    """Nothing is positional, and an unknown name is an error."""
    kinds = {p.kind for p in inspect.signature(RolesAnywhereConfig).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    with pytest.raises(TypeError, match="private_kye"):
        config_of(private_kye="/etc/pki/app.key")


@pytest.mark.parametrize("region", [None, ""])
def test_cache_may_be_switched_off_explicitly(region: str | None) -> None:
    """False, and the empty text of an unset variable, are no cache."""
    assert config_of(cache=False if region is None else region).cache is None


@pytest.mark.parametrize("region", [None, ""])
def test_region_comes_from_the_trust_anchor(region: str | None) -> None:
    """An unset Region, the empty text of an unset variable included, is the anchor's."""
    assert config_of(region=region).region == "eu-west-1"


@pytest.mark.parametrize(
    "changes",
    [
        {"trust_anchor_arn": NEEDED["profile_arn"]},
        {"profile_arn": NEEDED["profile_arn"].replace("eu-west-1", "us-east-1")},
        {"role_arn": "arn:aws:iam::444455556666:role/app"},
        {"role_arn": "arn:aws-us-gov:iam::111122223333:role/app"},
    ],
    ids=["kind", "region", "account", "partition"],
)
def test_arns_are_checked(changes: dict[str, str]) -> None:
    """ARNs that are wrong or do not fit are refused when the configuration is made."""
    with pytest.raises(ARNError):
        config_of(**changes)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (900, 900),
        (900.0, 900),
        (43200, 43200),
        (timedelta(minutes=15), 900),
        (timedelta(hours=12), 43200),
    ],
    ids=repr,
)
def test_session_duration(value: Any, expected: int) -> None:
    """15 minutes to 12 hours, in seconds or as a timedelta."""
    assert config_of(session_duration=value).session_duration == expected


NAN, INF = float("nan"), float("inf")
DURATIONS = [899, 43201, 900.5, 0, -900, NAN, INF, -INF, "3600", None, True, timedelta(days=1)]


@pytest.mark.parametrize("value", DURATIONS, ids=repr)
def test_session_duration_refused(value: Any) -> None:
    """Anything else is refused, with the limits."""
    with pytest.raises(ConfigurationError, match=r"session_duration must be 900 to 43200 whole"):
        config_of(session_duration=value)


@pytest.mark.parametrize("name", ["connect_timeout", "read_timeout"])
@pytest.mark.parametrize(
    "value",
    [0, -1, NAN, INF, "5", None, True, timedelta(0), timedelta.max, 1e10, 10**400],
    ids=repr,
)
def test_timeouts_refused(name: str, value: Any) -> None:
    """A time-out is a number above 0 that the system can wait: none at all would hang."""
    with pytest.raises(ConfigurationError, match=f"{name} must be a number of seconds above 0"):
        config_of(**{name: value})


@pytest.mark.parametrize("attempts", [10**9, 10**400], ids=["billion", "more"])
def test_patience_can_be_waited(attempts: int) -> None:
    """Whoever lets a sign-in try for ever gets a wait that locks and sockets can take."""
    config = config_of(max_attempts=attempts, connect_timeout=timedelta(days=24))

    assert config.patience <= min(threading.TIMEOUT_MAX, (2**31 - 1) / 1000)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"certificate": None}, "certificate must be a path or the content as bytes, not NoneType"),
    ({"certificate": ""}, "certificate must be a path or the content as bytes, not empty"),
    ({"certificate": b""}, "not empty"),
    ({"certificate": 5}, "not int"),
    ({"certificate_chain": ""}, "certificate_chain must be .* not empty"),
    ({"certificate_chain": ["a.pem"]}, "certificate_chain must be .* not list"),
    ({"private_key": ""}, "private_key must be .* not empty"),
    ({"private_key": object()}, "private_key must be .* not object"),
    ({"passphrase": 5}, "passphrase must be str, bytes or a callable, not int"),
    ({"passphrase": bytearray(b"hunter2")}, "passphrase must be .* not bytearray"),
    ({"role_session_name": "a"}, "role_session_name must be 2 to 64"),
    ({"role_session_name": "a" * 65}, "role_session_name must be"),
    ({"role_session_name": "a b"}, "role_session_name must be"),
    ({"role_session_name": "größe"}, "role_session_name must be"),
    ({"role_session_name": "app\n"}, "role_session_name must be"),
    ({"role_session_name": 55}, "role_session_name must be .* not 55"),
    ({"region": "evil.example/#"}, "the trust anchor is in eu-west-1"),
    ({"cache": 5}, "cache must be True"),
    ({"serve_expired": 1}, "serve_expired must be True or False"),
    ({"wait_timeout": 0}, "wait_timeout must be"),
    ({"region": 5}, "the trust anchor is in eu-west-1"),
    ({"max_attempts": 0}, "max_attempts must be a whole number from 1 on, not 0"),
    ({"max_attempts": True}, "max_attempts must be"),
    ({"max_attempts": 2.0}, "max_attempts must be"),
    ({"use_fips_endpoint": "false"}, "use_fips_endpoint must be True, False or None"),
    ({"use_dualstack_endpoint": 1}, "use_dualstack_endpoint must be True, False or None"),
    ({"verify": 0}, "verify must be"),
    ({"verify": b"/etc/ssl/ca.pem"}, "verify must be"),
    ({"instance_properties": [("a", "b")]}, "mapping of at most 50 names, not list"),
    ({"instance_properties": {str(i): "x" for i in range(51)}}, "at most 50 names, not 51"),
    ({"instance_properties": {"": "x"}}, "1 to 200 characters: ''"),
    ({"instance_properties": {"x": ""}}, "1 to 200 characters: 'x'"),
    ({"instance_properties": {"x": "v" * 201}}, "1 to 200 characters: 'x'"),
    ({"instance_properties": {"x": 5}}, "1 to 200 characters: 'x'"),
    ({"proxies": "http://proxy.example"}, "proxies takes a mapping"),
    ({"proxies": {"https": None}}, "proxies takes a mapping"),
]


@pytest.mark.parametrize(("changes", "says"), BAD, ids=[f"{n}-{c}" for n, (c, _) in enumerate(BAD)])
def test_other_settings_refused(changes: dict[str, Any], says: str) -> None:
    """A setting that cannot work is refused by name, without its secret."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        config_of(**changes)
    assert "hunter2" not in str(caught.value)


ENDPOINTS = [
    "",
    "rolesanywhere.example",
    "ftp://user:hunter2@host.example",
    "https://",
    "https://[::1",
    "https://host.example:port",
    "https://host.example:70000",
    "https://host.example:0",
    "https://host.example\n",
    "https://host.example/a b",
    "https://host..example",
    f"https://{'h' * 64}.example",
    "https://h\u00f6st.example",
    "https://host.example/\u00fc",
    "https://user:hunter2@host.example",
    "https://host.example/?token=hunter2",
    "https://host.example/#hunter2",
    b"https://host.example",
    5,
]


@pytest.mark.parametrize("url", ENDPOINTS, ids=repr)
def test_endpoints_refused(url: Any) -> None:
    """A malformed URL is an EndpointError, which does not repeat a password."""
    with pytest.raises(EndpointError, match="endpoint_url") as caught:
        config_of(endpoint_url=url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "https://[::1]:8443/base", "https://h", "https://h_1.e."]
)
def test_endpoints_accepted(url: str) -> None:
    """http and https, with port and path."""
    assert config_of(endpoint_url=url).endpoint_url == url


@given(url=st.text(max_size=40).map(lambda tail: "https://" + tail))
def test_no_endpoint_breaks_it(url: str) -> None:
    """Any URL is accepted or an EndpointError, never another error."""
    with contextlib.suppress(EndpointError):
        assert config_of(endpoint_url=url).endpoint_url == url


@pytest.mark.parametrize("name", ["verify", "cache", "certificate", "private_key"])
@pytest.mark.parametrize("wrap", [str, Path, str.encode], ids=["str", "path", "bytes"])
def test_content_in_the_place_of_a_path_is_not_shown(name: str, wrap: Callable[[str], Any]) -> None:
    """A PEM, or its base64 alone, given as a path is in no message and no representation."""
    body = "\n".join(["c2VjcmV0" * 8] * 3)
    for text in (f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n", body):
        try:
            shown = repr(config_of(**{name: wrap(text)}))
        except ConfigurationError as error:
            shown = "".join(traceback.format_exception(error))
        assert "c2VjcmV0" not in shown


@pytest.mark.parametrize("verify", [None, ""])
def test_an_unset_verify_is_never_off(verify: str | None) -> None:
    """None and the empty text leave the choice to botocore's settings."""
    assert config_of(verify=verify).verify is None


@pytest.mark.parametrize("verify", [True, False, "/ca.pem", Path("/ca.pem")], ids=repr)
def test_verify_is_kept_as_said(verify: Any) -> None:
    """What is said outright stays as it is, an explicit False included."""
    assert config_of(verify=verify).verify is verify


@pytest.mark.parametrize(
    "key",
    [None, "/k.pem", Path("/k.pem"), b"DER", PEM, OwnSigner()],
    ids=["none", "text", "path", "bytes", "pem", "signer"],
)
def test_private_keys_accepted(key: Any) -> None:
    """A path, the content, a signer, or nothing."""
    assert config_of(private_key=key).private_key is key


def test_it_cannot_change() -> None:
    """No field, and no entry of a field, can be changed; what it was made of may."""
    given_properties = {"host": "web-1"}
    config = config_of(instance_properties=given_properties)
    with pytest.raises(FrozenInstanceError):
        config.region = "us-east-1"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.instance_properties["host"] = "web-2"  # type: ignore[index]
    given_properties["host"] = "web-2"
    assert config.instance_properties == {"host": "web-1"}


def test_equal_ones_are_equal_keys() -> None:
    """Configurations that mean the same are equal and hash alike, whatever they were made of."""
    one = config_of(**FULL)
    other = config_of(
        **{
            **FULL,
            "session_duration": 3600,
            "read_timeout": 4.5,
            "region": None,
            "instance_properties": MappingProxyType({"rack": "7", "host": "web-1"}),
        }
    )
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other, config_of()}) == 2


@pytest.mark.parametrize("name", sorted(FULL.keys() - {"region", "session_duration"}))
def test_each_field_counts_for_equality(name: str) -> None:
    """A difference in any one field makes them unequal."""
    assert config_of(**{name: FULL[name]}) != config_of()


def test_replace_makes_another() -> None:
    """``dataclasses.replace`` checks anew."""
    assert replace(config_of(), max_attempts=1).max_attempts == 1
    with pytest.raises(ConfigurationError):
        replace(config_of(), max_attempts=0)


def test_it_can_be_pickled() -> None:
    """One that holds references alone comes back equal, and as frozen."""
    config = config_of(**FULL)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(config, protocol))
        assert again == config
        assert hash(again) == hash(config)
        assert repr(again) == repr(config)


SECRETS: list[dict[str, Any]] = [
    {"private_key": PEM},
    {"private_key": b"hunter2"},
    {"certificate": b"hunter2"},
    {"certificate_chain": PEM},
    {"passphrase": "hunter2"},
    {"passphrase": b"hunter2"},
    {"proxies": {"https": "http://user:hunter2@proxy.example:3128"}},
]


@pytest.mark.parametrize(
    "changes", SECRETS, ids=lambda c: "-".join([*c, type(*c.values()).__name__])
)
def test_content_and_secrets(changes: dict[str, Any]) -> None:
    """What holds content or a secret is not printed, and refuses to be pickled with the way out."""
    config = config_of(**changes)
    assert "hunter2" not in repr(config)
    assert "hunter2" not in f"{config}"
    assert next(iter(changes)) in repr(config)
    says = f"whose {next(iter(changes))} (is|hold).* instead"
    with pytest.raises(TypeError, match=says) as caught:
        pickle.dumps(config)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{}, *SECRETS], ids=lambda c: "-".join([*c, *(type(v).__name__ for v in c.values())])
)
def test_copies_are_itself(changes: dict[str, Any]) -> None:
    """Since it cannot change, a copy of any kind is the same object."""
    config = config_of(**changes)
    assert copy.copy(config) is config
    assert copy.deepcopy(config) is config


def test_repr_shows_what_was_chosen() -> None:
    """The repr names what differs from the defaults, references in full and content by size."""
    text = repr(config_of(private_key=b"12345", certificate_chain=PEM, max_attempts=5))
    assert text.startswith("RolesAnywhereConfig(trust_anchor_arn='arn:aws:rolesanywhere:eu-west-1")
    assert "certificate='/etc/pki/app.pem'" in text
    assert "private_key=<5 bytes>" in text
    assert f"certificate_chain=<{len(PEM)} str>" in text
    assert "max_attempts=5" in text
    assert "session_duration" not in text


PROXIES = [
    ("http://proxy.example:3128", "http://proxy.example:3128"),
    ("http://user:hunter2@proxy.example:3128", "http://********@proxy.example:3128"),
    ("http://hunter2@proxy.example:3128", "http://********@proxy.example:3128"),
    ("http://user:hun@ter2@proxy.example", "http://********@proxy.example"),
    ("http://user:hun/ter2@proxy.example", "http://********@proxy.example"),
    ("user:hunter2@proxy.example", "********@proxy.example"),
]


@pytest.mark.parametrize(("url", "shown"), PROXIES, ids=[url for url, _ in PROXIES])
def test_repr_masks_the_proxys_login(url: str, shown: str) -> None:
    """User name and password of a proxy are masked, however malformed the URL is."""
    text = repr(config_of(proxies={"https": url}))
    assert f"proxies={{'https': {shown!r}}}" in text


@given(items=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=4))
def test_frozen_mapping_is_a_mapping(items: dict[str, str]) -> None:
    """It equals the dict it was made of, in any order, and can be a key and be pickled."""
    frozen = FrozenMapping(items)
    turned = FrozenMapping(dict(reversed(items.items())))
    assert frozen == items
    assert (len(frozen), list(frozen), repr(frozen)) == (len(items), list(items), repr(items))
    assert hash(frozen) == hash(turned)
    assert pickle.loads(pickle.dumps(frozen)) == turned


def test_documented_like_written() -> None:
    """Every field is explained in the docstring, in order."""
    text = inspect.cleandoc(str(RolesAnywhereConfig.__doc__))  # Python 3.13 does it by itself
    explained = re.findall(r"^    (\w+): ", text, re.MULTILINE)
    documented = [name for name in explained if not name.endswith("Error")]
    assert documented == [item.name for item in fields(RolesAnywhereConfig)]


def test_base64_of_a_key_is_refused_unseen() -> None:
    """A key in base64, as in environment variables, is no path, and is not shown."""
    text = base64.b64encode(b"-----BEGIN PRIVATE KEY-----\nMIIEvQ" + bytes(60)).decode()
    with pytest.raises(ConfigurationError, match="decode base64 first") as caught:
        config_of(private_key=text)
    assert text not in str(caught.value)


def test_signer_without_a_public_key_is_named() -> None:
    """An object that can sign but not show its public key is told so."""

    class Half:
        def sign(self, data: bytes) -> bytes:
            return data

    with pytest.raises(ConfigurationError, match=r"Half .* needs both public_key\(\)"):
        config_of(private_key=Half())


def test_pin_in_a_reference_is_not_shown() -> None:
    """A PIN in a key store's URI is in no repr and in no pickle."""
    config = config_of(private_key="pkcs11:token=t;object=o?pin-value=1234")
    assert "1234" not in repr(config)
    with pytest.raises(TypeError, match="private_key"):
        pickle.dumps(config)
