"""Metrics as a Prometheus server gets them: from a real text endpoint, read by its own parser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from rolesanywhere_auth import (
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
    ServiceUnavailableError,
)
from rolesanywhere_auth.prometheus import CredentialsCollector
from rolesanywhere_auth.testing import Emulator

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Clock:
    """It starts now and moves when told."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def made(config: RolesAnywhereConfig, clock: Clock) -> RolesAnywhereCredentials:
    """Credentials that sign in in the thread that asks."""
    found = RolesAnywhereCredentials(config, now=clock, sleep=lambda _: None)
    found._renewal._keeper.ensure = lambda: False  # type: ignore[method-assign]
    return found


@pytest.fixture
def registry() -> CollectorRegistry:
    """An empty one."""
    return CollectorRegistry()


@pytest.fixture
def url(registry: CollectorRegistry) -> Iterator[str]:
    """Where it is scraped."""
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


def get(url: str, *, accept: str = "text/plain") -> str:
    """The text at *url*."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text: bytes = answer.read()
    return text.decode()


def scrape(url: str) -> Samples:
    """What stands at *url*, no series twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(get(url)):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, config: RolesAnywhereConfig, **more: str) -> float | None:
    """One series of *config*."""
    labels = {"role_arn": config.role_arn, "profile_arn": config.profile_arn, **more}
    return samples.get((name, frozenset(labels.items())))


def test_a_scrape_shows_expiry_and_sign_ins(
    registry: CollectorRegistry, url: str, emulator: Emulator, config: RolesAnywhereConfig
) -> None:
    """Before the first use all counts are there, and zero; then the moments are those of health."""
    collector = CredentialsCollector(registry=registry)
    credentials = made(config, Clock())
    collector.watch(credentials)
    collector.watch(credentials)  # once is enough
    before = scrape(url)
    emulator.fail_next(3)
    with pytest.raises(ServiceUnavailableError):
        credentials.get_frozen_credentials()
    with pytest.raises(ServiceUnavailableError):
        credentials.get_frozen_credentials()
    failed = scrape(url)
    credentials._renewal.renew()
    health = credentials.health()
    after = scrape(url)

    name = "rolesanywhere_sign_ins_total"
    counts = [
        [value(each, name, config, result=result) for result in ("succeeded", "failed", "skipped")]
        for each in (before, failed, after)
    ]
    assert counts == [[0, 0, 0], [0, 1, 1], [1, 1, 1]]
    assert health.expires_at
    assert health.certificate_expires_at
    assert health.last_success
    for kind, moment in {
        "credentials_expiry": health.expires_at,
        "certificate_expiry": health.certificate_expires_at,
        "last_success": health.last_success,
    }.items():
        name = f"rolesanywhere_{kind}_timestamp_seconds"
        assert value(before, name, config) is None
        assert value(after, name, config) == pytest.approx(moment.timestamp())
    error = "rolesanywhere_sign_in_errors_total"
    assert value(before, error, config, error="ServiceUnavailableError") == 0
    assert value(failed, error, config, error="ServiceUnavailableError") == 1
    seconds = "rolesanywhere_sign_in_duration_seconds"
    assert value(after, f"{seconds}_count", config, result="succeeded") == 1
    assert value(after, f"{seconds}_count", config, result="failed") == 1
    assert value(after, f"{seconds}_bucket", config, result="failed", le="+Inf") == 1
    state, circuit = "rolesanywhere_credentials_state", "rolesanywhere_circuit_state"
    assert value(before, state, config, state="none") == 1
    assert value(failed, circuit, config, state="open") == 1
    assert value(after, circuit, config, state="open") == 0
    assert value(after, circuit, config, state="closed") == 1
    assert value(after, state, config, state="fresh") == 1


def test_the_state_is_that_of_the_scrape(
    registry: CollectorRegistry, url: str, config: RolesAnywhereConfig
) -> None:
    """No event tells that credentials have expired: it shows all the same."""
    clock = Clock()
    credentials = made(config, clock)
    CredentialsCollector(registry=registry).watch(credentials)
    credentials.get_frozen_credentials()

    clock.ahead = 3700
    assert value(scrape(url), "rolesanywhere_credentials_state", config, state="expired") == 1


def test_open_metrics_and_secrets(
    registry: CollectorRegistry, url: str, config: RolesAnywhereConfig
) -> None:
    """The other format is sound too, no series has other labels than these, and none a secret."""
    credentials = made(config, Clock())
    CredentialsCollector(registry=registry).watch(credentials)
    frozen = credentials.get_frozen_credentials()

    text = get(url, accept="application/openmetrics-text")
    families = list(open_metrics_families(text))
    names = {label for each in families for sample in each.samples for label in sample.labels}

    assert names == {"role_arn", "profile_arn", "result", "error", "state", "le"}
    assert all(each.documentation.endswith(".") for each in families)
    for secret in (frozen.access_key, frozen.secret_key, frozen.token):
        assert str(secret) not in text


