"""One host name for the APIs of several Regions, as one stack declares it.

These tests do not deploy. The emulator forgets a health check's setting for missing data, so the
provider would update it each time, and the provider waits a minute for every DNS record.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from berth.operations.offline_program import declare_resources
from berth.spec import load_file
from tests.repository import REPOSITORY

pytestmark = pytest.mark.slow  # Each program imports the SDK of AWS.

_NAME = "regions.example.com"


def _declared(directory: Path, **edge: Any) -> dict[tuple[str, str], dict[str, Any]]:
    content = yaml.safe_load((REPOSITORY / "Pulumi.prod.yaml").read_text())
    content["config"]["berth:edge"] = edge
    content["config"]["berth:api"]["domain"] = {"name": "api.example.com", "zone": "example.com"}
    if "latency_routing" in edge:
        for client in content["config"]["berth:gateway"]["clients"].values():
            client["key"] = {"secure": "v1:key"}
    file = directory / "Pulumi.prod.yaml"
    file.write_text(yaml.safe_dump(content))
    load_file(file)
    resources = declare_resources(file)
    return {
        (one["type"].rpartition(":")[2], one["name"]): one["inputs"]
        for one in resources
        if one["type"].startswith("aws:")
    }


def _latency(**more: Any) -> dict[str, Any]:
    return {"domain": {"name": _NAME, "zone": "example.com"}, **more}


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    return _declared(tmp_path_factory.mktemp("single"), latency_routing=_latency())


def test_record_routes_by_latency_while_region_is_healthy(single: Any) -> None:
    record = single["Record", "api-shared"]
    assert (record["name"], record["setIdentifier"]) == (_NAME, "eu-central-1")
    assert record["latencyRoutingPolicies"] == [{"region": "eu-central-1"}]
    assert "HealthCheck region-health" in record["healthCheckId"]
    assert "setIdentifier" not in single["Record", "api"]


def test_region_is_healthy_while_one_node_is_healthy(single: Any) -> None:
    check, alarm = single["HealthCheck", "region-health"], single["MetricAlarm", "region-health"]
    assert (check["type"], check["cloudwatchAlarmRegion"]) == ("CLOUDWATCH_METRIC", "eu-central-1")
    assert (alarm["metricName"], alarm["threshold"]) == ("HealthyHostCount", 1)
    assert (alarm["comparisonOperator"], alarm["treatMissingData"]) == (
        "LessThanThreshold",
        "breaching",
    )


def test_shared_host_is_custom_domain_of_api(single: Any) -> None:
    assert single["DomainName", "api-shared"]["domainName"] == _NAME
    assert single["Certificate", "api-shared"]["domainName"] == _NAME
    assert single["RestApi", "api"]["disableExecuteApiEndpoint"] is True


def test_region_with_cdn_requires_its_edge_secret(tmp_path: Path) -> None:
    resources = _declared(tmp_path, cdn={}, latency_routing=_latency(stacks=["other"]))
    assert resources["Record", "api-shared"]["name"] == _NAME
    assert "from-edge" in [rule["name"] for rule in resources["WebAcl", "firewall"]["rules"]]
    assert ("Distribution", "edge") in resources


def test_region_behind_cdn_of_another_stack_requires_that_edge_secret(tmp_path: Path) -> None:
    resources = _declared(tmp_path, latency_routing=_latency(stacks=["other"], cdn_stack="other"))
    # One rule contains a secret, so Pulumi treats the whole list as a secret.
    assert "'from-edge'" in str(resources["WebAcl", "firewall"]["rules"])
    assert not [name for kind, name in resources if kind == "Distribution"]


def test_region_without_cdn_requires_no_edge_secret(single: Any) -> None:
    assert "from-edge" not in [rule["name"] for rule in single["WebAcl", "firewall"]["rules"]]
