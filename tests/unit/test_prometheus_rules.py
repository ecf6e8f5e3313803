"""The rules, loaded and evaluated by Prometheus itself: `promtool` with series over time."""

import re
import shutil
import subprocess
from collections.abc import Iterator
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
_BURN = "BerthErrorBudgetBurn"
_BERTH = {"namespace": "shop", "model": "digits"}
_LABELS = re.compile(r"Labels:\{(.*)\}")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
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
        "evaluation_interval": "5m",
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


def _parse_firing(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the alerts in what promtool prints below `got:`."""
    is_got = False
    for line in text.splitlines():
        if line.lstrip().startswith(("exp:", "got:")):
            is_got = line.lstrip().startswith("got:")
        if is_got and (found := _LABELS.search(line)):
            labels = dict(_LABEL.findall(found[1]))
            shown = labels.get("window") or labels.get("version") or ""
            yield labels["alertname"], labels["severity"], shown


@pytest.mark.parametrize("stack", [_STACK, _FORWARDING], ids=["cluster", "laptop"])
def test_prometheus_accepts_the_rules(promtool: str, tmp_path: Path, stack: ScrapedStack) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(build_rules(stack)))
    result = _check(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "SUCCESS" in result.stdout


def test_healthy_stack_fires_no_alert(promtool: str, tmp_path: Path) -> None:
    assert _find_firing(promtool, tmp_path, _STACK, _HEALTHY, minute=60) == set()


_BUCKETS = {
    _series("berth_request_seconds_bucket", "2", le=le): values
    for le, values in (("1.0", "0+10x600"), ("5.0", "0+60x600"), ("+Inf", "0+60x600"))
}


@pytest.mark.parametrize(
    ("series", "firing"),
    [
        (
            # 150 of 750 responses: more than 14.4 times the allowed 1 %.
            {_series("berth_requests_total", "2", code="500"): "0+150x600"},
            {
                *((_BURN, "critical", window) for window in ("1h", "6h")),
                *((_BURN, "warning", window) for window in ("1d", "3d")),
                ("BerthVersionErrors", "warning", "2"),
            },
        ),
        (
            # 12 of 612 responses: only the slowest budget alert, and the version itself.
            {_series("berth_requests_total", "2", code="500"): "0+12x600"},
            {(_BURN, "warning", "3d"), ("BerthVersionErrors", "warning", "2")},
        ),
        (
            # 0.5 % is allowed.
            {_series("berth_requests_total", "1", code="500"): "0+3x600"},
            set(),
        ),
        (
            # A version with shadow traffic uses up no budget.
            {_series("berth_requests_total", "3", code="500"): "0+600x600"},
            {("BerthVersionErrors", "warning", "3")},
        ),
        (_BUCKETS, {("BerthLatencyHigh", "warning", "2")}),
        (
            {_series("berth_gateway_unhealthy_berths", "2"): "1x600"},
            {("BerthUnhealthy", "warning", "2")},
        ),
        (
            {_series("berth_gateway_failovers_total", "2"): "0+6x600"},
            {("BerthFailover", "warning", "2")},
        ),
        (
            {
                'berth_gateway_reloads_total{namespace="shop",outcome="rejected"}': "0x100 1x500",
                'berth_gateway_limits_shared{namespace="shop"}': "1x90 0x510",
                'berth_gateway_quota_used{namespace="shop",client="partner"}': "9500x600",
            },
            {
                ("BerthReloadRejected", "warning", ""),
                ("BerthLimitsNotShared", "warning", ""),
                ("BerthQuotaNearlyUsed", "warning", ""),
            },
        ),
        (
            {
                'berth_gateway_in_flight{namespace="shop"}': "0x10",
                'berth_model_info{namespace="shop",model="digits",version="2"}': "1x10",
            },
            {("BerthGatewayAbsent", "critical", ""), ("BerthAbsent", "critical", "2")},
        ),
        # Another stack in the same Prometheus.
        (
            {'berth_requests_total{namespace="x",model="a",version="1",code="500"}': "0+99x600"},
            set(),
        ),
    ],
    ids=["errors", "few errors", "allowed errors", "errors of a shadow", "latency", "unhealthy",
         "failover", "gateway", "absence", "another stack"],
)  # fmt: skip
def test_alert_fires_on_its_condition_and_no_other_does(
    promtool: str, tmp_path: Path, series: dict[str, str], firing: set[tuple[str, ...]]
) -> None:
    found = _find_firing(promtool, tmp_path, _STACK, {**_HEALTHY, **series}, minute=130)
    assert found == firing


def test_alerts_of_a_forwarding_gateway_fire_without_metrics_of_berths(
    promtool: str, tmp_path: Path
) -> None:
    labels = 'model="digits",version="1"'
    series = {
        "berth_gateway_in_flight": "0x600",
        f'berth_gateway_requests_total{{{labels},code="200"}}': "0+600x600",
        # Requests without a model are health checks.
        'berth_gateway_requests_total{model="",version="",code="500"}': "0+600x600",
    }
    assert _find_firing(promtool, tmp_path, _FORWARDING, series, minute=130) == set()
    series[f'berth_gateway_requests_total{{{labels},code="503"}}'] = "0+150x600"
    found = {name for name, *_ in _find_firing(promtool, tmp_path, _FORWARDING, series, minute=130)}
    assert found == {_BURN, "BerthVersionErrors"}
