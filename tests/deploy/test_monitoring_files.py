"""Metrics: who is asked, and whether what is drawn is something that Ray measures."""

import json
import re
from pathlib import Path

import promql_parser
import pytest
import yaml
from ray._common.utils import get_default_ray_temp_dir
from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE
from ray.dashboard.modules.metrics.dashboards import (
    data_dashboard_panels,
    default_dashboard_panels,
)

from tests.deploy.files import DEPLOY, documents
from tests.deploy.manifests import by_kind, ray_pods

FOLDER = DEPLOY / "monitoring"
DASHBOARDS = sorted((FOLDER / "grafana/dashboards").glob("*.json"))
_LABELS = re.compile(r"\bby\s*\(([^)]*)\)|\{([^}]*)\}")


def metrics_of(expression: str) -> set[str]:
    """Return the names of Ray's metrics in an expression."""
    return set(re.findall(r"\b(?:ray|autoscaler)_\w+", expression))


def labels_of(expression: str) -> set[str]:
    """Return the labels that an expression selects or groups by."""
    found = set()
    for grouped, chosen in _LABELS.findall(expression):
        found |= {label.strip() for label in grouped.split(",") if label.strip()}
        found |= set(re.findall(r"(\w+)\s*[=!]~?\s*[\"~]", chosen))
    return found


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Metrics of Ray with the labels they carry, out of the dashboards that Ray itself ships."""
    found: dict[str, set[str]] = {}
    for module in (default_dashboard_panels, data_dashboard_panels):
        for text in re.findall(r"expr=[f]?(['\"])(.*?)\1,", Path(module.__file__).read_text()):
            expression = text[1].replace("{{", "{").replace("}}", "}")
            for name in metrics_of(expression):
                found.setdefault(name, set()).update(labels_of(expression))
    assert len(found) > 50
    return found


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def dashboard(request) -> dict:
    return json.loads(request.param.read_text())


def test_there_is_a_dashboard():
    assert DASHBOARDS


def test_every_expression_is_promql_over_metrics_and_labels_of_ray(dashboard, known):
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            promql_parser.parse(expression)
            names = metrics_of(expression)
            assert names, expression
            assert names <= set(known), expression
            carried = set.union(*(known[name] for name in names))
            assert labels_of(expression) <= carried, expression


def test_a_legend_names_labels_that_are_left(dashboard):
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = re.search(r"by \(([^)]*)\)", target["expr"])
            left = {one.strip() for one in grouped[1].split(",")} if grouped else set()
            assert named == left, panel["title"]


def test_panels_are_apart_and_explained(dashboard):
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 10
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["description"].endswith(".")
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    (variable,) = dashboard["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")


def test_what_the_readme_tells_to_look_at_is_drawn(dashboard):
    section = (DEPLOY / "README.md").read_text().split("## Monitoring")[1].split("\n## ")[0]
    named = set(re.findall(r"\*([A-Z][^*]+)\*", " ".join(section.split())))
    assert named
    assert named <= {panel["title"] for panel in dashboard["panels"]}


def test_prometheus_asks_every_node_of_ray_in_compose():
    (config,) = documents(FOLDER / "prometheus.yaml")
    (job,) = config["scrape_configs"]
    (asked,) = job["dns_sd_configs"]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    nodes = {name: one for name, one in services.items() if one.get("command", [""])[0] == "ray"}
    assert set(asked["names"]) == set(nodes)
    for node in nodes.values():
        assert f"--metrics-export-port={asked['port']}" in node["command"]


def test_the_file_for_virtual_machines_is_the_one_that_ray_writes():
    text = (FOLDER / "prometheus.yaml").read_text()
    (named,) = re.findall(r"^#\s+(file_sd_configs:.*)$", text, re.MULTILINE)
    (entry,) = yaml.safe_load(named)["file_sd_configs"]
    (path,) = entry["files"]
    assert Path(path).name == PROMETHEUS_SERVICE_DISCOVERY_FILE
    assert Path(path).parent == Path(get_default_ray_temp_dir())


def test_the_operator_of_prometheus_finds_the_pods_of_ray():
    (monitor,) = documents(FOLDER / "pod-monitor.yaml")
    (namespace,) = by_kind("Namespace")
    assert monitor["metadata"]["namespace"] == namespace
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (chosen,) = monitor["spec"]["selector"]["matchExpressions"]
    assert chosen["operator"] == "Exists"
    for _, pod, _ in ray_pods():
        assert chosen["key"] in pod.labels
        assert endpoint["port"] in {port["name"] for one in pod.containers for port in one["ports"]}


def test_grafana_finds_dashboards_and_data_where_compose_puts_them():
    provisioning = FOLDER / "grafana/provisioning"
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    mounts = dict(mount.split(":")[:2] for mount in services["grafana"]["volumes"])
    assert mounts["./monitoring/grafana/provisioning"] == "/etc/grafana/provisioning"
    (providers,) = documents(provisioning / "dashboards/vgen.yaml")
    (provider,) = providers["providers"]
    assert provider["options"]["path"] == mounts["./monitoring/grafana/dashboards"]
    (sources,) = documents(provisioning / "datasources/prometheus.yaml")
    (source,) = sources["datasources"]
    host, port = re.fullmatch(r"http://(.*):(\d+)", source["url"]).groups()
    (published,) = services[host]["ports"]
    assert published.endswith(f":{port}")


def test_prometheus_reads_the_file_that_compose_mounts():
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["prometheus"]
    mounts = dict(mount.split(":")[:2] for mount in service["volumes"])
    flags = dict(word.split("=") for word in service["command"])
    assert flags["--config.file"] == mounts["./monitoring/prometheus.yaml"]
    assert flags["--storage.tsdb.path"] == mounts["prometheus"]
