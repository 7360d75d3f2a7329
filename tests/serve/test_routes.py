"""Who gets what: routes, tokens, methods, and requests that show a browser or a proxy."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from serve_client import Client

from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials, cli
from rolesanywhere_auth.testing import Emulator

Serving = Callable[..., Client]


def test_container_credentials(client: Client, credentials: RolesAnywhereCredentials) -> None:
    """With the token: keys, expiry in AWS's form, role and account; never to be stored."""
    reply = client.credentials()

    frozen = credentials.get_frozen_credentials()
    assert credentials.expires_at is not None
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json == {
        "RoleArn": credentials.config.role_arn,
        "AccountId": "111122223333",
        "AccessKeyId": frozen.access_key,
        "SecretAccessKey": frozen.secret_key,
        "Token": frozen.token,
        "Expiration": credentials.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


@pytest.mark.parametrize("path", ["/v1/credentials/", "/v1/credentials/app", "/v1/credentials?a=b"])
def test_other_spellings(client: Client, path: str) -> None:
    """A slash at the end, the name of the role, and a query lead to the same."""
    reply = client.ask(path, Authorization=client.token())

    assert reply.status == 200
    assert reply.json == client.credentials().json


def test_without_the_token_there_is_nothing(client: Client) -> None:
    """None, a wrong one, one of IMDS, and an unknown role are refused alike."""
    good = client.token()
    replies = [
        client.ask("/v1/credentials"),
        client.ask("/v1/credentials", Authorization="x"),
        client.ask("/v1/credentials", Authorization=f"Bearer {good}"),
        client.ask("/v1/credentials", Authorization=client.imds_token()),
        client.ask("/v1/credentials", X_aws_ec2_metadata_token=good),
        client.ask("/v1/credentials/other", Authorization=good),
    ]

    assert {reply.status for reply in replies} == {401}
    assert len({reply.body for reply in replies}) == 1
    assert replies[0].code == "InvalidAuthorizationToken"
    assert replies[0].headers["connection"] == "close"


def test_imds(client: Client) -> None:
    """The routes of EC2 and of the Go helper, with and without a slash at the end."""
    path = "/latest/meta-data/iam/security-credentials"
    token = client.imds_token()

    for end in ("", "/"):
        roles = client.ask(f"{path}{end}", X_aws_ec2_metadata_token=token)
        assert (roles.status, roles.body) == (200, b"app")
        assert roles.headers["content-type"] == "text/plain"
        keys = client.ask(f"{path}/app{end}", X_aws_ec2_metadata_token=token)
        assert keys.status == 200
        told = keys.json
        assert (told["Code"], told["Type"]) == ("Success", "AWS-HMAC")
        issued = datetime.strptime(f"{told['LastUpdated']}+0000", "%Y-%m-%dT%H:%M:%SZ%z")
        age = time.time() - issued.timestamp()
        assert -1 < age < 600
        same = client.credentials().json
        for name in ("AccessKeyId", "SecretAccessKey", "Token", "Expiration"):
            assert told[name] == same[name]
    assert client.ask(f"{path}/other", X_aws_ec2_metadata_token=token).status == 404


def test_imds_tokens(client: Client) -> None:
    """1 to 21600 seconds, told back; 21600 if none are asked for."""
    header = "x-aws-ec2-metadata-token-ttl-seconds"
    for asked, told in {"1": "1", "0060": "60", "21600": "21600"}.items():
        reply = client.ask("/latest/api/token/", method="PUT", **{header: asked})
        assert (reply.status, reply.headers[header]) == (200, told)
    reply = client.ask("/latest/api/token", method="PUT")
    assert (reply.status, reply.headers[header]) == (200, "21600")
    for wrong in ("0", "21601", "-1", "1.5", "", "x", "\xb2", "9" * 5000):
        reply = client.ask("/latest/api/token", method="PUT", **{header: wrong})
        assert (reply.status, reply.code) == (400, "InvalidTokenLifetime"), wrong


def test_imds_needs_its_token(serving: Serving, credentials: RolesAnywhereCredentials) -> None:
    """There is no IMDSv1; the token of another protocol, or one that has ended, is no token."""
    clock = [0.0]
    client = serving(credentials, imds=True, steady=lambda: clock[0])
    path = "/latest/meta-data/iam/security-credentials/app"
    token = client.imds_token("60")

    assert client.ask(path, X_aws_ec2_metadata_token=token).status == 200
    assert client.ask(path).status == 401
    assert client.ask(path, X_aws_ec2_metadata_token=client.token()).status == 401
    assert client.ask(path, X_aws_ec2_metadata_token=f"{token}x").status == 401
    clock[0] = 60
    assert client.ask(path, X_aws_ec2_metadata_token=token).code == "Unauthorized"


def test_imds_is_off_unless_asked_for(
    serving: Serving, credentials: RolesAnywhereCredentials
) -> None:
    """Its routes are not there."""
    client = serving(credentials)

    assert client.ask("/latest/api/token", method="PUT").status == 404
    assert client.ask("/latest/meta-data/iam/security-credentials/").status == 404


def test_several_roles(serving: Serving, config: RolesAnywhereConfig, emulator: Emulator) -> None:
    """Each has its path and its token, which opens no other; the first has the plain path."""
    other = RolesAnywhereConfig(**emulator.set_up().config_arguments())
    client = serving({"app": config, "other@x": other}, imds=True)

    first, second = client.credentials("app"), client.credentials("other@x")
    assert first.json["AccessKeyId"] != second.json["AccessKeyId"]
    assert client.credentials().json == first.json
    assert client.ask("/v1/credentials/other@x", Authorization=client.token()).status == 401
    assert client.ask("/v1/credentials", Authorization=client.token("other@x")).status == 401
    token = client.imds_token()
    path = "/latest/meta-data/iam/security-credentials/"
    assert client.ask(path, X_aws_ec2_metadata_token=token).body == b"app"
    by_name = client.ask(f"{path}other@x", X_aws_ec2_metadata_token=token)
    assert by_name.json["AccessKeyId"] == second.json["AccessKeyId"]


def test_exports_lead_to_every_role(serving: Serving, config: RolesAnywhereConfig) -> None:
    """The first by the names that SDKs read, the others with theirs behind them."""
    client = serving({"app": config, "other@x": config}, imds=True)

    lines = dict(line.split("=", 1) for line in client.server.exports().splitlines())
    url = client.server.url
    assert lines["export AWS_CONTAINER_CREDENTIALS_FULL_URI"] == f"{url}/v1/credentials"
    assert (
        lines["export AWS_CONTAINER_CREDENTIALS_FULL_URI_OTHER_X"]
        == f"{url}/v1/credentials/other@x"
    )
    assert lines["export AWS_EC2_METADATA_SERVICE_ENDPOINT"] == url
    assert Path(lines["export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).name == "app.token"
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/v1/credentials", "POST", "GET"),
        ("/v1/credentials", "HEAD", "GET"),
        ("/v1/credentials", "OPTIONS", "GET"),
        ("/latest/api/token", "GET", "PUT"),
        ("/latest/meta-data/iam/security-credentials/", "PUT", "GET"),
        ("/health", "DELETE", "GET"),
        ("/health", "TRACE", "GET"),
    ],
)
def test_methods(client: Client, path: str, method: str, allowed: str) -> None:
    """Each path has one; no answer invites a web page of another origin."""
    reply = client.ask(path, method=method)

    assert (reply.status, reply.headers["allow"]) == (405, allowed)
    assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/credentialsx",
        "//v1/credentials",
        "/v1/%63redentials",
        "/latest/meta-data/",
        "/latest/dynamic/instance-identity/document",
        "/v1/credentials/../../health",
    ],
)
def test_other_paths(client: Client, path: str) -> None:
    """Nothing else is there, and nothing is decoded or resolved."""
    assert client.ask(path, Authorization=client.token()).status in {401, 404}


