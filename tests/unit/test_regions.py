"""One host name for the APIs of several regions, as the stack of one of them declares it.

Declared and not deployed: the emulator forgets what a health check does without data, so that the
provider would make it anew at each update, and the provider waits a minute for every record.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from berth.operations.declared import declared
from berth.spec import load_file
from tests.repository import REPOSITORY

_NAME = "regions.example.com"


def _declared(folder: Path, **edge: Any) -> dict[tuple[str, str], dict[str, Any]]:
    content = yaml.safe_load((REPOSITORY / "Pulumi.prod.yaml").read_text())
    content["config"]["berth:edge"] = edge
    file = folder / "Pulumi.prod.yaml"
    file.write_text(yaml.safe_dump(content))
    load_file(file)
    found = declared(file)
    return {
        (one["type"].rpartition(":")[2], one["name"]): one["inputs"]
        for one in found
        if one["type"].startswith("aws:")
    }


def _latency(**more: Any) -> dict[str, Any]:
    return {"domain": {"name": _NAME, "zone": "example.com"}, **more}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    return _declared(tmp_path_factory.mktemp("alone"), latency_routing=_latency())


def test_the_record_is_found_from_near_while_the_region_is_healthy(alone: Any) -> None:
    record = alone["Record", "api-shared"]
    assert (record["name"], record["setIdentifier"]) == (_NAME, "eu-central-1")
    assert record["latencyRoutingPolicies"] == [{"region": "eu-central-1"}]
    assert "HealthCheck region-health" in record["healthCheckId"]
    assert "setIdentifier" not in alone["Record", "api"]


def test_a_region_is_healthy_while_a_node_of_it_is(alone: Any) -> None:
    check, alarm = alone["HealthCheck", "region-health"], alone["MetricAlarm", "region-health"]
    assert (check["type"], check["cloudwatchAlarmRegion"]) == ("CLOUDWATCH_METRIC", "eu-central-1")
    assert (alarm["metricName"], alarm["threshold"]) == ("HealthyHostCount", 1)
    assert (alarm["comparisonOperator"], alarm["treatMissingData"]) == (
        "LessThanThreshold",
        "breaching",
    )


def test_the_api_answers_under_the_name(alone: Any) -> None:
    assert alone["DomainName", "api-shared"]["domainName"] == _NAME
    assert alone["Certificate", "api-shared"]["domainName"] == _NAME
    assert alone["RestApi", "api"]["disableExecuteApiEndpoint"] is True


def test_the_edge_of_one_region_is_before_all(tmp_path: Path) -> None:
    found = _declared(tmp_path, cdn={}, latency_routing=_latency(stacks=["other"]))
    assert found["Record", "api-shared"]["name"] == _NAME
    assert "from-edge" in [rule["name"] for rule in found["WebAcl", "firewall"]["rules"]]
    assert ("Distribution", "edge") in found


def test_a_region_behind_another_stack_s_edge_takes_what_comes_from_there(tmp_path: Path) -> None:
    found = _declared(tmp_path, latency_routing=_latency(stacks=["other"], cdn_stack="other"))
    # All of them are secret, since one of them has a secret in it.
    assert "'from-edge'" in str(found["WebAcl", "firewall"]["rules"])
    assert not [name for kind, name in found if kind == "Distribution"]


def test_a_region_without_an_edge_takes_everybody_with_a_key(alone: Any) -> None:
    assert "from-edge" not in [rule["name"] for rule in alone["WebAcl", "firewall"]["rules"]]
