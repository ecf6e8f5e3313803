"""Two versions of a model on this machine, with a canary."""

import pulumi

from pulumi_berth import (
    ClientArgs,
    ClientQuotaArgs,
    HostedModelArgs,
    HostedVersionArgs,
    LocalHosting,
    LocalHostingArgs,
    QuotaPeriod,
)

models = pulumi.Config().require("models")
hosting = LocalHosting(
    "hosting",
    LocalHostingArgs(
        run_dir=f".berth/run/{pulumi.get_stack()}",
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
