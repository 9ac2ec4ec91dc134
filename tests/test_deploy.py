"""deploy/: what it says of metrics, ports, paths and the configuration holds, and Prometheus takes it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from router import config, telemetry
from router.config.settings import Settings
from router.secrets import hash_token, make_token
from tests.peers import require

CHECKOUT = Path(__file__).resolve().parent.parent
DEPLOY = CHECKOUT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = PROMETHEUS / "dicom-router.rules.yml"
PROCESS_METRICS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DEPLOY / "grafana" / "dicom-router.json").read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture(scope="module")
def metrics() -> dict[str, frozenset[str]]:
    """The labels of each series that the gateway may show."""
    found: dict[str, frozenset[str]] = {}

    def noted(kind: Callable[..., Any], *suffixes: str) -> Callable[..., Any]:
        def make(name: str, text: str, labels: Sequence[str] = (), **others: object) -> Any:
            for suffix in suffixes:
                found[name + suffix] = frozenset(labels) | ({"le"} if suffix == "_bucket" else set())
            return kind(name, text, labels, **others)

        return make

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry, "Counter", noted(Counter, "_total"))
        patch.setattr(telemetry, "Gauge", noted(Gauge, ""))
        patch.setattr(telemetry, "Histogram", noted(Histogram, "_bucket", "_sum", "_count"))
        telemetry.Telemetry()
    return found


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_each_metric_and_label_exists(
    metrics: dict[str, frozenset[str]], where: str, expression: str
) -> None:
    named = set(re.findall(r"\b(?:dicom_router|process)_\w+", expression))
    for name in named - PROCESS_METRICS:
        assert name in metrics, where
    selected = re.findall(r"\b(dicom_router_\w+)\{([^}]*)\}", expression)
    for name, selectors in selected:
        given = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors))
        assert given <= metrics[name] | {"instance", "job"}, where
    grouped = {
        label.strip()
        for labels in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
        for label in labels.split(",")
    }
    if named - PROCESS_METRICS:
        known = frozenset[str]().union(*(metrics[name] for name in named - PROCESS_METRICS))
        assert grouped <= known | {"instance"}, where


def test_each_alert_says_how_urgent_it_is_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description"}
    names = [rule["alert"] for rule in rules()]
    tested = (PROMETHEUS / "dicom-router.tests.yml").read_text()
    assert len(names) == len(set(names))
    assert not [name for name in names if f'"{name}",alertstate="firing",severity' not in tested]


def test_prometheus_takes_the_files() -> None:
    for arguments in (
        ("check", "config", str(PROMETHEUS / "prometheus.yml")),
        ("check", "rules", str(RULES)),
        ("test", "rules", str(PROMETHEUS / "dicom-router.tests.yml")),
    ):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_the_dashboard(tmp_path: Path) -> None:
    """Each expression as a recording rule, with what Grafana fills in."""
    records = [
        {
            "record": f"panel:{number}",
            "expr": expression.replace("$__rate_interval", "1m").replace("$instance", ".*"),
        }
        for number, (_, expression) in enumerate(expressions())
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboards_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def loaded(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "router.yaml"
    path.write_text(text)
    settings, rule_set = config.load_all(path, {"METRICS_TOKEN_HASH": hash_token(make_token())})
    assert not rule_set.rules
    return settings


def dockerfile(instruction: str) -> str:
    (found,) = re.findall(rf"(?m)^{instruction} (.*)$", (CHECKOUT / "Dockerfile").read_text())
    return str(found)


def test_compose_says_what_the_image_and_its_configuration_do(tmp_path: Path) -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    router = compose["services"]["router"]
    settings = loaded(tmp_path, compose["configs"]["router"]["content"].replace("$$", "$"))
    assert [port.rpartition(":")[2] for port in router["ports"]] == [
        str(settings.listeners[0].port),
        str(settings.http.port),
    ]
    assert router["volumes"] == [f"queue:{settings.data_dir}"]
    assert dockerfile("VOLUME") == str(settings.data_dir)
    assert int(router["stop_grace_period"].removesuffix("s")) > settings.drain
    assert router["command"][-1] == router["configs"][0]["target"]
    assert (CHECKOUT / "deploy" / router["build"]["context"] / router["build"]["dockerfile"]).exists()
    assert (DEPLOY / compose["configs"]["alerts"]["file"]).samefile(RULES)
    scraped = yaml.safe_load(compose["configs"]["prometheus"]["content"])["scrape_configs"][0]
    assert scraped["static_configs"][0]["targets"] == [f"router:{settings.http.port}"]
    assert scraped["job_name"] == "dicom-router", "the alert DicomRouterAway looks for it"


def test_kubernetes_says_what_the_image_and_its_configuration_do(tmp_path: Path) -> None:
    found = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    by_kind = {(one["kind"], one["metadata"]["name"]): one for one in found}
    settings = loaded(tmp_path, by_kind["ConfigMap", "dicom-router"]["data"]["router.yaml"])
    pod = by_kind["StatefulSet", "dicom-router"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "dicom": settings.listeners[0].port,
        "http": settings.http.port,
    }
    security = pod["securityContext"]
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == dockerfile("USER")
    assert pod["terminationGracePeriodSeconds"] > settings.drain
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["queue"] == str(settings.data_dir)
    assert container["args"] == ["serve", "-c", f"{mounts['configuration']}/router.yaml"]
    probes = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert probes == {"/healthz", "/readyz"}
    for service in ("dicom-router", "dicom-router-http"):
        for port in by_kind["Service", service]["spec"]["ports"]:
            assert port["targetPort"] in ("dicom", "http")
