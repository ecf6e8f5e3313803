"""The emulator as a program, with additions for EKS and Route 53 and the refusals of AWS.

Usage: python tests/aws/emulator.py PATH-OF-MOTO-AWS PORT RECORDING
"""

import runpy
import sys
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import werkzeug.serving
from moto.autoscaling.models import autoscaling_backends
from moto.core.responses import ActionResult
from moto.ec2.models import ec2_backends
from moto.ecr.responses import ECRResponse
from moto.eks.models import Cluster, Nodegroup
from moto.route53.responses import Route53

from tests.aws.recorded_requests import record_to
from tests.aws.strict_emulator import StrictApp

_CLUSTER, _NODEGROUP = Cluster.__init__, Nodegroup.__init__
_CHANGE_RECORDS = Route53.change_resource_record_sets


def _create_cluster(self: Cluster, **arguments: Any) -> None:
    """Create the security group that EKS creates for a cluster and its nodes.

    https://docs.aws.amazon.com/eks/latest/userguide/sec-group-reqs.html
    """
    backend = ec2_backends[arguments["account_id"]][arguments["region_name"]]
    network = arguments["resources_vpc_config"]
    subnet = backend.get_subnet(network["subnetIds"][0])
    group = backend.create_security_group(
        f"eks-cluster-sg-{arguments['name']}", "EKS created security group", vpc_id=subnet.vpc_id
    )
    network |= {"vpcId": subnet.vpc_id, "clusterSecurityGroupId": group.id}
    _CLUSTER(self, **arguments)


def _create_nodegroup(self: Nodegroup, **arguments: Any) -> None:
    """Create the Auto Scaling group of a node group, with the tags for the cluster autoscaler.

    https://docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html
    """
    _NODEGROUP(self, **arguments)
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
    setattr(Cluster, "__init__", _create_cluster)  # noqa: B010
    setattr(Nodegroup, "__init__", _create_nodegroup)  # noqa: B010
    setattr(Route53, "change_resource_record_sets", _change_records)  # noqa: B010
    setattr(ECRResponse, "start_replication_backfill", _start_backfill)  # noqa: B010
    sys.argv = [program, port]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
