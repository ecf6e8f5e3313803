"""The emulator as a program, with what EKS makes of its own accord beside a cluster and its nodes.

python tests/aws/emulator.py PATH-OF-MOTO-AWS PORT
"""

import runpy
import sys
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.ec2.models import ec2_backends
from moto.eks.models import Cluster, Nodegroup

_CLUSTER, _NODEGROUP = Cluster.__init__, Nodegroup.__init__


def _with_security_group(self: Cluster, **given: Any) -> None:
    """EKS makes a security group for the cluster and its nodes, and answers with it:
    https://docs.aws.amazon.com/eks/latest/userguide/sec-group-reqs.html"""
    backend = ec2_backends[given["account_id"]][given["region_name"]]
    network = given["resources_vpc_config"]
    subnet = backend.get_subnet(network["subnetIds"][0])
    group = backend.create_security_group(
        f"eks-cluster-sg-{given['name']}", "EKS created security group", vpc_id=subnet.vpc_id
    )
    network |= {"vpcId": subnet.vpc_id, "clusterSecurityGroupId": group.id}
    _CLUSTER(self, **given)


def _with_instances(self: Nodegroup, **given: Any) -> None:
    """EKS makes a group of instances for a node group, and marks it for the autoscaler:
    https://docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html"""
    _NODEGROUP(self, **given)
    backend = autoscaling_backends[given["account_id"]][given["region_name"]]
    template = given["launch_template"]
    mark = "k8s.io/cluster-autoscaler"
    backend.create_auto_scaling_group(
        name=f"eks-{self.uuid}",
        availability_zones=[],
        desired_capacity=0,  # no machine is behind it
        max_size=given["scaling_config"]["maxSize"],
        min_size=0,
        launch_config_name="",
        launch_template={"LaunchTemplateId": template["id"], "Version": template["version"]},
        vpc_zone_identifier=",".join(given["subnets"]),
        default_cooldown=None,
        health_check_period=None,
        health_check_type=None,
        load_balancers=[],
        target_group_arns=[],
        placement_group=None,
        termination_policies=[],
        tags=[
            {"Key": f"{mark}/enabled", "Value": "true"},
            {"Key": f"{mark}/{given['cluster_name']}", "Value": "owned"},
        ],
    )


def main() -> None:
    program, port = sys.argv[1:]
    setattr(Cluster, "__init__", _with_security_group)  # noqa: B010
    setattr(Nodegroup, "__init__", _with_instances)  # noqa: B010
    sys.argv = [program, port]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
