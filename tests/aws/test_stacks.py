"""dev and prod, whole: the project's own configurations through the real engine and provider."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from berth_protocol.model_card import read_card
from tests.aws.emulation import ACCOUNT, REGION, Emulation
from tests.aws.program import find_changes
from tests.aws.stacks import host_zone, new_stack
from tests.cluster.cluster import Cluster
from tests.engine.project import Project


@pytest.fixture(scope="module")
def stacks(
    aws: Emulation, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Project]:
    """Both up at the same time: much of it is waiting."""
    host_zone(aws)
    made = {
        name: new_stack(name, tmp_path_factory.mktemp(name), aws, cluster)
        for name in ("dev", "prod")
    }
    with ThreadPoolExecutor() as both:
        list(both.map(lambda project: project.berth("up", "--yes"), made.values()))
    return made


@pytest.fixture(scope="module")
def dev(stacks: dict[str, Project]) -> Project:
    return stacks["dev"]


@pytest.fixture(scope="module")
def prod(stacks: dict[str, Project]) -> Project:
    return stacks["prod"]


def _changes(project: Project) -> dict[str, str]:
    """What a preview would do, without what the emulator alone brings about."""
    shown = project.pulumi("preview", "--json").stdout
    return find_changes(json.loads(shown)["steps"])


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_a_second_preview_is_empty(stacks: dict[str, Project], name: str) -> None:
    assert _changes(stacks[name]) == {}


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_models_answer_through_the_gateway(stacks: dict[str, Project], name: str) -> None:
    project = stacks[name]
    answer = project.json("invoke", "digits", "--version", "2")
    expected = read_card(project.root / "models" / "digits" / "2").example
    assert answer["outputs"][0]["shape"][0] == expected["inputs"][0]["shape"][0]


def _vpcs(aws: Emulation) -> dict[str, dict[str, Any]]:
    """Stack -> its VPC."""
    found = {}
    for vpc in aws.client("ec2").describe_vpcs()["Vpcs"]:
        tags = {tag["Key"]: tag["Value"] for tag in vpc.get("Tags", [])}
        if "berth:stack" in tags:
            found[tags["berth:stack"]] = vpc
    return found


def test_each_has_a_network_of_its_own(stacks: dict[str, Project], aws: Emulation) -> None:
    vpcs = _vpcs(aws)
    assert {name: vpc["CidrBlock"] for name, vpc in vpcs.items()} == {
        "dev": "10.20.0.0/16",
        "prod": "10.32.0.0/16",
    }
    ways_out = {
        name: len(
            aws.client("ec2").describe_nat_gateways(
                Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
            )["NatGateways"]
        )
        for name, vpc in vpcs.items()
    }
    assert ways_out == {"dev": 1, "prod": 3}


def test_everything_carries_the_stacks_tags(stacks: dict[str, Project], aws: Emulation) -> None:
    (tags,) = (
        {tag["Key"]: tag["Value"] for tag in vpc["Tags"]}
        for name, vpc in _vpcs(aws).items()
        if name == "prod"
    )
    wanted = {"owner": "ml-platform", "cost-center": "ml-prod", "environment": "prod"}
    assert wanted.items() <= tags.items()
    pools = aws.client("eks")
    for name in pools.list_nodegroups(clusterName="berth-prod")["nodegroups"]:
        group = pools.describe_nodegroup(clusterName="berth-prod", nodegroupName=name)["nodegroup"]
        assert wanted.items() <= group["tags"].items()


def test_logs_are_encrypted_and_kept_as_long_as_said(
    stacks: dict[str, Project], aws: Emulation
) -> None:
    groups = aws.client("logs").describe_log_groups()["logGroups"]
    days: dict[str, set[int]] = {}
    for group in groups:
        name = group["logGroupName"]
        assert group["kmsKeyId"], name
        for stack in ("dev", "prod"):
            if f"/{stack}/" in name or f"berth-{stack}/" in name:
                days.setdefault(stack, set()).add(group["retentionInDays"])
    assert days == {"dev": {14}, "prod": {365}}


def test_every_key_rotates(stacks: dict[str, Project], aws: Emulation) -> None:
    kms = aws.client("kms")
    keys = [
        alias["TargetKeyId"]
        for alias in kms.list_aliases()["Aliases"]
        if alias["AliasName"].startswith("alias/berth-")
    ]
    assert len(keys) >= 2 * 6
    assert all(kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] for key in keys)


def test_a_new_version_touches_what_it_must(dev: Project) -> None:
    """Its image, its berth, the route and the gate's table that lead to it, and what watches it."""

    def change(config: Any) -> None:
        del config["berth:models"]["digits"]["versions"]["2"]
        config["berth:models"]["digits"]["traffic"] = {"1": 100}

    before = (dev.root / "Pulumi.dev.yaml").read_text()
    dev.edit(change)
    touched = {urn.split("::")[0].rpartition("$")[2]: op for urn, op in _changes(dev).items()}
    (dev.root / "Pulumi.dev.yaml").write_text(before)
    of_aws = {kind.rpartition(":")[2] for kind in touched if kind.startswith("aws:")}
    assert of_aws == {"Dashboard", "MetricAlarm"}, touched


