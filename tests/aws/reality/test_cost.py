"""The monthly estimate, against sums that were computed by hand."""

import json
import re
from collections.abc import Callable
from dataclasses import fields
from datetime import date
from typing import Any

import pytest
from click.testing import CliRunner, Result

from berth.cli import cost as command
from berth.errors import OperationError
from berth.platforms.aws.cost import Usage, estimate
from berth.platforms.aws.tables import read_table
from berth.platforms.cost_line import CostLine
from tests.aws.reality.declared import declare
from tests.repository import REPOSITORY

_TODAY = date(2026, 11, 26)
_NOTHING = Usage(
    requests=0, log_gib=0, nat_gib=0, endpoint_gib=0, data_gib=0, image_gib=0,
    observations_per_pod=0,
)  # fmt: skip


def _resource(kind: str, name: str = "x", **inputs: Any) -> dict[str, Any]:
    return {"type": kind, "name": name, "inputs": inputs}


def _pool(nodes: int, instance_type: str, capacity: str) -> list[dict[str, Any]]:
    disks = [{"ebs": {"volumeSize": gib}} for gib in (4, 50)]
    return [
        _resource("aws:ec2/launchTemplate:LaunchTemplate", "general", blockDeviceMappings=disks),
        _resource(
            "aws:eks/nodeGroup:NodeGroup",
            "general",
            amiType="BOTTLEROCKET_x86_64",
            capacityType=capacity,
            instanceTypes=[instance_type],
            scalingConfig={"desiredSize": nodes},
        ),
    ]


def _sum(lines: list[CostLine], service: str) -> float:
    return round(sum(line.usd for line in lines if line.service == service), 2)


def test_nodes_and_disks_by_hand() -> None:
    """2 * 730 h * 0.1008 USD; 2 disks of 54 GiB at 0.08 USD; 14 metrics at 0.30 USD."""
    lines = estimate(_pool(2, "m7i.large", "ON_DEMAND"), "us-east-1", _NOTHING, _TODAY)
    assert (_sum(lines, "EC2"), _sum(lines, "EBS"), _sum(lines, "CloudWatch")) == (
        147.17,
        8.64,
        4.2,
    )


def test_spot_nodes_in_frankfurt_by_hand() -> None:
    """2 * 730 h * 0.1008 * 1.1979 * 40%."""
    lines = estimate(_pool(2, "m7i.large", "SPOT"), "eu-central-1", _NOTHING, _TODAY)
    assert _sum(lines, "EC2") == 70.52


@pytest.mark.parametrize(
    ("region", "expected"),
    # 3 gateways, 3 addresses and 2 endpoints in 3 zones, for 730 hours each.
    [("us-east-1", 153.3), ("eu-central-1", 177.39), ("eu-west-1", 164.25)],
)
def test_network_by_hand(region: str, expected: float) -> None:
    endpoint: dict[str, Any] = {"vpcEndpointType": "Interface", "subnetIds": ["a", "b", "c"]}
    resources = [
        *([_resource("aws:ec2/natGateway:NatGateway"), _resource("aws:ec2/eip:Eip")] * 3),
        *([_resource("aws:ec2/vpcEndpoint:VpcEndpoint", **endpoint)] * 2),
        _resource("aws:ec2/vpcEndpoint:VpcEndpoint", vpcEndpointType="Gateway"),
    ]
    assert _sum(estimate(resources, region, _NOTHING, _TODAY), "VPC") == expected


def test_requests_by_hand() -> None:
    """20 million at 3.70; 2 ACLs, 5 rules, 2 * 20 million at 0.60; 10 of 20 million at 1.20."""
    resources = [
        _resource("aws:wafv2/webAcl:WebAcl", rules=[{}, {}]),
        _resource("aws:wafv2/webAcl:WebAcl", rules=[{}, {}, {}]),
        _resource("aws:cloudfront/distribution:Distribution"),
    ]
    usage = Usage(requests=20_000_000, response_kib=1)
    lines = estimate(resources, "eu-central-1", usage, _TODAY)
    sums = {service: _sum(lines, service) for service in ("API Gateway", "WAF", "CloudFront")}
    assert sums == {"API Gateway": 74.0, "WAF": 10 + 5 + 24.0, "CloudFront": 12.0}


@pytest.mark.parametrize(("version", "expected"), [("1.35", 73.0), ("1.33", 438.0)])
def test_extended_support_costs_six_times_as_much(version: str, expected: float) -> None:
    resources = [_resource("aws:eks/cluster:Cluster", version=version)]
    assert _sum(estimate(resources, "us-east-1", _NOTHING, _TODAY), "EKS") == expected


def test_unknown_region_names_the_known_ones() -> None:
    with pytest.raises(OperationError, match=r"it knows us-east-1, eu-central-1, eu-west-1"):
        estimate([], "sa-east-1", _NOTHING, _TODAY)


def test_unknown_instance_type_has_no_price() -> None:
    lines = estimate(_pool(1, "x99.large", "SPOT"), "us-east-1", _NOTHING, _TODAY)
    (line,) = (line for line in lines if line.service == "EC2")
    assert (line.unit_usd, line.usd) == (None, 0.0)


def test_every_price_has_a_source_and_all_regions() -> None:
    table = read_table("prices")
    assert date.fromisoformat(table["recorded"]) <= _TODAY
    for entry in table["prices"].values():
        assert set(entry["usd"]) == set(table["regions"])
        assert "http" in entry["source"]
    assert all(set(factors) >= {"other"} for factors in table["instance_factors"].values())


def test_options_are_the_assumptions_of_the_estimate() -> None:
    options = {name.replace("-", "_"): default for name, (_, default, _) in command._USAGE.items()}
    assert options == {field.name: field.default for field in fields(Usage)}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs `berth cost -s dev`, for a stack that declares two nodes."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(
        "berth.operations.declarations.read_declarations",
        lambda *_: _pool(2, "m7i.large", "SPOT"),
    )
    return lambda *options: CliRunner().invoke(command.cost, ["-s", "dev", *options])


def test_command_prints_each_line_the_total_and_the_assumptions(
    run: Callable[..., Result],
) -> None:
    output = run("--log-gib", "0").output
    assert re.search(r"EC2 +nodes general: m7i.large, Spot +1,460 +node-hour .* 70.52", output)
    assert "Stack 'dev' in eu-central-1: about " in output
    assert "--requests 1000000" in output
    assert "--log-gib 0" in output


def test_command_prints_json_with_the_source_of_each_price(run: Callable[..., Result]) -> None:
    document = json.loads(run("--json", "--region", "us-east-1").output)
    assert document["region"] == "us-east-1"
    assert document["usd_per_month"] == pytest.approx(
        sum(line["usd"] for line in document["lines"]), abs=0.1
    )
    assert all(line["source"] for line in document["lines"])


def test_command_refuses_a_stack_outside_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    result = CliRunner().invoke(command.cost, ["-s", "local"])
    assert isinstance(result.exception, OperationError)


@pytest.mark.slow
@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_readme_states_the_estimate(stack: str) -> None:
    lines = estimate(declare(stack), "eu-central-1", Usage(), _TODAY)
    assert [line.item for line in lines if line.unit_usd is None] == []
    stated = re.search(
        rf"`{stack}`.*about ([0-9,]+) USD per month", (REPOSITORY / "README.md").read_text()
    )
    assert stated is not None
    total = sum(line.usd for line in lines)
    assert float(stated[1].replace(",", "")) == pytest.approx(total, rel=0.05)
