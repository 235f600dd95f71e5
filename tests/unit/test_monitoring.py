"""Alerts and dashboard: they ask for what exists, each alert is explained, and each is seen to
fire. `make alerts` plays the series of tests/alerts with Prometheus' own promtool; elsewhere that
is skipped where promtool has not been built."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from taskrunner.admission.metrics import WebhookMetrics
from taskrunner.app.task_metrics import TaskMetrics
from taskrunner.metrics import Metrics
from testbed import binaries

ROOT = Path(__file__).parents[2]
FILES = ROOT / "helm" / "taskrunner" / "files" / "monitoring"
PLAYS = sorted((ROOT / "tests" / "alerts").glob("*.yaml"))
GROUPS: list[dict[str, Any]] = yaml.safe_load((FILES / "rules.yaml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
SEVERITIES = {"critical", "error", "warning", "info"}
_METRIC = re.compile(r"\btaskrunner_\w+")


def _exposed() -> set[str]:
    names: set[str] = set()
    registries: list[CollectorRegistry] = [Metrics().registry, WebhookMetrics().registry]
    registries.append(CollectorRegistry())
    registries[-1].register(TaskMetrics(list))
    for registry in registries:
        for metric in registry.collect():
            names.add(metric.name)
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
            names.update(metric.name + suffix for suffix in suffixes.get(metric.type, []))
    return names


def _queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    for panel in json.loads((FILES / "dashboard.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_only_metrics_that_exist_are_asked_for() -> None:
    asked = {name for query in _queries() for name in _METRIC.findall(query)}
    assert len(asked) > 15
    assert asked <= _exposed()


def test_only_recorded_series_are_asked_for() -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    asked = {name for query in _queries() for name in re.findall(r"\btaskrunner:[\w:]+", query)}
    assert asked == recorded


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_and_has_a_runbook(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() == {"summary", "description"}
    assert f"\n## {alert}\n" in (ROOT / "docs" / "how-to" / "runbooks.md").read_text()


def test_all_severities_are_in_use() -> None:
    assert {rule["labels"]["severity"] for rule in ALERTS.values()} == SEVERITIES


def test_each_alert_is_seen_to_fire() -> None:
    fired = {
        check["alertname"]
        for play in PLAYS
        for test in yaml.safe_load(play.read_text())["tests"]
        for check in test["alert_rule_test"]
        if check.get("exp_alerts")
    }
    assert fired == ALERTS.keys()


@pytest.fixture(scope="module")
def promtool() -> Path:
    if binaries.missing(["promtool"]):
        pytest.skip("promtool takes ten minutes to build: python -m testbed path promtool")
    return binaries.path("promtool")


def test_prometheus_accepts_the_rules(promtool: Path) -> None:
    _run(promtool, "check", "rules", FILES / "rules.yaml")


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.stem)
def test_alerts_fire_when_they_should(promtool: Path, play: Path) -> None:
    _run(promtool, "test", "rules", play)


def _run(program: Path, *arguments: str | Path) -> None:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
