"""The stacks dev and prod of this repository, with the real engine and provider."""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from berth_protocol.model_card import read_card
from tests.aws.emulation import ACCOUNT, REGION, Emulation
from tests.aws.program import find_changes
from tests.aws.stacks import create_host_zone, create_stack, serve_registry_to
from tests.aws.strict_registry import StrictRegistry
from tests.cluster.cluster import Cluster
from tests.engine.project import Project
from tests.signed_stack import Signer, refuse, require_signatures, sign_versions_one_by_one


@pytest.fixture(scope="module")
def registry(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StrictRegistry]:
    """The registry of both stacks. At the end, it has refused no request."""
    with serve_registry_to(cluster, tmp_path_factory.mktemp("registry")) as served:
        yield served
        assert served.refused == []


@pytest.fixture(scope="module")
def stacks(
    aws: Emulation,
    cluster: Cluster,
    registry: StrictRegistry,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Project]:
    """Deploy dev, and then prod, which runs the images that dev has pushed."""
    create_host_zone(aws)
    projects = {
        name: create_stack(name, tmp_path_factory.mktemp(name), aws, cluster, registry)
        for name in ("dev", "prod")
    }
    for project in projects.values():
        project.berth("up", "--yes", "--no-request")
    return projects


@pytest.fixture(scope="module")
def dev(stacks: dict[str, Project]) -> Project:
    return stacks["dev"]


@pytest.fixture(scope="module")
def prod(stacks: dict[str, Project]) -> Project:
    return stacks["prod"]


def _changes(project: Project) -> dict[str, str]:
    """Return the changes of a preview, without differences of the emulator."""
    preview = project.pulumi("preview", "--json").stdout
    return find_changes(json.loads(preview)["steps"])


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_second_preview_is_empty(stacks: dict[str, Project], name: str) -> None:
    assert _changes(stacks[name]) == {}


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_gateway_serves_predictions(stacks: dict[str, Project], name: str) -> None:
    project = stacks[name]
    response = project.json("invoke", "digits", "--version", "2")
    expected = read_card(project.root / "models" / "digits" / "2").example
    assert response["outputs"][0]["shape"][0] == expected["inputs"][0]["shape"][0]


def test_prod_runs_the_digests_of_dev(
    dev: Project, prod: Project, registry: StrictRegistry
) -> None:
    images = [_images(project) for project in (dev, prod)]
    assert images[0] == images[1]
    assert len(images[0]) == 3
    assert registry.refused == []


def _images(project: Project) -> dict[tuple[str, str], str]:
    """Return the image of each version of each model."""
    models = json.loads(project.pulumi("stack", "output", "models", "--json").stdout)
    return {
        (name, version): entry["image"]
        for name, model in models.items()
        for version, entry in model["versions"].items()
    }


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_rollback_runs_the_image_that_the_registry_has(
    stacks: dict[str, Project], registry: StrictRegistry, name: str
) -> None:
    """A tag of a strict registry cannot be pushed again, and prod may only pull."""
    project = stacks[name]
    before = _images(project)
    project.edit(_remove_version)
    project.berth("up", "--yes", "--no-request")
    assert set(before) - set(_images(project)) == {("digits", "2")}
    result = project.json("rollback", "--yes")
    assert result["rolled_back_to"] < result["update"]["number"]
    assert _images(project) == before
    assert registry.refused == []
    assert project.json("invoke", "digits", "--version", "2")["outputs"]
    assert _changes(project) == {}


def test_prod_accepts_only_signed_versions_and_images(
    dev: Project, prod: Project, tmp_path: Path
) -> None:
    before = prod.config_file.read_text()
    images = _images(dev)
    signer = Signer.create(prod, tmp_path)
    try:
        prod.edit(require_signatures)
        sign_versions_one_by_one(prod, signer, list(images))
        refuse(prod, "versions.2.image: is missing", "Promote the release with 'berth promote'")
        prod.edit(lambda config: _pin_images(config, images))
        # A repeated test finds signatures by the key of the first attempt.
        refuse(prod, *(f"{image} has " for image in images.values()))
        signed = dev.json("sign-images", "--key", str(signer.private))["images"]
        assert sorted(each["image"] for each in signed) == sorted(images.values())
        # Rejected signatures are status 2. The engine runs, and then prod of these tests differs
        # from dev in more than its sizes.
        prod.berth("preview", code=1)
    finally:
        prod.config_file.write_text(before)


def _pin_images(config: Any, images: dict[tuple[str, str], str]) -> None:
    for (model, version), image in images.items():
        versions = config["berth:models"][model]["versions"]
        versions[version] = {**(versions[version] or {}), "image": image.partition("@")[2]}


def _vpcs(aws: Emulation) -> dict[str, dict[str, Any]]:
    """Return the VPC of each stack."""
    vpcs = {}
    for vpc in aws.client("ec2").describe_vpcs()["Vpcs"]:
        tags = {tag["Key"]: tag["Value"] for tag in vpc.get("Tags", [])}
        if "berth:stack" in tags:
            vpcs[tags["berth:stack"]] = vpc
    return vpcs


