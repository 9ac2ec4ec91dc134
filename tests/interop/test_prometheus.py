"""A real Prometheus with what deploy/prometheus has: it reads the metrics, and its alerts see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from router import samples
from router.secrets import hash_token, make_token
from tests.peers import free_port, wait_until
from tests.peers.gateway import Gateway, modality, router, send_all_to
from tests.peers.prometheus import Prometheus
from tests.peers.sink import Sink

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


def test_what_is_received_and_what_is_down_arrives_at_prometheus(tmp_path: Path) -> None:
    images = [
        made.path for made in samples.generate(tmp_path / "study", ct_slices=3, mr_slices=0, bundled=False)
    ]
    token = make_token()
    with Sink(tmp_path / "sink") as sink:
        configuration = {
            "modalities": {"pacs": modality(sink.port), "gone": modality(free_port(), connect_timeout="1s")},
            "rules": send_all_to("pacs", "gone"),
        }
        http = {"tokens": {"prometheus": {"token_hash": hash_token(token), "scopes": "read"}}}
        with (
            Gateway(tmp_path / "gateway", configuration, http=http) as gateway,
            Prometheus(tmp_path / "prometheus", f"127.0.0.1:{gateway.http}", token) as prometheus,
        ):
            sent = router("send", f"ROUTER@127.0.0.1:{gateway.port}", "--quiet", *map(str, images))
            assert sent.returncode == 0, sent.stderr

            def value(expression: str) -> float | None:
                found = prometheus.values(expression)
                return found[0][1] if found else None

            wait_until(
                lambda: value("dicom_router_instances_received_total") == len(images), "it counts what came"
            )
            delivered = 'dicom_router_deliveries_total{destination="pacs",outcome="delivered"}'
            wait_until(lambda: value(delivered) == len(images), "it counts what went")
            wait_until(
                lambda: ("DicomRouterDestinationDown", "gone") in prometheus.alerts(), "the alert is pending"
            )
            assert value('up{job="dicom-router"}') == 1
            assert ("DicomRouterDestinationDown", "pacs") not in prometheus.alerts()
            gateway.kill()
            wait_until(lambda: ("DicomRouterAway", "") in prometheus.alerts(), "the gateway is missed")
