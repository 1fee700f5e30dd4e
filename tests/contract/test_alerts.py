"""Alert rules speak of metrics that services have, by labels that these have."""

import importlib
import re
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from support.project import ROOT

MODULES = ["pawl_shared", *(f"pawl_{name}" for name in ("inference", "streams", "monitor", "trainer", "validator"))]
FOLDER = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
# What Prometheus itself knows of a target.
OF_TARGETS = {"job", "instance", "service"}


def declared() -> dict[str, set[str]]:
    """Labels by the names that Prometheus stores."""
    found: dict[str, set[str]] = {}
    for name in MODULES:
        for metric in vars(importlib.import_module(f"{name}.metrics")).values():
            if isinstance(metric, MetricWrapperBase):
                suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric._type, [""])
                found |= {metric._name + suffix: {*metric._labelnames, *OF_TARGETS} for suffix in suffixes}
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_uses_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    metrics, expression = declared(), rule["expr"]
    used = re.findall(r"\bpawl_\w+", expression)
    assert used or "up{" in expression
    assert set(used) <= metrics.keys()
    for name, inside in re.findall(r"\b(pawl_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*[=!~]", inside)) <= metrics[name]
    for inside in re.findall(r"by \(([^)]*)\)", expression):
        assert all(set(re.split(r",\s*", inside)) <= metrics[name] for name in used)
    assert {"summary", "action"} <= rule["annotations"].keys()


def test_prometheus_reads_the_rules() -> None:
    assert yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["rule_files"] == ["alerts.yaml"]


def test_every_service_has_the_loops_metrics_under_the_same_names() -> None:
    names = {"pawl_consumer_lag", "pawl_dead_letters_total", "pawl_records_total", "pawl_retries_total", "pawl_ready"}
    metrics = declared()
    assert all("service" in metrics[name] for name in names)
    documented = {metric.name: metric.documentation for metric in REGISTRY.collect() if metric.name.startswith("pawl_")}
    assert all(len(text) > 10 for text in documented.values())
