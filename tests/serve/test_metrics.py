"""``GET /metrics``, where it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serve_client import Client

from rolesanywhere_auth import MissingExtraError, RolesAnywhereConfig, RolesAnywhereCredentials
from rolesanywhere_auth.serve import CredentialServer


def test_metrics_of_all_roles(
    serving: Callable[..., Client],
    config: RolesAnywhereConfig,
    credentials: RolesAnywhereCredentials,
) -> None:
    """Each server tells of its own roles, without a token and without a secret; only to GET."""
    client = serving({"a": credentials, "b": RolesAnywhereCredentials(config)}, metrics=True)

    answer = client.ask("/metrics")
    text = answer.body.decode()
    found = {
        sample.name: sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    expiry = found["rolesanywhere_credentials_expiry_timestamp_seconds"]
    assert expiry.labels["role_arn"] == config.role_arn
    frozen = credentials.get_frozen_credentials()
    for secret in (frozen.access_key, frozen.secret_key, frozen.token):
        assert str(secret) not in text
    assert client.ask("/metrics", method="POST").status == 405


def test_without_being_asked_there_is_nothing(client: Client) -> None:
    """By default the path is none."""
    assert client.ask("/metrics").status == 404


def test_what_is_missing_is_said_before_it_starts(
    credentials: RolesAnywhereCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the extra."""
    monkeypatch.delitem(sys.modules, "rolesanywhere_auth.prometheus", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r"rolesanywhere-auth\[prometheus\]"):
        CredentialServer(credentials, metrics=True)