def test_each_stack_has_its_own_network(stacks: dict[str, Project], aws: Emulation) -> None:
    vpcs = _vpcs(aws)
    assert {name: vpc["CidrBlock"] for name, vpc in vpcs.items()} == {
        "dev": "10.20.0.0/16",
        "prod": "10.32.0.0/16",
    }
    nat_gateways = {
        name: len(
            aws.client("ec2").describe_nat_gateways(
                Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
            )["NatGateways"]
        )
        for name, vpc in vpcs.items()
    }
    assert nat_gateways == {"dev": 1, "prod": 3}


def test_resources_have_tags_of_their_stack(stacks: dict[str, Project], aws: Emulation) -> None:
    (tags,) = (
        {tag["Key"]: tag["Value"] for tag in vpc["Tags"]}
        for name, vpc in _vpcs(aws).items()
        if name == "prod"
    )
    expected = {"owner": "ml-platform", "cost-center": "ml-prod", "environment": "prod"}
    assert expected.items() <= tags.items()
    pools = aws.client("eks")
    for name in pools.list_nodegroups(clusterName="berth-prod")["nodegroups"]:
        group = pools.describe_nodegroup(clusterName="berth-prod", nodegroupName=name)["nodegroup"]
        assert expected.items() <= group["tags"].items()


