"""The rules, loaded and evaluated by Prometheus itself: `promtool` with series over time."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pulumi_berth.monitoring.prometheus_rules import build_rules
from pulumi_berth.monitoring.scraped_stack import ScrapedStack

_STACK = ScrapedStack(
    project="shop",
    stack="prod",
    labels={"namespace": "shop"},
    berths=[("digits", "1"), ("digits", "2")],
    shadows=[("digits", "3")],
    quotas={"partner": 10_000},
    is_forwarding=False,
    has_shared_limits=True,
)
_FORWARDING = ScrapedStack(
    project="shop", stack="laptop", is_forwarding=True, has_shared_limits=False
)
_BERTH = {"namespace": "shop", "model": "digits"}
# What a healthy stack exports, so that no alert about absence fires.
_HEALTHY = {
    'berth_gateway_in_flight{namespace="shop"}': "0x600",
    'berth_model_info{namespace="shop",model="digits",version="1"}': "1x600",
    'berth_model_info{namespace="shop",model="digits",version="2"}': "1x600",
    'berth_model_info{namespace="shop",model="digits",version="3"}': "1x600",
    'berth_gateway_limits_shared{namespace="shop"}': "1x600",
    'berth_requests_total{namespace="shop",model="digits",version="1",code="200"}': "0+600x600",
}


@pytest.fixture(scope="module")
def promtool() -> str:
    """The program, which Debian has in its package `prometheus`."""
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("not installed: promtool")
    return path


def _series(metric: str, version: str, **labels: str) -> str:
    inner = ",".join(f'{k}="{v}"' for k, v in {**_BERTH, "version": version, **labels}.items())
    return f"{metric}{{{inner}}}"


def _check(promtool: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)


def _find_firing(
    promtool: str,
    directory: Path,
    stack: ScrapedStack,
    series: dict[str, str],
    minute: int,
) -> set[tuple[str, ...]]:
    """Return name, severity and version or window of each alert that fires at a minute."""
    rules = build_rules(stack)
    (directory / "rules.yaml").write_text(yaml.safe_dump(rules, sort_keys=False))
    alerts = {r["alert"] for group in rules["groups"] for r in group["rules"] if "alert" in r}
    test: dict[str, Any] = {
        "rule_files": ["rules.yaml"],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                # With an expectation that no alert meets, promtool prints those that fire.
                "alert_rule_test": [
                    {
                        "alertname": name,
                        "eval_time": f"{minute}m",
                        "exp_alerts": [{"exp_labels": {"never": "met"}}],
                    }
                    for name in sorted(alerts)
                ],
            }
        ],
    }
    (directory / "test.yaml").write_text(yaml.safe_dump(test, sort_keys=False))
    result = _check(promtool, "test", "rules", str(directory / "test.yaml"))
    assert result.returncode == 1, result.stdout
    return set(_parse_firing(result.stdout + result.stderr))


def _parse_firing(text: str) -> list[tuple[str, ...]]:
    firing = []
    is_got = False
    for line in text.splitlines():
        line = line.strip()
        if line.startswith(("exp:", "got:")):
            is_got = line.startswith("got:")
        if is_got and "Labels:{" in line:
            labels = json.loads(
                "{"
                + line.partition("Labels:{")[2]
                .partition("}")[0]
                .replace('="', '":"')
                .replace(", ", ', "')
                .replace("alertname", '"alertname', 1)
                + "}"
            )
            firing.append(
                (labels["alertname"], labels["severity"],
                 labels.get("window") or labels.get("version") or "")
            )  # fmt: skip
    return firing


@pytest.mark.parametrize("stack", [_STACK, _FORWARDING], ids=["cluster", "laptop"])
def test_prometheus_accepts_the_rules(promtool: str, tmp_path: Path, stack: ScrapedStack) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(build_rules(stack)))
    result = _check(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "SUCCESS" in result.stdout


@pytest.mark.parametrize(
    ("series", "minute", "expected"),
    [
        ({}, 60, set()),
        (
            {_series("berth_requests_total", "2", code="500"): "0+150x600"},
            70,
            {
                *{("BerthErrorBudgetBurn", "critical", window) for window in ("1h", "6h")},
                *{("BerthErrorBudgetBurn", "warning", window) for window in ("1d", "3d")},
                ("BerthVersionErrors", "warning", "2"),
            },
        ),
    ],
)
def test_x(promtool, tmp_path, series, minute, expected):
    firing = _find_firing(promtool, tmp_path, _STACK, {**_HEALTHY, **series}, minute)
    assert firing == expected