@pytest.mark.parametrize(
    ("name", "host"), [("dev", "api.dev.ml.example.com"), ("prod", "api.ml.example.com")]
)
def test_the_api_is_reached_by_its_own_name(
    stacks: dict[str, Project], aws: Emulation, name: str, host: str
) -> None:
    gateway = aws.client("apigateway")
    (api,) = (api for api in gateway.get_rest_apis()["items"] if api["name"] == f"berth-{name}")
    assert api["disableExecuteApiEndpoint"]
    assert gateway.get_domain_name(domainName=host)["securityPolicy"] == "TLS_1_2"
    (mapping,) = gateway.get_base_path_mappings(domainName=host)["items"]
    assert (mapping["restApiId"], mapping["basePath"]) == (api["id"], "v2")


def test_the_edge_alone_reaches_the_api(stacks: dict[str, Project], aws: Emulation) -> None:
    found = aws.client("cloudfront").list_distributions()["DistributionList"]["Items"]
    by_host = {one["Aliases"]["Items"][0]: one for one in found}
    assert set(by_host) == {"dev.ml.example.com", "ml.example.com"}
    for host, one in by_host.items():
        assert one["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
        (origin,) = one["Origins"]["Items"]
        assert origin["DomainName"] == f"api.{host}"
    regional = aws.client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"]
    assert len(regional) == 2
    for acl in regional:
        whole = aws.client("wafv2").get_web_acl(Name=acl["Name"], Scope="REGIONAL", Id=acl["Id"])[
            "WebACL"
        ]
        assert "from-edge" in [rule["Name"] for rule in whole["Rules"]]


def test_throttles_are_those_of_the_configuration(
    stacks: dict[str, Project], aws: Emulation
) -> None:
    gateway = aws.client("apigateway")
    plans = [plan["throttle"] for plan in gateway.get_usage_plans()["items"]]
    assert sorted(plan["rateLimit"] for plan in plans) == [50.0, 500.0]


def test_a_client_s_key_is_the_same_at_both_gates(dev: Project, aws: Emulation) -> None:
    keys = aws.client("apigateway").get_api_keys(includeValues=True)["items"]
    assert dev.key() in [key["value"] for key in keys]


def test_each_model_is_watched(stacks: dict[str, Project], aws: Emulation) -> None:
    watch = aws.client("cloudwatch", "us-east-1")
    names = {entry["DashboardName"] for entry in watch.list_dashboards()["DashboardEntries"]}
    assert {"berth-prod-model-digits", "berth-prod-stack", "berth-dev-model-digits"} <= names
    alarms = watch.describe_alarms()["MetricAlarms"]
    assert len([alarm for alarm in alarms if "digits" in alarm["AlarmName"]]) >= 2 * 3
    assert all(alarm["AlarmActions"] for alarm in alarms)


def test_data_are_kept_as_said(stacks: dict[str, Project], aws: Emulation) -> None:
    s3 = aws.client("s3")
    assert _buckets(aws) == {
        f"berth-dev-data-{ACCOUNT}-{REGION}",
        f"berth-dev-data-log-{ACCOUNT}-{REGION}",
        f"berth-prod-data-{ACCOUNT}-{REGION}",
        f"berth-prod-data-log-{ACCOUNT}-{REGION}",
        f"berth-prod-data-replica-{ACCOUNT}-eu-west-1",
    }
    rule = s3.get_bucket_replication(Bucket=f"berth-prod-data-{ACCOUNT}-{REGION}")
    assert "eu-west-1" in str(rule["ReplicationConfiguration"]["Rules"])


def test_a_set_of_the_stacks_own_bucket_is_promoted(
    dev: Project, prod: Project, aws: Emulation, tmp_path: Path
) -> None:
    """Pushed to dev, tried there, brought to prod: each reads its own bucket."""
    for name in ("dev", "prod"):
        # It refuses whatever comes without TLS, which the emulator has not.
        aws.client("s3").delete_bucket_policy(Bucket=f"berth-{name}-data-{ACCOUNT}-{REGION}")
    theirs = dev.root / "Pulumi.prod.yaml"
    before = (dev.root / "Pulumi.dev.yaml").read_text()
    shutil.copy2(prod.root / "Pulumi.prod.yaml", theirs)
    (tmp_path / "prices.csv").write_text("1,2")
    ours, copied = (f"s3://berth-{name}-data-{ACCOUNT}-{REGION}/prices" for name in ("dev", "prod"))
    dev.edit(_reads("2"))
    refused = dev.berth("preview", code=1)
    assert f"{ours[5:]} has no version 2" in refused.stdout + refused.stderr
    pushed = dev.json("data", "push", str(tmp_path), ours, "--version", "2")
    steps = json.loads(dev.pulumi("preview", "--json").stdout)["steps"]
    assert any("data-prices" in step["urn"] for step in steps)

    prod.edit(_reads("1"))
    shutil.copy2(prod.root / "Pulumi.prod.yaml", theirs)
    said = dev.json("data", "promote", "prices", "dev", "prod")
    assert (said["from"], said["to"]) == ("1", "2")
    shutil.copy2(theirs, prod.root)
    steps = json.loads(prod.pulumi("preview", "--json").stdout)["steps"]
    assert any("data-prices" in step["urn"] for step in steps)
    found = dev.json("data", "push", str(tmp_path), copied, "--version", "2")
    assert found["digest"] == pushed["digest"]

    prod.edit(lambda config: config["berth:data"].update(datasets={}))
    (dev.root / "Pulumi.dev.yaml").write_text(before)
    theirs.unlink()


def _reads(version: str) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        config["berth:data"]["datasets"] = {"prices": {"version": version, "models": ["digits"]}}

    return change


def test_prod_refuses_to_be_deleted(prod: Project, aws: Emulation) -> None:
    refused = prod.berth("destroy", "--yes", code=1)
    assert "protect" in refused.stdout + refused.stderr
    assert aws.client("eks").describe_cluster(name="berth-prod")["cluster"]["status"] == "ACTIVE"


def test_destroy_leaves_nothing(stacks: dict[str, Project], aws: Emulation) -> None:
    """dev at once; prod when its protection has been taken away, which is an update of its own."""
    dev, prod = stacks["dev"], stacks["prod"]
    prod.edit(lambda config: config.update({"berth:protect": False}))
    prod.berth("up", "--yes")
    with ThreadPoolExecutor() as both:
        list(both.map(lambda project: project.berth("destroy", "--yes"), (dev, prod)))
    assert _vpcs(aws) == {}
    assert aws.client("eks").list_clusters()["clusters"] == []
    assert aws.client("logs").describe_log_groups()["logGroups"] == []
    assert aws.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
    roles = aws.client("iam").list_roles()["Roles"]
    # The account's own, by which every API in it logs, stays: components/aws/api_gateway_logs.py.
    assert [name for role in roles if "api-logs" not in (name := role["RoleName"])] == []
    kms = aws.client("kms")
    left = [
        key["KeyId"]
        for key in kms.list_keys()["Keys"]
        if kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled"
        if any(
            tag["TagKey"] == "berth:stack"
            for tag in kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]
        )
    ]
    assert left == []
    assert _buckets(aws) == set()


def _buckets(aws: Emulation) -> set[str]:
    """Those of the two stacks."""
    found = aws.client("s3").list_buckets()["Buckets"]
    return {one["Name"] for one in found if one["Name"].startswith(("berth-dev-", "berth-prod-"))}
