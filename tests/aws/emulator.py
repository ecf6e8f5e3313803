"""The emulator as a program, with additions for EKS and Route 53 and the refusals of AWS.

Usage: python tests/aws/emulator.py PATH-OF-MOTO-AWS PORT RECORDING
"""

import contextlib
import runpy
import sys
import uuid
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import werkzeug.serving
from moto.autoscaling.models import autoscaling_backends
from moto.core.responses import ActionResult
from moto.ec2.exceptions import DependencyViolationError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ecr.responses import ECRResponse
from moto.eks.models import Cluster, EKSBackend, Nodegroup, eks_backends
from moto.route53.responses import Route53

from tests.aws import strict_rules
from tests.aws.recorded_requests import record_to
from tests.aws.strict_emulator import StrictApp

_CLUSTER, _NODEGROUP = Cluster.__init__, Nodegroup.__init__
_CHANGE_RECORDS = Route53.change_resource_record_sets
_DELETE_CLUSTER = EKSBackend.delete_cluster
_DELETE_SUBNET, _DELETE_GROUP = EC2Backend.delete_subnet, EC2Backend.delete_security_group
_DELETE_VPC, _DELETE_NAT = EC2Backend.delete_vpc, EC2Backend.delete_nat_gateway


def _create_cluster(self: Cluster, **arguments: Any) -> None:
    """Create the security group that EKS creates for a cluster and its nodes.

    https://docs.aws.amazon.com/eks/latest/userguide/sec-group-reqs.html
    """
    backend = ec2_backends[arguments["account_id"]][arguments["region_name"]]
    network = arguments["resources_vpc_config"]
    subnet = backend.get_subnet(network["subnetIds"][0])
    name = arguments["name"]
    group = backend.create_security_group(
        f"eks-cluster-sg-{name}-{uuid.uuid4().int % 10**9}",
        "EKS created security group",
        vpc_id=subnet.vpc_id,
        tags={"aws:eks:cluster-name": name, f"kubernetes.io/cluster/{name}": "owned"},
    )
    network |= {"vpcId": subnet.vpc_id, "clusterSecurityGroupId": group.id}
    _CLUSTER(self, **arguments)


def _create_nodegroup(self: Nodegroup, **arguments: Any) -> None:
    """Create the Auto Scaling group of a node group, with the tags for the cluster autoscaler.

    https://docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html
    Its first node leaves a network interface behind.
    """
    _NODEGROUP(self, **arguments)
    _leak_interface(arguments)
    backend = autoscaling_backends[arguments["account_id"]][arguments["region_name"]]
    template = arguments["launch_template"]
    tag = "k8s.io/cluster-autoscaler"
    backend.create_auto_scaling_group(
        name=f"eks-{self.uuid}",
        availability_zones=[],
        desired_capacity=0,  # the emulator starts no machines
        max_size=arguments["scaling_config"]["maxSize"],
        min_size=0,
        launch_config_name="",
        launch_template={"LaunchTemplateId": template["id"], "Version": template["version"]},
        vpc_zone_identifier=",".join(arguments["subnets"]),
        default_cooldown=None,
        health_check_period=None,
        health_check_type=None,
        load_balancers=[],
        target_group_arns=[],
        placement_group=None,
        termination_policies=[],
        tags=[
            {"Key": f"{tag}/enabled", "Value": "true"},
            {"Key": f"{tag}/{arguments['cluster_name']}", "Value": "owned"},
        ],
    )


def _leak_interface(arguments: dict[str, Any]) -> None:
    account, region = arguments["account_id"], arguments["region_name"]
    ec2, cluster = ec2_backends[account][region], arguments["cluster_name"]
    description, tags = strict_rules.describe_leaked_interface(cluster, "i-0123456789abcdef0")
    network = eks_backends[account][region].clusters[cluster].resources_vpc_config
    ec2.create_network_interface(
        ec2.get_subnet(arguments["subnets"][0]),
        "",
        group_ids=[network["clusterSecurityGroupId"]],
        description=description,
        tags=tags,
    )