HOSTS = {
    "127.0.0.1": 200,
    "127.0.0.1:9911": 200,
    "LocalHost:1": 200,
    "[::1]:9911": 200,
    "[::1]": 200,
    "evil.example": 403,
    "evil.example:9911": 403,
    "127.0.0.1.evil.example": 403,
    "127.0.0.1@evil.example": 403,
    "localhost.": 403,
    "127.0.0.1:9911.evil.example": 403,
    "127.0.0.1:": 403,
    "127.0.0.1:x": 403,
    "[::1]x": 403,
    "[::1": 403,
    "[::1]:x": 403,
    "169.254.169.254": 403,
    "": 403,
}


@pytest.mark.parametrize("host", HOSTS)
def test_hosts(client: Client, host: str) -> None:
    """Only names of loopback: a name that was rebound to 127.0.0.1 is a foreign one."""
    reply = client.ask("/health", Host=host)

    assert reply.status == HOSTS[host]
    if reply.status == 403:
        assert reply.code == "ForeignHost"


def test_the_log_says_how_a_name_is_allowed(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """By a flag that the command has."""
    client.ask("/health", Host="pod.example")

    [flag] = re.findall(r"--[\w-]+", caplog.text)
    options = cli.parser("serve").parse_args(["serve", flag, "pod.example"])
    assert options.host_name == ["pod.example"]


def test_a_request_without_host_is_refused(client: Client) -> None:
    """HTTP/1.0 needs none; here it does."""
    assert client.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403 ")


def test_more_names_may_be_allowed(serving: Serving, credentials: RolesAnywhereCredentials) -> None:
    """Those that the caller gives, IPv6 addresses with or without brackets."""
    client = serving(credentials, host_names=["Pod.example", "fd00::1"])

    for host, status in {"pod.EXAMPLE:80": 200, "[fd00::1]": 200, "x.example": 403}.items():
        assert client.ask("/health", Host=host).status == status


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("X-Forwarded-For", "ForwardedRequest"),
        ("Forwarded", "ForwardedRequest"),
        ("Via", "ForwardedRequest"),
        ("X-Real-IP", "ForwardedRequest"),
        ("Origin", "BrowserRequest"),
        ("Referer", "BrowserRequest"),
        ("Sec-Fetch-Site", "BrowserRequest"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/credentials", "/health"])
def test_proxies_and_browsers_are_refused(
    client: Client, path: str, header: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """On every path and with a good token; the first of each kind is logged."""
    for _ in range(2):
        reply = client.ask(path, Authorization=client.token(), **{header: "x"})
        assert (reply.status, reply.code) == (403, code)

    assert len(caplog.records) == 1


def test_refusals_are_limited_and_grants_are_not(
    serving: Serving, credentials: RolesAnywhereCredentials
) -> None:
    """Whoever is refused too often hears 429; those with a token are served as ever."""
    client = serving(credentials, steady=lambda: 0.0)
    statuses = [client.ask("/v1/credentials").status for _ in range(101)]

    assert statuses[:100] == [401] * 100
    assert statuses[-1] == 429
    assert client.credentials().status == 200
    limited = client.ask("/v1/credentials")
    assert limited.headers["retry-after"] == "1"
    assert limited.code == "TooManyRequests"


def test_health(client: Client, credentials: RolesAnywhereCredentials) -> None:
    """All of `Health`, for all roles or one; without a secret."""
    whole, one = client.ask("/health"), client.ask("/health/app")

    assert whole.status == one.status == 200
    assert whole.body == one.body
    assert whole.json["status"] == "ok"
    state: dict[str, Any] = whole.json["roles"]["app"]
    found = credentials.health()
    assert set(state) == set(found._fields)
    assert state["state"] == "fresh"
    assert state["certificate_serial_number"] == str(found.certificate_serial_number)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", state["expires_at"])
    frozen = credentials.get_frozen_credentials()
    assert frozen.token is not None
    assert not any(text in whole.body.decode() for text in (frozen.secret_key, frozen.token))
    assert client.ask("/health/other").status == 404


def test_nothing_secret_is_logged(
    client: Client, credentials: RolesAnywhereCredentials, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither keys nor tokens, whether they were taken or refused, at DEBUG."""
    caplog.set_level(logging.DEBUG)
    token, imds = client.token(), client.imds_token()
    path = "/latest/meta-data/iam/security-credentials/app"
    assert client.credentials().status == 200
    assert client.ask(path, X_aws_ec2_metadata_token=imds).status == 200
    assert client.ask("/v1/credentials", Authorization=f"{token}x").status == 401
    assert client.ask(f"/{token}").status == 404
    assert client.ask("/health", Host=token[:40]).status == 403

    frozen = credentials.get_frozen_credentials()
    assert "answered 200" in caplog.text
    for secret in (token, token[:40], imds, frozen.secret_key, frozen.token):
        assert secret
        assert secret not in caplog.text
