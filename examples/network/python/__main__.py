"""A VPC with private and public subnets in two zones."""

import pulumi

from pulumi_berth import LogSettings, NatMode, Network, NetworkArgs

config = pulumi.Config()
stack = pulumi.get_stack()
network = Network(
    "network",
    NetworkArgs(
        stack_name=stack,
        region="eu-central-1",
        account=config.require("account"),
        cidr="10.20.0.0/16",
        zones=["eu-central-1a", "eu-central-1b"],
        nat=NatMode.SINGLE,
        interface_endpoints=["ecr.api", "ecr.dkr"],
        flow_log=LogSettings(path_prefix=f"/berth/{stack}", days=30, key=config.require("logKey")),
    ),
)
pulumi.export("vpcId", network.vpc_id)
pulumi.export("privateSubnetIds", network.private_subnet_ids)
