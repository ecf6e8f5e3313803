"""Two versions of a model on a Docker engine, with a canary."""

import pulumi

from pulumi_berth import (
    ClientArgs,
    ClientQuotaArgs,
    DockerHosting,
    DockerHostingArgs,
    HostedModelArgs,
    HostedVersionArgs,
    QuotaPeriod,
)

models = pulumi.Config().require("models")
hosting = DockerHosting(
    "hosting",
    DockerHostingArgs(
        port=8080,
        models={
            "digits": HostedModelArgs(
                versions={
                    "1": HostedVersionArgs(directory=f"{models}/digits/1"),
                    "2": HostedVersionArgs(directory=f"{models}/digits/2"),
                },
                traffic={"1": 90, "2": 10},
            ),
        },
        clients={
            "app": ClientArgs(
                rate_per_second=100,
                burst=200,
                quota=ClientQuotaArgs(requests=100_000, period=QuotaPeriod.DAY),
            ),
        },
    ),
)
pulumi.export("endpoint", hosting.endpoint)
pulumi.export("apiKeys", hosting.api_keys)