def test_logs_are_encrypted_and_have_configured_retention(
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


def test_version_change_updates_only_alarms_and_dashboards_on_aws(dev: Project) -> None:
    before = (dev.root / "Pulumi.dev.yaml").read_text()
    dev.edit(_remove_version)
    changed = {urn.split("::")[0].rpartition("$")[2]: op for urn, op in _changes(dev).items()}
    (dev.root / "Pulumi.dev.yaml").write_text(before)
    on_aws = {kind.rpartition(":")[2] for kind in changed if kind.startswith("aws:")}
    assert on_aws == {"Dashboard", "MetricAlarm"}, changed


def _remove_version(config: Any) -> None:
    del config["berth:models"]["digits"]["versions"]["2"]
    config["berth:models"]["digits"]["traffic"] = {"1": 100}


@pytest.mark.parametrize(
    ("name", "host"), [("dev", "api.dev.ml.example.com"), ("prod", "api.ml.example.com")]
)
def test_api_has_custom_domain_and_no_default_endpoint(
    stacks: dict[str, Project], aws: Emulation, name: str, host: str
) -> None:
    gateway = aws.client("apigateway")
    (api,) = (api for api in gateway.get_rest_apis()["items"] if api["name"] == f"berth-{name}")
    assert api["disableExecuteApiEndpoint"]
    assert gateway.get_domain_name(domainName=host)["securityPolicy"] == "TLS_1_2"
    (mapping,) = gateway.get_base_path_mappings(domainName=host)["items"]
    assert (mapping["restApiId"], mapping["basePath"]) == (api["id"], "v2")


def test_only_the_edge_reaches_the_api(stacks: dict[str, Project], aws: Emulation) -> None:
    distributions = aws.client("cloudfront").list_distributions()["DistributionList"]["Items"]
    by_host = {one["Aliases"]["Items"][0]: one for one in distributions}
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


def test_usage_plans_have_configured_rate_limits(
    stacks: dict[str, Project], aws: Emulation
) -> None:
    gateway = aws.client("apigateway")
    plans = [plan["throttle"] for plan in gateway.get_usage_plans()["items"]]
    assert sorted(plan["rateLimit"] for plan in plans) == [50.0, 500.0]


def test_client_key_is_the_same_in_api_gateway_and_gateway(dev: Project, aws: Emulation) -> None:
    keys = aws.client("apigateway").get_api_keys(includeValues=True)["items"]
    assert dev.key() in [key["value"] for key in keys]


def test_each_model_has_dashboard_and_alarms(stacks: dict[str, Project], aws: Emulation) -> None:
    watch = aws.client("cloudwatch", "us-east-1")
    names = {entry["DashboardName"] for entry in watch.list_dashboards()["DashboardEntries"]}
    assert {"berth-prod-model-digits", "berth-prod-stack", "berth-dev-model-digits"} <= names
    alarms = watch.describe_alarms()["MetricAlarms"]
    assert len([alarm for alarm in alarms if "digits" in alarm["AlarmName"]]) >= 2 * 3
    assert all(alarm["AlarmActions"] for alarm in alarms)


def test_data_buckets_have_logs_and_configured_replica(
    stacks: dict[str, Project], aws: Emulation
) -> None:
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


def test_dataset_in_own_bucket_is_promoted(
    dev: Project, prod: Project, aws: Emulation, tmp_path: Path
) -> None:
    """Each stack reads the dataset from its own bucket."""
    for name in ("dev", "prod"):
        # The policy denies requests without TLS, and the emulator has no TLS.
        aws.client("s3").delete_bucket_policy(Bucket=f"berth-{name}-data-{ACCOUNT}-{REGION}")
    prod_file = dev.root / "Pulumi.prod.yaml"
    before = (dev.root / "Pulumi.dev.yaml").read_text()
    shutil.copy2(prod.root / "Pulumi.prod.yaml", prod_file)
    (tmp_path / "prices.csv").write_text("1,2")
    in_dev, in_prod = (
        f"s3://berth-{name}-data-{ACCOUNT}-{REGION}/prices" for name in ("dev", "prod")
    )
    dev.edit(_use_dataset("2"))
    refused = dev.berth("preview", code=1)
    assert f"{in_dev[5:]} has no version 2" in refused.stdout + refused.stderr
    pushed = dev.json("data", "push", str(tmp_path), in_dev, "--version", "2")
    steps = json.loads(dev.pulumi("preview", "--json").stdout)["steps"]
    assert any("data-prices" in step["urn"] for step in steps)

    prod.edit(_use_dataset("1"))
    shutil.copy2(prod.root / "Pulumi.prod.yaml", prod_file)
    promoted = dev.json("data", "promote", "prices", "dev", "prod")
    assert (promoted["from"], promoted["to"]) == ("1", "2")
    shutil.copy2(prod_file, prod.root)
    steps = json.loads(prod.pulumi("preview", "--json").stdout)["steps"]
    assert any("data-prices" in step["urn"] for step in steps)
    repeated = dev.json("data", "push", str(tmp_path), in_prod, "--version", "2")
    assert repeated["digest"] == pushed["digest"]

    prod.edit(lambda config: config["berth:data"].update(datasets={}))
    (dev.root / "Pulumi.dev.yaml").write_text(before)
    prod_file.unlink()


def _use_dataset(version: str) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        config["berth:data"]["datasets"] = {"prices": {"version": version, "models": ["digits"]}}

    return change


def test_protected_stack_rejects_destroy(prod: Project, aws: Emulation) -> None:
    refused = prod.berth("destroy", "--yes", code=1)
    assert "protect" in refused.stdout + refused.stderr
    assert aws.client("eks").describe_cluster(name="berth-prod")["cluster"]["status"] == "ACTIVE"


def test_preview_runs_the_security_baseline(dev: Project) -> None:
    """The engine runs the installed policy pack, and it accepts the stack."""
    preview = dev.berth("preview")
    assert "berth@v1.0.0" in preview.stdout + preview.stderr


@pytest.mark.runs_last
def test_destroy_leaves_no_resources(stacks: dict[str, Project], aws: Emulation) -> None:
    """Destroy dev, and prod after an update that removes its protection."""
    dev, prod = stacks["dev"], stacks["prod"]
    prod.edit(lambda config: config.update({"berth:protect": False}))
    prod.berth("up", "--yes", "--no-request")
    with ThreadPoolExecutor() as both:
        list(both.map(lambda project: project.berth("destroy", "--yes"), (dev, prod)))
    assert _vpcs(aws) == {}
    assert _buckets(aws) == set()
    assert aws.client("eks").list_clusters()["clusters"] == []
    # AWS creates these two again, and the next update deletes them (test_log_groups).
    groups = aws.client("logs").describe_log_groups()["logGroups"]
    assert sorted(group["logGroupName"] for group in groups) == [
        "/aws/eks/berth-dev/cluster",
        "/aws/eks/berth-prod/cluster",
    ]
    # Nor do the clusters' own interfaces and groups stay, which EKS leaves in their VPCs
    # (pulumi_berth.aws.cluster_leftovers).
    interfaces = aws.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
    assert [one["Description"] for one in interfaces] == []
    assert aws.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
    distributions = aws.client("cloudfront").list_distributions()["DistributionList"]
    assert distributions.get("Items", []) == []
    for scope in ("REGIONAL", "CLOUDFRONT"):
        assert aws.client("wafv2").list_web_acls(Scope=scope)["WebACLs"] == []
    assert aws.client("apigateway").get_rest_apis()["items"] == []
    assert aws.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert aws.client("cloudwatch").list_dashboards()["DashboardEntries"] == []
    assert aws.client("sns").list_topics()["Topics"] == []
    # The role that lets all APIs of the account write logs stays: one for both stacks
    # (pulumi_berth.aws.api_log_role).
    roles = [role["RoleName"] for role in aws.client("iam").list_roles()["Roles"]]
    assert len([name for name in roles if "api-logs" in name]) == 1
    given = {f"berth-{name}-{who}" for name in stacks for who in ("platform", "developers")}
    assert [name for name in roles if "api-logs" not in name and name not in given] == []
    kms = aws.client("kms")
    enabled = [
        key["KeyId"]
        for key in kms.list_keys()["Keys"]
        if kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled"
        if any(
            tag["TagKey"] == "berth:stack"
            for tag in kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]
        )
    ]
    assert enabled == []


def _buckets(aws: Emulation) -> set[str]:
    """Return the buckets of both stacks."""
    buckets = aws.client("s3").list_buckets()["Buckets"]
    return {one["Name"] for one in buckets if one["Name"].startswith(("berth-dev-", "berth-prod-"))}
