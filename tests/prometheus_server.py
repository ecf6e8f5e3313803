"""A Prometheus server that scrapes every second, on loopback."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from pulumi_berth.local.loopback import find_free_port

_START_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Prometheus:
    """A running server."""

    client: httpx.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression, each with its labels and its value."""
        response = self.client.get("/api/v1/query", params={"query": expression})
        assert response.status_code == 200, response.text
        return list(response.json()["data"]["result"])

    def list_firing(self, alert: str) -> list[dict[str, Any]]:
        """Return the alerts of a name that fire, each with its labels and annotations."""
        alerts = self.client.get("/api/v1/alerts").json()["data"]["alerts"]
        return [
            each
            for each in alerts
            if each["labels"]["alertname"] == alert and each["state"] == "firing"
        ]


@contextmanager
def start_prometheus(
    directory: Path, targets: Sequence[str], rules: Path | None = None
) -> Iterator[Prometheus]:
    """Run Prometheus with its data in a directory. Skip the test if it is not installed.

    Args:
        targets: Addresses and ports that serve `/metrics`.
        rules: File with rules, which are evaluated every second.
    """
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("not installed: prometheus, a package of Debian")
    config = directory / "prometheus.yml"
    document = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)] if rules else [],
        "scrape_configs": [{"job_name": "test", "static_configs": [{"targets": [*targets]}]}],
    }
    config.write_text(json.dumps(document))  # JSON is YAML.
    address = f"127.0.0.1:{find_free_port()}"
    command = [
        *(program, f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}"),
        *(f"--web.listen-address={address}", "--log.level=warn"),
    ]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=30, trust_env=False) as client:
            deadline = time.monotonic() + _START_SECONDS
            while not _is_ready(client):
                text = (directory / "prometheus.log").read_text()
                assert process.poll() is None, text
                assert time.monotonic() < deadline, text
                time.sleep(0.1)
            yield Prometheus(client=client)
    finally:
        process.terminate()
        process.wait()


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").is_success
    except httpx.TransportError:
        return False
