"""What stacks declare, against the quotas of a new account."""

from collections import Counter

import pytest

from berth.platforms.aws import quotas
from berth.spec import HostingSpec, load_file
from tests.aws.reality.declared import declare
from tests.repository import REPOSITORY


def _load(stack: str) -> HostingSpec:
    return load_file(REPOSITORY / f"Pulumi.{stack}.yaml")


def _shortages(stack: str) -> dict[str, tuple[int, int, bool]]:
    return {
        shortage.quota.key: (shortage.needed, shortage.available, shortage.is_blocking)
        for shortage in quotas.find_shortages(_load(stack))
    }


def test_first_update_of_dev_fits_into_a_new_account() -> None:
    """A new account may run 5 vCPUs of Spot Instances, and none with a GPU."""
    assert {key for key, (_, _, blocks) in _shortages("dev").items() if blocks} == set()


def test_growth_of_dev_beyond_a_new_account_is_listed_with_numbers() -> None:
    """By hand: 4 nodes of 2 vCPUs, and one GPU node of 4."""
    assert _shortages("dev") == {
        "standard_spot_vcpus": (8, 5, False),
        "g_spot_vcpus": (4, 0, False),
    }


def test_prod_needs_more_than_a_new_account_has() -> None:
    """By hand: 3 of at most 40 nodes of 8 vCPUs, and 8 GPU nodes of 8 vCPUs."""
    assert _shortages("prod") == {
        "standard_on_demand_vcpus": (24, 5, True),
        "g_on_demand_vcpus": (64, 0, False),
    }


def test_values_and_usage_of_an_account_replace_the_defaults() -> None:
    spec = _load("dev")
    values = {"standard_spot_vcpus": 64, "g_spot_vcpus": 8}
    assert quotas.find_shortages(spec, values=values) == []
    (vpcs,) = quotas.find_shortages(spec, values=values, used={"vpcs": 5})
    assert (vpcs.quota.key, vpcs.needed, vpcs.available) == ("vpcs", 1, 0)
    assert "Request 6 at https://eu-central-1.console" in vpcs.describe("eu-central-1")
    (roles,) = quotas.find_shortages(spec, values=values, used={"roles": 999})
    line = roles.describe("eu-central-1")
    assert "1 left in us-east-1. Request 1006 at https://us-east-1.console" in line


def test_shortage_links_to_the_request_for_an_increase() -> None:
    (shortage, *_) = quotas.find_shortages(_load("prod"))
    line = shortage.describe("eu-central-1")
    assert "the stack needs 24 to start, and the account has 5 left in eu-central-1" in line
    assert line.endswith("/servicequotas/home/services/ec2/quotas/L-1216C47A.")


@pytest.mark.parametrize("stack", ["dev", "prod"])
@pytest.mark.slow
def test_counts_are_those_of_the_declared_resources(stack: str) -> None:
    """The counts come from the specification. This compares them with what the program declares."""
    found: Counter[str] = Counter()
    for resource in declare(stack):
        if resource["type"].startswith("aws:"):
            found[resource["type"].rpartition(":")[2]] += 1
    counts = quotas.count_initial(_load(stack))
    expected = {
        "elastic_ips": found["Eip"],
        "vpcs": found["Vpc"],
        "interface_endpoints_per_vpc": found["VpcEndpoint"] - 1,  # S3's is a gateway endpoint.
        "eks_clusters": found["Cluster"],
        "node_groups_per_cluster": found["NodeGroup"],
        "network_load_balancers": found["LoadBalancer"],
        "regional_apis": found["RestApi"],
        "usage_plans": found["UsagePlan"],
        "api_domain_names": found["DomainName"],
        "vpc_links": found["VpcLink"],
        "distributions": found["Distribution"],
        "roles": found["Role"] + 1,  # That of API Gateway's logs, if the account has none.
    }
    assert {key: counts[key] for key in expected} == expected


def test_every_quota_is_counted() -> None:
    """A quota that nothing counts would never be found too small."""
    pool = next(iter(_load("dev").node_pools.values()))
    families = ("m7i.large", "g5.xlarge", "p5.48xlarge")
    of_pools = {
        quotas.find_vcpu_quota(pool.model_copy(update={"instance_types": [family], "spot": spot}))
        for family in families
        for spot in (False, True)
    }
    counted = of_pools | set(quotas.count_initial(_load("prod")))
    assert counted == set(quotas.read_quotas())


def test_web_acl_stays_within_the_capacity_of_a_web_acl() -> None:
    for stack in ("dev", "prod"):
        assert quotas.count_web_acl_units(_load(stack)) <= 1500
