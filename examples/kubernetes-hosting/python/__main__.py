"""A hosting stack in a cluster, with gateway and ingress controller."""

import pulumi

from pulumi_berth import (
    ClientArgs,
    HostedModelArgs,
    HostedVersionArgs,
    ImageSettings,
    KubernetesHosting,
    KubernetesHostingArgs,
    ResourceArgs,
)

config = pulumi.Config()
models = config.require("models")
hosting = KubernetesHosting(
    "hosting",
    KubernetesHostingArgs(
        namespace=f"hosting-{pulumi.get_stack()}",
        images=ImageSettings(
            registry=config.require("registry"), plain_http=config.get_bool("plainHttp")
        ),
        models={
            "digits": HostedModelArgs(
                versions={
                    "1": HostedVersionArgs(directory=f"{models}/digits/1"),
                    "2": HostedVersionArgs(directory=f"{models}/digits/2"),
                },
                traffic={"1": 90, "2": 10},
                resources=ResourceArgs(cpu="50m", cpu_limit="1", memory="192Mi"),
            ),
        },
        clients={"app": ClientArgs(rate_per_second=100, burst=200)},
    ),
)
pulumi.export("namespace", hosting.namespace)
pulumi.export("port", hosting.port)
pulumi.export("apiKeys", hosting.api_keys)