def test_two_sessions_of_one_role_are_one_series(
    registry: CollectorRegistry, url: str, config: RolesAnywhereConfig
) -> None:
    """A scrape with a series twice would be refused as a whole; `scrape()` sees to that."""
    collector = CredentialsCollector(registry=registry)
    both = [made(config, Clock()) for _ in range(2)]
    for each in both:
        collector.watch(each)
        each.get_frozen_credentials()

    samples = scrape(url)
    assert value(samples, "rolesanywhere_sign_ins_total", config, result="succeeded") == 2
    health = [each.health().expires_at for each in both]
    assert value(
        samples, "rolesanywhere_credentials_expiry_timestamp_seconds", config
    ) == pytest.approx(min(each.timestamp() for each in health if each))


def test_a_registry_takes_one(registry: CollectorRegistry) -> None:
    """A second one would give each series twice; without a registry it is the caller's to use."""
    CredentialsCollector(registry=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        CredentialsCollector(registry=registry)
    alone = CredentialsCollector(registry=None)
    assert {each.name for each in alone.describe()} == {each.name for each in alone.collect()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_until_no_metric_is_locked(
    registry: CollectorRegistry, config: RolesAnywhereConfig
) -> None:
    """No child inherits a lock that a scrape of its parent held: it counts, and can be scraped."""
    collector = CredentialsCollector(registry=registry)
    credentials = made(config, Clock())
    collector.watch(credentials)
    credentials.get_frozen_credentials()
    event = credentials._renewal.event("skipped")
    inside = threading.Event()
    collect = collector._sign_ins.collect

    def slowly() -> Iterable[Metric]:
        with collector._sign_ins._lock:
            inside.set()
            time.sleep(0.2)
        return collect()

    collector._sign_ins.collect = slowly  # type: ignore[method-assign]
    scrape = threading.Thread(target=generate_latest, args=(registry,))
    scrape.start()
    assert inside.wait(30)
    child = os.fork()
    if child == 0:
        try:
            collector.note(event, credentials.labels)
            os._exit(0 if b"rolesanywhere_sign_ins_total" in generate_latest(registry) else 1)
        finally:
            os._exit(2)
    status = ended(child)
    scrape.join()

    assert status == 0


def ended(child: int) -> int:
    """The status of *child*; it is ended after a minute, as it hangs."""
    timer = threading.Timer(60, os.kill, (child, 9))
    timer.start()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    timer.cancel()
    timer.join()
    return status


WORKERS = """
import json, os, sys
from dataclasses import replace
from rolesanywhere_auth import RolesAnywhereConfig, RolesAnywhereCredentials
from rolesanywhere_auth.prometheus import CredentialsCollector

collector = CredentialsCollector()
credentials = RolesAnywhereCredentials(RolesAnywhereConfig(**json.loads(sys.argv[1])))
collector.watch(credentials)

children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        try:
            credentials._renewal._keeper.ensure = lambda: False
            credentials.get_frozen_credentials()
            if children:  # the second has one more session, which cannot sign in
                away = replace(credentials.config, endpoint_url="http://127.0.0.1:1")
                broken = RolesAnywhereCredentials(away, sleep=lambda _: None)
                broken._renewal._keeper.ensure = lambda: False
                collector.watch(broken)
                broken.get_frozen_credentials()
        finally:
            os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
credentials._renewal._keeper.ensure = lambda: False
credentials.get_frozen_credentials()

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

registry = CollectorRegistry()
MultiProcessCollector(registry)
sys.stdout.buffer.write(generate_latest(registry))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_workers_of_one_server_are_counted_together(
    config: RolesAnywhereConfig, tmp_path: Path
) -> None:
    """In prometheus_client's multiprocess mode, as under gunicorn, any worker answers for all."""
    arguments = {
        "trust_anchor_arn": config.trust_anchor_arn,
        "profile_arn": config.profile_arn,
        "role_arn": config.role_arn,
        "certificate": str(config.certificate),
        "private_key": str(config.private_key),
        "endpoint_url": config.endpoint_url,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WORKERS, json.dumps(arguments)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        check=True,
        timeout=120,
    )

    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(done.stdout.decode())
        for sample in family.samples
    }
    assert value(found, "rolesanywhere_sign_ins_total", config, result="succeeded") == 3
    left = value(found, "rolesanywhere_credentials_expiry_timestamp_seconds", config)
    assert left is not None
    assert left > time.time()
    assert value(found, "rolesanywhere_credentials_state", config, state="fresh") == 1
    circuits = {
        state: value(found, "rolesanywhere_circuit_state", config, state=state)
        for state in ("closed", "half-open", "open")
    }
    assert circuits == {"closed": 1, "half-open": 0, "open": 1}  # of one process and another


def test_without_the_library_the_error_names_the_extra() -> None:
    """Who has not installed it is told what to install."""
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from rolesanywhere_auth import MissingExtraError\n"
        "try:\n    import rolesanywhere_auth.prometheus\n"
        "except MissingExtraError as error:\n    print(error.extra, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("prometheus ")
    assert "pip install 'rolesanywhere-auth[prometheus]'" in done.stdout
