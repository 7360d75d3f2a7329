"""The dashboard and the alert rules of docs/telemetry: what they ask for is really scraped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from rolesanywhere_auth import (
    RolesAnywhereConfig,
    RolesAnywhereCredentials,
    ServiceUnavailableError,
)
from rolesanywhere_auth.prometheus import CredentialsCollector
from rolesanywhere_auth.testing import Emulator

FOLDER = Path(__file__).parents[1] / "docs" / "telemetry"
PAGE = FOLDER.with_suffix(".md")


@pytest.fixture(scope="module")
def text() -> Iterator[str]:
    """What an endpoint gives after a sign-in that failed and one that went well."""
    registry = CollectorRegistry()
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    with Emulator() as emulator:
        config = RolesAnywhereConfig(**emulator.set_up().config_arguments())
        credentials = RolesAnywhereCredentials(config, sleep=lambda _: None)
        credentials._renewal._keeper.ensure = lambda: False  # type: ignore[method-assign]
        CredentialsCollector(registry=registry).watch(credentials)
        emulator.fail_next(3)
        with pytest.raises(ServiceUnavailableError):
            credentials.get_frozen_credentials()
        credentials._renewal.renew()
        url = f"http://127.0.0.1:{server.server_address[1]}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            body: bytes = answer.read()
        yield body.decode()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def series(text: str) -> dict[str, list[dict[str, str]]]:
    """The labels of each sample's series, by name."""
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    [group] = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return found


def expressions() -> list[str]:
    """All that Prometheus is asked for."""
    asked = [rule["expr"] for rule in rules()]
    asked += [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return asked


SELECTOR = re.compile(r"\b(rolesanywhere_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring) \(([^)]*)\)")


def test_every_metric_and_label_that_is_asked_for_exists(
    series: dict[str, list[dict[str, str]]],
) -> None:
    """A name or a label's value with a mistake in it would never alert, and nobody would know."""
    asked = {match for each in expressions() for match in SELECTOR.findall(each)}
    assert len({name for name, _ in asked}) >= 8
    for name, matchers in asked:
        assert name in series
        for label, operator, wanted in MATCHER.findall(matchers):
            values = {each.get(label) for each in series[name]}
            assert wanted == "$role" if operator == "=~" else wanted in values, (name, label)


def test_expressions_group_by_labels_that_exist(series: dict[str, list[dict[str, str]]]) -> None:
    """Only Prometheus's own ``instance`` is not ours."""
    known = {label for each in series.values() for labels in each for label in labels}
    used = {
        label.strip()
        for each in expressions()
        for labels in GROUPING.findall(each)
        for label in labels.split(",")
    }
    assert used - known <= {"instance"}
    assert "role_arn" in used
    texts = [text for rule in rules() for text in rule["annotations"].values()]
    assert {name for text in texts for name in re.findall(r"labels\.(\w+)", text)} == {"role_arn"}


def test_alerts_come_at_30_15_and_7_days() -> None:
    """As the warnings of the log do; and each rule has a severity and says what to do."""
    found = {rule["alert"]: rule for rule in rules()}
    for days in (30, 15, 7):
        expression = found[f"RolesAnywhereCertificateExpiresIn{days}Days"]["expr"]
        assert f"<= {days} * 86400" in expression
    assert {"RolesAnywhereRenewalFailing", "RolesAnywhereCredentialsExpired"} <= set(found)
    for rule in found.values():
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_dashboard_can_be_imported() -> None:
    """Its panels have an id and a place of their own, and its variables are defined."""
    found = dashboard()
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24
    variables = {each["name"] for each in found["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(found)))
    assert used - {"__rate_interval", "__all"} == variables


def test_the_page_names_every_metric(series: dict[str, list[dict[str, str]]]) -> None:
    """No metric is scraped that the documentation does not have, and the other way round."""
    suffix = re.compile(r"_(bucket|count|sum|created)$")
    scraped = {
        suffix.sub("", name) if "_duration_" in name else name
        for name in series
        if not name.endswith("_created")
    }
    table = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(rolesanywhere_\w+)`", table, re.MULTILINE)) == scraped


# By Prometheus's own tool.


@pytest.fixture
def promtool() -> str:
    """Where it is; scripts/test-extended gets it."""
    return os.environ["PROMTOOL"]


def run(*command: str, stdin: str | None = None, folder: Path = FOLDER) -> str:
    """What it says; it must be content."""
    done = subprocess.run(
        command, input=stdin, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.extended
def test_promtool_takes_the_rules(promtool: str) -> None:
    """They are sound, and fire and stay silent when the tests beside them say so."""
    assert "6 rules found" in run(promtool, "check", "rules", "alerts.yaml")
    assert "SUCCESS" in run(promtool, "test", "rules", "alerts-test.yaml")
    tested = (FOLDER / "alerts-test.yaml").read_text()
    assert set(re.findall(r"alertname: (\w+)", tested)) == {rule["alert"] for rule in rules()}


@pytest.mark.extended
def test_promtool_takes_the_dashboards_queries(promtool: str, tmp_path: Path) -> None:
    """Each is PromQL, once Grafana has put its variables in."""
    queries = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    group = [
        {"record": f"panel:{number}", "expr": each.replace("$__rate_interval", "5m")}
        for number, each in enumerate(queries)
    ]
    (tmp_path / "panels.yaml").write_text(
        json.dumps({"groups": [{"name": "panels", "rules": group}]})
    )
    said = run(promtool, "check", "rules", "panels.yaml", folder=tmp_path)
    assert f"{len(queries)} rules found" in said


@pytest.mark.extended
def test_promtool_finds_nothing_in_the_metrics(promtool: str, text: str) -> None:
    """Names, types, units and help texts are as Prometheus's conventions want them."""
    assert run(promtool, "check", "metrics", stdin=text) == ""
