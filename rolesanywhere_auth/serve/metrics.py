# SPDX-License-Identifier: Apache-2.0
"""What the server tells Prometheus; only for a server that is asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rolesanywhere_auth.credentials import RolesAnywhereCredentials
from rolesanywhere_auth.serve.http import Answer


def exposition(credentials: Iterable[RolesAnywhereCredentials]) -> Callable[[], Answer]:
    """Makes the answer for a scrape, of these credentials alone.

    Raises:
        MissingExtraError: prometheus_client is not installed.
    """
    from rolesanywhere_auth.prometheus import CredentialsCollector

    collector = CredentialsCollector(registry=None)
    for each in credentials:
        collector.watch(each)
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(collector)
    return lambda: Answer(200, generate_latest(registry), (), CONTENT_TYPE_LATEST)