def _delete_cluster(self: EKSBackend, name: str) -> Cluster:
    """Delete the cluster's security group, or leave it if interfaces have it.

    https://github.com/aws/aws-k8s-tester/pull/416
    """
    cluster = _DELETE_CLUSTER(self, name)
    ec2 = ec2_backends[self.account_id][self.region_name]
    group = cluster.resources_vpc_config["clusterSecurityGroupId"]
    with contextlib.suppress(DependencyViolationError):
        ec2.delete_security_group(group_id=group)
    return cluster


def _require_unused(users: Iterable[str], resource: str) -> None:
    if refusal := strict_rules.check_network_deletion(users, resource):
        raise DependencyViolationError(refusal.message)


def _delete_subnet(self: EC2Backend, subnet_id: str) -> Any:
    _require_unused([one.id for one in self.enis.values() if one.subnet.id == subnet_id], subnet_id)
    return _DELETE_SUBNET(self, subnet_id)


def _delete_group(self: EC2Backend, name: str | None = None, group_id: str | None = None) -> None:
    if group_id is not None:
        users = [one.id for one in self.enis.values() if _has_group(one, group_id)]
        _require_unused(users, group_id)
    _DELETE_GROUP(self, name, group_id)


def _has_group(interface: Any, group_id: str) -> bool:
    return any(group.id == group_id for group in interface.group_set)


def _delete_vpc(self: EC2Backend, vpc_id: str) -> Any:
    groups = self.groups.get(vpc_id, {}).values()
    _require_unused([group.id for group in groups if group.name != "default"], vpc_id)
    return _DELETE_VPC(self, vpc_id)


def _delete_nat(self: EC2Backend, nat_gateway_id: str) -> Any:
    """Delete the gateway's network interface with it, which moto keeps."""
    gateway = _DELETE_NAT(self, nat_gateway_id)
    self.enis.pop(gateway._eni.id, None)
    return gateway


def _change_records(self: Route53) -> ActionResult:
    """Change DNS records and return no `ChangeInfo`.

    With a `ChangeInfo`, the provider waits 10 to 30 seconds before it first reads the status of the
    change. The emulator changes records immediately.
    """
    _CHANGE_RECORDS(self)
    return ActionResult({})


def _start_backfill(self: ECRResponse) -> ActionResult:
    """Accept a copy of earlier images to a target of the replication rule, which moto lacks.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_StartReplicationBackfill.html
    """
    target = self._get_param("destination")
    rules = self.ecr_backend.describe_registry()["replicationConfiguration"]["rules"]
    targets = [
        (destination["region"], destination["registryId"])
        for rule in rules
        for destination in rule["destinations"]
    ]
    assert (target["region"], target["registryId"]) in targets, targets
    return ActionResult(
        {
            "replicationBackfillId": str(uuid.uuid4()),
            "registryId": self._get_param("registryId"),
            "destination": target,
            "status": "PREPARING",
        }
    )


def _serve(recording: Path, serve: Any, host: str, port: int, app: Any, **options: Any) -> None:
    serve(host, port, record_to(recording, StrictApp(app)), **options)


def main() -> None:
    program, port, recording = sys.argv[1:]
    run_simple = werkzeug.serving.run_simple
    werkzeug.serving.run_simple = partial(_serve, Path(recording), run_simple)
    for owner, name, method in (
        (Cluster, "__init__", _create_cluster),
        (Nodegroup, "__init__", _create_nodegroup),
        (EKSBackend, "delete_cluster", _delete_cluster),
        (EC2Backend, "delete_subnet", _delete_subnet),
        (EC2Backend, "delete_security_group", _delete_group),
        (EC2Backend, "delete_vpc", _delete_vpc),
        (EC2Backend, "delete_nat_gateway", _delete_nat),
        (Route53, "change_resource_record_sets", _change_records),
        (ECRResponse, "start_replication_backfill", _start_backfill),
    ):
        setattr(owner, name, method)
    sys.argv = [program, port]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
