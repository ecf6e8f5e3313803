"""Amazon ECR repositories for the images of two models."""

import pulumi

from pulumi_berth import ModelRegistry, ModelRegistryArgs, RegistryReader

registry = ModelRegistry(
    "registry",
    ModelRegistryArgs(
        name_prefix=f"berth-{pulumi.get_stack()}",
        repositories=["digits", "breast-cancer", "gateway", "valkey"],
        key=pulumi.Config().require("imageKey"),
        readers=[RegistryReader(account="210987654321")],
    ),
)
pulumi.export("names", registry.names)
